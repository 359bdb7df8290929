#include "fs/cache/volumes.h"

#include <algorithm>

namespace kvfs {

/// After each change of `volume`; nothing may refer to it afterwards.
void Volumes::settle(VolumeId id, const Volume& volume) {
    const auto mark = [id](std::set<VolumeId>& over, bool is) {
        if (is)
            over.insert(id);
        else if (!over.empty())
            over.erase(id);
    };
    const VolumeQuota quota = volume.quota;
    mark(over_soft_, quota.soft != 0 && volume.used > quota.soft);
    mark(over_hard_, quota.hard != 0 && volume.used > quota.hard);
    if (volume.used == 0 && !quota.any()) volumes_.erase(id);
}

void Volumes::set_quota(VolumeId volume, VolumeQuota quota) {
    const MutexLock lock(mutex_);
    Volume& known = volumes_[volume];
    known.quota = quota;
    settle(volume, known);
}

VolumeQuota Volumes::quota(VolumeId volume) const {
    const MutexLock lock(mutex_);
    const auto found = volumes_.find(volume);
    return found == volumes_.end() ? VolumeQuota{} : found->second.quota;
}

std::uint64_t Volumes::used(VolumeId volume) const {
    const MutexLock lock(mutex_);
    const auto found = volumes_.find(volume);
    return found == volumes_.end() ? 0 : found->second.used;
}

std::vector<Volumes::Usage> Volumes::with_quota() const {
    std::vector<Usage> all;
    {
        const MutexLock lock(mutex_);
        for (const auto& [id, volume] : volumes_)
            if (volume.quota.any()) all.push_back({id, volume.quota, volume.used});
    }
    std::ranges::sort(all, {}, &Usage::volume);
    return all;
}

void Volumes::count(VolumeShare& share, std::uint64_t bytes) {
    if (bytes == share.bytes) return;
    const MutexLock lock(mutex_);
    Volume& volume = volumes_[share.volume];
    // Never below zero: a wrong account must not look like one that all is to be evicted for.
    volume.used = std::max(volume.used + bytes, share.bytes) - share.bytes;
    share.bytes = bytes;
    settle(share.volume, volume);
}

void Volumes::move(VolumeShare& share, VolumeId volume) {
    const std::uint64_t bytes = share.bytes;
    count(share, 0);
    share.volume = volume;
    count(share, bytes);
}

bool Volumes::charge(VolumeShare& share, std::uint64_t more) {
    if (more == 0) return true;
    const MutexLock lock(mutex_);
    Volume& volume = volumes_[share.volume];
    const std::uint64_t hard = volume.quota.hard;
    const bool fits = hard == 0 || (volume.used <= hard && more <= hard - volume.used);
    if (fits) {
        volume.used += more;
        share.bytes += more;
    }
    settle(share.volume, volume);
    return fits;
}

std::uint64_t Volumes::excess(VolumeId volume, std::uint64_t more) const {
    const MutexLock lock(mutex_);
    const auto found = volumes_.find(volume);
    if (found == volumes_.end() || found->second.quota.hard == 0) return 0;
    const std::uint64_t wanted = found->second.used + more;
    return wanted > found->second.quota.hard ? wanted - found->second.quota.hard : 0;
}

std::vector<VolumeId> Volumes::over_soft() const {
    const MutexLock lock(mutex_);
    return {over_soft_.begin(), over_soft_.end()};
}

std::vector<VolumeId> Volumes::over_hard() const {
    const MutexLock lock(mutex_);
    return {over_hard_.begin(), over_hard_.end()};
}

}  // namespace kvfs
