#include "tools/replay_lane.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/block.h"

namespace kvfs {

void LaneCounts::add(const LaneCounts& other) {
    blocks_loaded += other.blocks_loaded;
    blocks_saved += other.blocks_saved;
    blocks_kept += other.blocks_kept;
    blocks_evicted += other.blocks_evicted;
    blocks_unreadable += other.blocks_unreadable;
    mismatches += other.mismatches;
    if (first_mismatch.empty()) first_mismatch = other.first_mismatch;
}

bool ReplayLane::verify(std::uint64_t hash_id, const std::string& path,
                        std::span<const std::byte> bytes) {
    const std::optional<std::size_t> offset = find_mismatch(hash_id, bytes);
    if (!offset) return true;
    if (counts_.mismatches++ == 0)
        counts_.first_mismatch = fmt::format("{}: wrong bytes from offset {} on", path, *offset);
    return false;
}

void ReplayLane::count_wrong_size(const std::string& path, std::uint64_t size,
                                  std::uint64_t expected) {
    if (counts_.mismatches++ == 0)
        counts_.first_mismatch = fmt::format(
            "{}: {} bytes instead of {} (of a replay with other --bytes-per-token? "
            "then give another --directory)",
            path, size, expected);
}

std::size_t window_blocks(std::uint64_t block_bytes) {
    constexpr std::uint64_t window_bytes = 32 << 20;
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(window_bytes / block_bytes, 1, 128));
}

}  // namespace kvfs
