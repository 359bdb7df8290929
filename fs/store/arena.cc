#include "fs/store/arena.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <utility>

#include "fs/base/log.h"
#include "fs/base/size.h"
#include "fs/store/arena_slab.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kSlabsMin = 16;
constexpr std::uint64_t kSlabBytesDefault = 1ULL << 30;
constexpr std::uint64_t kSlabBytesMax = 64ULL << 30;
/// How much of a slab is out of reach at a time while a slab is made fit for sharing.
constexpr std::uint64_t kZeroStepUnits = 64;

/// Needs no rounding up to whole slabs: powers of two leave little of any size over.
std::uint64_t default_slab_bytes(std::uint64_t bytes) {
    return std::min(kSlabBytesDefault, std::bit_floor(bytes / kSlabsMin));
}

}  // namespace

Arena::Arena(const Options& options, std::vector<std::unique_ptr<Slab>> slabs)
    : slab_bytes_(options.slab_bytes), huge_pages_(options.huge_pages), slabs_(std::move(slabs)) {
    for (std::uint32_t slab = 0; slab < slab_count(); ++slab) free_slabs_.insert(slab);
}

Arena::~Arena() { assert(used() == 0); }

Result<std::unique_ptr<Arena>> Arena::create(const Options& wanted) {
    Options options = wanted;
    if (options.bytes < kSlabsMin * kUnitBytes)
        return Error{EINVAL, "a DRAM tier of " + format_size(options.bytes) +
                                 " is too small: 1 MiB "
                                 "is the least"};
    if (options.slab_bytes == 0) options.slab_bytes = default_slab_bytes(options.bytes);
    if (options.slab_bytes % kUnitBytes != 0 || options.slab_bytes > kSlabBytesMax ||
        options.slab_bytes > options.bytes)
        return Error{EINVAL, "slabs of " + format_size(options.slab_bytes) + " do not suit " +
                                 format_size(options.bytes) +
                                 ": a multiple of 64 KiB, at most 64 GiB"};
    auto memory =
        make_slabs(options.bytes / options.slab_bytes, options.slab_bytes, options.huge_pages);
    if (!memory) return memory.error();
    std::vector<std::unique_ptr<Slab>> slabs;
    slabs.reserve(memory->size());
    for (SlabMemory& slab : *memory)
        slabs.push_back(std::make_unique<Slab>(std::move(slab), options.slab_bytes));
    return std::unique_ptr<Arena>(new Arena(options, std::move(slabs)));
}

Result<Allocation> Arena::allocate(VolumeId volume, std::uint64_t bytes) {
    Allocation allocation;
    allocation.arena_ = this;
    allocation.volume_ = volume;
    if (Status status = grow(allocation, bytes); !status) return status.error();
    return allocation;
}

Status Arena::grow(Allocation& allocation, std::uint64_t bytes) {
    assert(allocation.arena_ == this);
    const Error full{ENOSPC, {}};
    if (bytes > capacity()) return full;
    std::uint64_t missing = (bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
    MutexLock lock(mutex_);
    if (missing > available_locked(allocation.volume_)) return full;
    std::vector<Extent> added;
    if (!allocation.extents_.empty() && missing > 0) {
        const Extent next = take_after(allocation.extents_.back(), missing);
        if (next.length > 0) added.push_back(next);
        missing -= next.length;
    }
    if (!gather(allocation.volume_, missing, added)) {
        for (const Extent& extent : added) {
            settle(extent);
            put_back(extent);
        }
        return full;
    }
    for (const Extent& extent : added) zero_stale(extent);
    lock.unlock();
    for (const Extent& extent : added) {
        std::vector<Extent>& have = allocation.extents_;
        const bool continues = !have.empty() && have.back().slab == extent.slab &&
                               have.back().offset + have.back().length == extent.offset;
        if (continues)
            have.back().length += extent.length;
        else
            have.push_back(extent);
        allocation.bytes_ += extent.length;
    }
    return {};
}

/// Takes `bytes` from the volume's slabs, and from free slabs that thereby become its slabs: a run
/// that fits, else a free slab, else the longest runs. False: no room, and `extents` is to be put
/// back.
bool Arena::gather(VolumeId volume, std::uint64_t bytes, std::vector<Extent>& extents) {
    std::vector<std::uint32_t> claimed;
    bool may_claim = true;
    while (bytes > 0) {
        const auto owner = volumes_.find(volume);
        const std::uint64_t longest =
            owner == volumes_.end() ? 0 : owner->second.slabs.rbegin()->first;
        if (longest < std::min(bytes, slab_bytes_) && may_claim && !free_slabs_.empty()) {
            const auto slab = claim_slab(volume);
            if (slab)
                claimed.push_back(*slab);
            else
                may_claim = false;
            continue;  // the mutex may have been released: look again
        }
        if (longest == 0) break;
        const auto fits = owner->second.slabs.lower_bound({std::min(bytes, longest), 0});
        extents.push_back(take(fits->second, std::min(bytes, longest)));
        bytes -= extents.back().length;
    }
    for (const std::uint32_t slab : claimed) retire_if_unused(slab);
    return bytes == 0;
}

/// Makes a free slab the volume's. Nothing when the slab's memory had to be exchanged and could
/// not.
std::optional<std::uint32_t> Arena::claim_slab(VolumeId volume) {
    const auto cost = [&](std::uint32_t index) {
        const Slab& slab = *slabs_[index];
        return slab.volume == volume ? 0 : !slab.is_shared ? 1 : 2;
    };
    const auto cheapest =
        std::min_element(free_slabs_.begin(), free_slabs_.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return cost(a) < cost(b); });
    const std::uint32_t index = *cheapest;
    free_slabs_.erase(cheapest);
    Slab& slab = *slabs_[index];
    if (slab.volume != volume && slab.is_shared) {
        if (!exchange(slab)) {
            free_slabs_.insert(index);
            return std::nullopt;
        }
    } else if (slab.volume != volume) {
        slab.stale = slab.touched;
        slab.has_stale = std::find(slab.stale.begin(), slab.stale.end(), true) != slab.stale.end();
    }
    slab.volume = volume;
    list(index);
    return index;
}

bool Arena::exchange(Slab& slab) {
    ++slab.busy;
    // Faulting a slab in takes a while. The slab is in no list: nobody else gets at it.
    mutex_.unlock();
    const std::span<std::byte> memory = slab.memory.mapping.bytes();
    auto fresh = exchange_memory(memory, huge_pages_);
    if (fresh && listener_) listener_(memory);
    mutex_.lock();
    if (--slab.busy == 0) settled_.notify_all();
    if (!fresh) {
        spdlog::warn("a slab cannot pass to another directory: {}", fresh.error().message());
        return false;
    }
    slab.memory.fd = std::move(fresh->fd);
    slab.memory.kind = fresh->kind;
    slab.forget_contents();
    ++slab.generation;
    return true;
}

Extent Arena::take(std::uint32_t index, std::uint64_t bytes) {
    Slab& slab = *slabs_[index];
    unlist(index);
    const Extent extent{index, slab.free.take(bytes), bytes};
    note_taken(extent);
    list(index);
    return extent;
}

/// Takes what is free right behind `last`, at most `bytes`.
Extent Arena::take_after(const Extent& last, std::uint64_t bytes) {
    const std::uint64_t offset = last.offset + last.length;
    unlist(last.slab);
    const Extent extent{last.slab, offset, slabs_[last.slab]->free.take_at(offset, bytes)};
    if (extent.length > 0) note_taken(extent);
    list(last.slab);
    return extent;
}

void Arena::note_taken(const Extent& extent) {
    Slab& slab = *slabs_[extent.slab];
    slab.mark(slab.touched, units(extent.offset), units(extent.offset + extent.length), true);
    used_ += extent.length;
    if (slab.has_stale) ++slab.busy;
}

/// Ends what note_taken began. has_stale has not changed since: it does only while nobody is busy.
void Arena::settle(const Extent& extent) {
    Slab& slab = *slabs_[extent.slab];
    if (slab.has_stale && --slab.busy == 0) settled_.notify_all();
}

void Arena::put_back(const Extent& extent) {
    unlist(extent.slab);
    slabs_[extent.slab]->free.put(extent.offset, extent.length);
    used_ -= extent.length;
    list(extent.slab);
    retire_if_unused(extent.slab);
}

void Arena::retire_if_unused(std::uint32_t slab) {
    if (!slabs_[slab]->is_listed || !slabs_[slab]->is_unused()) return;
    unlist(slab);
    const auto owner = volumes_.find(slabs_[slab]->volume);
    if (owner->second.slabs.empty()) volumes_.erase(owner);
    free_slabs_.insert(slab);
}

void Arena::list(std::uint32_t slab) {
    Volume& owner = volumes_[slabs_[slab]->volume];
    owner.slabs.emplace(slabs_[slab]->free.longest(), slab);
    owner.free_bytes += slabs_[slab]->free.total();
    slabs_[slab]->is_listed = true;
}

void Arena::unlist(std::uint32_t slab) {
    Volume& owner = volumes_[slabs_[slab]->volume];
    owner.slabs.erase({slabs_[slab]->free.longest(), slab});
    owner.free_bytes -= slabs_[slab]->free.total();
    slabs_[slab]->is_listed = false;
}

/// Zeroes what the extent, which nobody else knows yet, holds of another volume's bytes.
void Arena::zero_stale(const Extent& extent) {
    Slab& slab = *slabs_[extent.slab];
    if (!slab.has_stale) return;
    const std::uint64_t end = units(extent.offset + extent.length);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
    for (std::uint64_t at = units(extent.offset); at < end; at = runs.back().second)
        runs.push_back(slab.stale_run(at, end, end));
    slab.mark(slab.stale, units(extent.offset), end, false);
    mutex_.unlock();
    for (const auto& [first, last] : runs) slab.zero(first, last);
    mutex_.lock();
    settle(extent);
}

/// Zeroes all stale units of the slab, a few at a time so that others can allocate meanwhile.
void Arena::zero_all_stale(MutexLock& lock, std::uint32_t index) {
    Slab& slab = *slabs_[index];
    while (slab.busy > 0 || slab.has_stale) {
        if (slab.busy > 0) {
            settled_.wait(lock);
            continue;
        }
        const auto [first, last] = slab.stale_run(0, slab.stale.size(), kZeroStepUnits);
        if (first == last) {
            slab.has_stale = false;
            break;
        }
        if (!slab.is_listed) {
            slab.zero(first, last);
            slab.mark(slab.stale, first, last, false);
            continue;
        }
        const Extent step = take_after({index, first * kUnitBytes, 0}, (last - first) * kUnitBytes);
        zero_stale(step);
        put_back(step);
    }
}

void Arena::give_back(std::span<const Extent> extents) {
    MutexLock lock(mutex_);
    for (const Extent& extent : extents) put_back(extent);
}

std::byte* Arena::data(const Extent& extent) const {
    assert(extent.slab < slabs_.size() && extent.offset + extent.length <= slab_bytes_);
    return slabs_[extent.slab]->memory.mapping.data() + extent.offset;
}

std::uint64_t Arena::used() const {
    MutexLock lock(mutex_);
    return used_;
}

std::uint64_t Arena::available_locked(VolumeId volume) const {
    const auto owner = volumes_.find(volume);
    const std::uint64_t own = owner == volumes_.end() ? 0 : owner->second.free_bytes;
    return own + free_slabs_.size() * slab_bytes_;
}

std::uint64_t Arena::available(VolumeId volume) const {
    MutexLock lock(mutex_);
    return available_locked(volume);
}

std::string Arena::page_kind() const {
    static constexpr std::array kinds{std::pair{PageKind::kHugetlb, "2 MiB (hugetlb)"},
                                      std::pair{PageKind::kShmemHuge, "2 MiB (shmem THP)"},
                                      std::pair{PageKind::kSmall, "4 KiB"}};
    std::string text;
    MutexLock lock(mutex_);
    for (const auto& kind : kinds) {
        const auto count = static_cast<std::size_t>(
            std::count_if(slabs_.begin(), slabs_.end(),
                          [&](const auto& slab) { return slab->memory.kind == kind.first; }));
        if (count == slabs_.size()) return kind.second;
        if (count == 0) continue;
        text += text.empty() ? "" : ", ";
        text += std::to_string(count * 100 / slabs_.size()) + " % " + kind.second;
    }
    return text;
}

Result<Arena::SharedSlab> Arena::share(std::uint32_t index, bool writable) {
    assert(index < slabs_.size());
    MutexLock lock(mutex_);
    zero_all_stale(lock, index);
    Slab& slab = *slabs_[index];
    const int own = slab.memory.fd.get();
    // Only a descriptor opened anew can be read-only; a duplicate has the rights of its original.
    UniqueFd fd(
        writable ? ::fcntl(own, F_DUPFD_CLOEXEC, 0)
                 : ::open(("/proc/self/fd/" + std::to_string(own)).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return errno_error("a descriptor of a slab");
    slab.is_shared = true;
    return SharedSlab{std::move(fd), slab.generation, slab.volume};
}

std::uint64_t Arena::generation(std::uint32_t slab) const {
    assert(slab < slabs_.size());
    MutexLock lock(mutex_);
    return slabs_[slab]->generation;
}

void Arena::set_slab_listener(SlabListener listener) {
    listener_ = std::move(listener);
    for (const auto& region : memory()) listener_(region);
}

std::vector<std::span<std::byte>> Arena::memory() const {
    std::vector<std::span<std::byte>> all;
    for (const auto& slab : slabs_) all.push_back(slab->memory.mapping.bytes());
    return all;
}

}  // namespace kvfs
