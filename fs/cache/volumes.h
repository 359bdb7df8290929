#pragma once
#include <cstdint>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/store/arena.h"

namespace kvfs {

/// Bytes that a volume may hold; 0: as many as there is room for.
struct VolumeQuota {
    std::uint64_t soft = 0;  ///< beyond it, its files go before others'
    std::uint64_t hard = 0;  ///< what goes beyond it takes the place of its own files

    bool any() const { return soft != 0 || hard != 0; }
};

/// What one file counts for, and in which volume.
struct VolumeShare {
    VolumeId volume = 0;
    std::uint64_t bytes = 0;
};

/// The bytes that volumes hold, and those that they may hold. Counted where bytes come and go.
/// Thread-safe; takes no other lock.
class Volumes {
  public:
    struct Usage {
        VolumeId volume = 0;
        VolumeQuota quota;
        std::uint64_t used = 0;
    };

    void set_quota(VolumeId volume, VolumeQuota quota);
    VolumeQuota quota(VolumeId volume) const;
    std::uint64_t used(VolumeId volume) const;
    /// Those that have a quota, by their numbers.
    std::vector<Usage> with_quota() const;

    /// The file holds `bytes` now.
    void count(VolumeShare& share, std::uint64_t bytes);
    /// The file is in another volume now.
    void move(VolumeShare& share, VolumeId volume);
    /// The file is about to hold `more`: counted here, unless that is beyond the hard quota. False:
    /// it is.
    bool charge(VolumeShare& share, std::uint64_t more);

    /// Bytes by which the volume with `more` would be beyond its hard quota.
    std::uint64_t excess(VolumeId volume, std::uint64_t more = 0) const;
    std::vector<VolumeId> over_soft() const;
    std::vector<VolumeId> over_hard() const;

  private:
    struct Volume {
        VolumeQuota quota;
        std::uint64_t used = 0;
    };
    void settle(VolumeId id, const Volume& volume) REQUIRES(mutex_);

    mutable Mutex mutex_;
    std::unordered_map<VolumeId, Volume> volumes_ GUARDED_BY(mutex_);  ///< with bytes or a quota
    std::set<VolumeId> over_soft_ GUARDED_BY(mutex_);
    std::set<VolumeId> over_hard_ GUARDED_BY(mutex_);
};

/// Bytes that count in a volume and are no file's yet; until take() has made them one's.
class DraftShare {
  public:
    DraftShare(Volumes& volumes, VolumeShare share) : volumes_(volumes), share_(share) {}
    ~DraftShare() { volumes_.count(share_, 0); }
    DraftShare(const DraftShare&) = delete;
    DraftShare& operator=(const DraftShare&) = delete;

    VolumeShare take() { return std::exchange(share_, {share_.volume, 0}); }

  private:
    Volumes& volumes_;
    VolumeShare share_;
};

}  // namespace kvfs
