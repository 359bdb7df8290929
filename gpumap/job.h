#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "gpumap.h"
#include "gpumap/daemon.h"
#include "gpumap/device.h"
#include "gpumap/outcome.h"
#include "gpumap/plan.h"

namespace kvfs::gpumap {

/// A file as it was when it was looked up: what a load is of.
struct FileVersion {
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;
    std::string path;
};

/// A load, a save or a commit. What is not const is the scheduler's, under its mutex; `outcome` is
/// anybody's.
///
///     a byte of it is    waiting for a lease -> queued -> with the device            -> settled
///     (on SSD)           waiting for a lease -> queued -> being read -> with the device -> settled
///     (being filled)     waiting for a lease -> arriving -> queued -> with the device -> settled
///
/// stop() settles what waits, arrives or is queued; what is being read is settled when the read is
/// done, what is with the device when that is.
struct Job {
    enum class Kind { load, save, commit };

    Job(Kind its_kind, Plan its_plan)
        : kind(its_kind), plan(std::move(its_plan)), outcome(plan), queues(plan.groups.size()) {}

    const Kind kind;
    const Plan plan;
    Outcome outcome;
    /// Called once, without any lock, after the job has ended.
    std::function<void(gm_status)> on_end;

    struct File {
        FileVersion version;
        std::shared_ptr<const FileLease> lease;
        std::uint64_t bytes_left = 0;  ///< not settled
        std::uint64_t bytes_read = 0;
        /// Copies of bytes that are not in DRAM yet, with their groups, the nearest to the file's
        /// front last.
        std::vector<std::pair<std::uint32_t, Copy>> arriving;
        std::uint64_t asked_epoch = 0;  ///< Scheduler::release_epoch_ when the lease was asked for
    };
    std::vector<File> files;

    struct Queue {
        std::vector<Copy> copies;
        std::size_t next_copy = 0;  ///< those before it have been submitted
        std::deque<ChunkRead> reads;

        bool has_copies() const { return next_copy < copies.size(); }
    };
    std::vector<Queue> queues;   ///< by group index
    std::size_t copy_group = 0;  ///< no group before it has copies
    std::size_t read_group = 0;  ///< nor this one reads

    std::int32_t priority = 0;
    Deadline deadline = Deadline::max();
    std::uint64_t sequence = 0;
    bool ready = true;          ///< the stream that it comes after has got there
    bool publishing = false;    ///< a commit that the daemon knows of
    gm_status stopped = GM_OK;  ///< why no more of it is started
    std::vector<bool> failed;   ///< ranges that failed, by place in plan.ranges; empty: none
};

using JobPtr = std::shared_ptr<Job>;

}  // namespace kvfs::gpumap
