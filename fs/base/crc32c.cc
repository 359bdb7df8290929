#include "fs/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <climits>

namespace kvfs {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t seed) {
    // ISA-L leaves both inversions of the standard to its caller and takes an int for the length.
    std::uint32_t crc = ~seed;
    while (!bytes.empty()) {
        const std::size_t step = std::min<std::size_t>(bytes.size(), INT_MAX & ~0xfff);
        auto* at = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
        crc = crc32_iscsi(at, static_cast<int>(step), crc);
        bytes = bytes.subspan(step);
    }
    return ~crc;
}

}  // namespace kvfs
