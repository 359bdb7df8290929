#include <algorithm>
#include <cassert>
#include <utility>

#include "fs/store/arena.h"

namespace kvfs {

Allocation::Allocation(Allocation&& other) noexcept
    : arena_(std::exchange(other.arena_, nullptr)),
      volume_(other.volume_),
      bytes_(std::exchange(other.bytes_, 0)),
      extents_(std::exchange(other.extents_, {})) {}

Allocation& Allocation::operator=(Allocation&& other) noexcept {
    if (this != &other) {
        shrink(0);
        arena_ = std::exchange(other.arena_, nullptr);
        volume_ = other.volume_;
        bytes_ = std::exchange(other.bytes_, 0);
        extents_ = std::exchange(other.extents_, {});
    }
    return *this;
}

Allocation::~Allocation() { shrink(0); }

std::vector<std::span<std::byte>> Allocation::spans(std::uint64_t offset,
                                                    std::uint64_t length) const {
    assert(offset <= bytes_ && length <= bytes_ - offset);
    std::vector<std::span<std::byte>> spans;
    for (const Extent& extent : extents_) {
        if (length == 0) break;
        if (offset >= extent.length) {
            offset -= extent.length;
            continue;
        }
        const std::uint64_t part = std::min(length, extent.length - offset);
        spans.emplace_back(arena_->data(extent) + offset, part);
        length -= part;
        offset = 0;
    }
    return spans;
}

void Allocation::shrink(std::uint64_t bytes) {
    if (bytes >= bytes_) return;
    const std::uint64_t kept =
        std::min(bytes_, (bytes + Arena::kUnitBytes - 1) / Arena::kUnitBytes * Arena::kUnitBytes);
    std::vector<Extent> surplus;
    while (bytes_ > kept) {
        Extent& last = extents_.back();
        const std::uint64_t cut = std::min(last.length, bytes_ - kept);
        last.length -= cut;
        bytes_ -= cut;
        surplus.push_back({last.slab, last.offset + last.length, cut});
        if (last.length == 0) extents_.pop_back();
    }
    if (!surplus.empty()) arena_->give_back(surplus);
}

}  // namespace kvfs
