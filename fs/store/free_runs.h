#pragma once
#include <algorithm>
#include <cassert>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace kvfs {

/// Which bytes of one slab are free, as runs that do not touch each other. Everything is in
/// logarithmic time. Not thread-safe.
class FreeRuns {
  public:
    explicit FreeRuns(std::uint64_t bytes) { insert(0, bytes); }

    std::uint64_t total() const { return total_; }
    std::uint64_t longest() const { return by_length_.empty() ? 0 : by_length_.rbegin()->first; }

    /// Takes `bytes` from the shortest run that holds them; gives their offset.
    /// Requires: 0 < bytes <= longest().
    std::uint64_t take(std::uint64_t bytes) {
        assert(bytes > 0 && bytes <= longest());
        const auto [length, offset] = *by_length_.lower_bound({bytes, 0});
        erase(offset, length);
        if (length > bytes) insert(offset + bytes, length - bytes);
        return offset;
    }

    /// Takes up to `bytes` that lie at `offset` and after it; gives how many, 0 when `offset` is
    /// not free.
    std::uint64_t take_at(std::uint64_t offset, std::uint64_t bytes) {
        auto run = by_offset_.upper_bound(offset);
        if (run == by_offset_.begin()) return 0;
        --run;
        const auto [start, length] = *run;
        const std::uint64_t end = start + length;
        if (end <= offset) return 0;
        const std::uint64_t taken = std::min(bytes, end - offset);
        erase(start, length);
        if (offset > start) insert(start, offset - start);
        if (end > offset + taken) insert(offset + taken, end - offset - taken);
        return taken;
    }

    /// Requires: none of these bytes is free.
    void put(std::uint64_t offset, std::uint64_t bytes) {
        auto next = by_offset_.lower_bound(offset);
        assert(next == by_offset_.end() || next->first >= offset + bytes);
        if (next != by_offset_.begin()) {
            const auto [start, length] = *std::prev(next);
            assert(start + length <= offset);
            if (start + length == offset) {
                erase(start, length);
                offset = start;
                bytes += length;
            }
        }
        if (next != by_offset_.end() && next->first == offset + bytes) {
            const std::uint64_t length = next->second;
            erase(offset + bytes, length);
            bytes += length;
        }
        insert(offset, bytes);
    }

  private:
    void insert(std::uint64_t offset, std::uint64_t length) {
        by_offset_.emplace(offset, length);
        by_length_.emplace(length, offset);
        total_ += length;
    }
    void erase(std::uint64_t offset, std::uint64_t length) {
        by_offset_.erase(offset);
        by_length_.erase({length, offset});
        total_ -= length;
    }

    std::map<std::uint64_t, std::uint64_t> by_offset_;  ///< offset -> length
    std::set<std::pair<std::uint64_t, std::uint64_t>> by_length_;
    std::uint64_t total_ = 0;
};

}  // namespace kvfs
