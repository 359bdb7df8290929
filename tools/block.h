#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace kvfs {

/// 64 bits that look random and depend on both (the finalizer of splitmix64).
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    std::uint64_t x = a * 0x9e3779b97f4a7c15ULL + b + 0x632be59bd9b4e019ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/// What stands in the cache for the KV of the block with this hash id. Every eight bytes depend on
/// the id and on their offset, so bytes of another block, or of another place in this one, are
/// found out, at the speed of memory: a block's start is mixed from its id, and each word adds an
/// odd constant. Requires: `bytes` is a multiple of 8 long and 8-aligned.
void fill_block(std::uint64_t hash_id, std::span<std::byte> bytes);

/// Offset of the first byte that is not what fill_block would write; nothing when all are.
std::optional<std::size_t> find_mismatch(std::uint64_t hash_id, std::span<const std::byte> bytes);

/// "DIRECTORY/hh/<hash id, hex>.kv": a file a block, spread over 256 directories.
std::string block_path(const std::string& directory, std::uint64_t hash_id);

}  // namespace kvfs
