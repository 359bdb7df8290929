#include "tools/block.h"

#include <fmt/format.h>

#include <cassert>
#include <cstring>

namespace kvfs {
namespace {

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15ULL;
constexpr std::size_t kWord = sizeof(std::uint64_t);

std::uint64_t start_of(std::uint64_t hash_id) { return mix(0x6b766673, hash_id); }

}  // namespace

void fill_block(std::uint64_t hash_id, std::span<std::byte> bytes) {
    assert(bytes.size() % kWord == 0);
    auto* words = reinterpret_cast<std::uint64_t*>(bytes.data());
    const std::uint64_t start = start_of(hash_id);
    for (std::size_t i = 0; i < bytes.size() / kWord; ++i) words[i] = start + i * kStep;
}

std::optional<std::size_t> find_mismatch(std::uint64_t hash_id, std::span<const std::byte> bytes) {
    assert(bytes.size() % kWord == 0);
    const auto* words = reinterpret_cast<const std::uint64_t*>(bytes.data());
    const std::size_t count = bytes.size() / kWord;
    const std::uint64_t start = start_of(hash_id);
    std::uint64_t difference = 0;  // without a branch in the loop, so that it is vectorized
    for (std::size_t i = 0; i < count; ++i) difference |= words[i] ^ (start + i * kStep);
    if (difference == 0) return std::nullopt;
    std::size_t at = 0;
    while (words[at] == start + at * kStep) ++at;
    const std::uint64_t expected = start + at * kStep;
    std::size_t offset = at * kWord;
    const auto* wanted = reinterpret_cast<const std::byte*>(&expected);
    while (bytes[offset] == *wanted) ++offset, ++wanted;
    return offset;
}

std::string block_path(const std::string& directory, std::uint64_t hash_id) {
    return fmt::format("{}/{:02x}/{:016x}.kv", directory, mix(1, hash_id) & 0xff, hash_id);
}

}  // namespace kvfs
