#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace kvfs {

/// A cache file's content is checksummed in chunks of this many bytes; the last chunk of a file is
/// as long as what is left. Part of the on-disk and of the socket format.
inline constexpr std::size_t kChunkBytes = 1 << 20;

/// CRC32C (Castagnoli, as in iSCSI, RFC 3720) of `bytes`. Pass an earlier result as `seed` to go
/// on.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed = 0);

}  // namespace kvfs
