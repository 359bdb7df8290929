#pragma once
#include <cstddef>
#include <memory>

#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "gpumap/daemon.h"
#include "gpumap/job.h"
#include "gpumap/scheduler.h"

namespace kvfs::gpumap {

/// A file that exists under no name yet.
///
///     open       saves may begin
///     committed  no more saves; published when those under way have ended, if all went well
///     closed     discarded when the saves under way have ended, unless committed before
///
/// Its memory is given back exactly once, by publishing or discarding, and only while no save is
/// under way: the device may be writing there. Thread-safe.
class Draft {
  public:
    /// Both must outlive this.
    Draft(Daemon& daemon, Scheduler& scheduler, std::shared_ptr<const FileLease> lease)
        : daemon_(daemon), scheduler_(scheduler), lease_(std::move(lease)) {}

    const std::shared_ptr<const FileLease>& lease() const { return lease_; }

    /// Errors: EINVAL - committed or closed.
    Status begin_save();
    void end_save(gm_status status);
    /// `job` (a commit, added to the scheduler) ends when the draft is published, or cannot be.
    void commit(const JobPtr& job);
    /// Claims the one commit that there is. Errors: EINVAL - there was one.
    Status begin_commit();
    /// The commit that was begun could not be started: there was none.
    void give_up_commit();
    void close();

  private:
    void go_on();

    Daemon& daemon_;
    Scheduler& scheduler_;
    const std::shared_ptr<const FileLease> lease_;

    Mutex mutex_;
    std::size_t saves_ GUARDED_BY(mutex_) = 0;  ///< under way
    gm_status failed_ GUARDED_BY(mutex_) = GM_OK;
    bool committed_ GUARDED_BY(mutex_) = false;
    bool closed_ GUARDED_BY(mutex_) = false;
    bool given_back_ GUARDED_BY(mutex_) = false;
    JobPtr commit_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
