#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "gpumap/daemon.h"
#include "gpumap/device.h"
#include "gpumap/file_reader.h"
#include "gpumap/job.h"
#include "gpumap/staging.h"

namespace kvfs::gpumap {

/// Decides what goes to the device and to the SSD next, and accounts for what comes back.
///
/// Order: higher priority, then earlier deadline, then first come; within a job by group. The
/// device gets little at a time (window_bytes in each direction), because what it has cannot be
/// called back or overtaken.
///
/// It has no thread of its own: whoever brings news (a lease came, a copy ended, a read landed)
/// also starts what can start then. The mutex is never held while the device, the ring, the daemon
/// or a job's on_end is called. Thread-safe.
class Scheduler {
  public:
    struct Options {
        std::uint64_t window_bytes = 32 << 20;
        std::uint32_t jobs_max = 65536;
    };

    /// All must outlive this. `wake`: the time that tick() wants to be called at has become
    /// earlier.
    Scheduler(Device& device, Daemon& daemon, FileReader& reader, Staging& staging,
              std::function<void()> wake, Options options);
    /// Requires: stop_all() has returned.
    ~Scheduler();

    /// Takes in a job that has not ended by start(). A load's leases are asked for, a save's are in
    /// its files; a commit waits for publish(). Errors: EAGAIN - too many; ECANCELED - stop_all().
    Status add(const JobPtr& job);
    /// The stream that the job comes after has got there.
    void reached(const JobPtr& job);
    void reprioritize(const JobPtr& job, std::int32_t priority);
    /// Nothing more of the job is started; what has not been, a commit among it, ends as `status`.
    void stop(const JobPtr& job, gm_status status);

    /// A commit's draft is complete: the daemon is asked to publish it. False: the job was stopped.
    bool publish(const JobPtr& job, std::uint64_t lease);

    /// Stops jobs whose deadline has passed. Returns when to be called next.
    Deadline tick();

    /// Stops all jobs and waits until nothing of them is with the device, the SSD or (commits) the
    /// daemon. Later jobs are refused.
    void stop_all();

    /// Bytes moved so far.
    struct Moved {
        std::uint64_t dram = 0;  ///< loaded from DRAM
        std::uint64_t file = 0;  ///< loaded from SSD
        std::uint64_t saved = 0;
    };
    Moved moved() const;

  private:
    struct Batch;
    struct Read;
    struct Work;
    struct Before {
        bool operator()(const JobPtr& a, const JobPtr& b) const;
    };
    using JobSet = std::set<JobPtr, Before>;
    using JobFile = std::pair<JobPtr, std::uint32_t>;
    /// One direction. A bus carries both at a time, so that neither waits for the other.
    struct Lane {
        JobSet copyable;  ///< ready, with copies queued
        std::uint64_t window_used = 0;
    };

    // News. Each ends with pump() and run().
    void leased(const JobPtr& job, std::span<const std::uint32_t> files,
                std::vector<LeaseAnswer> answers);
    void copied(Batch& batch, gm_status status);
    void landed(Read& read, const std::vector<gm_status>& statuses);
    void published(const JobPtr& job, int status);
    void arrived(const JobFile& file, int status, std::uint64_t bytes);

    void take_lease(const JobPtr& job, std::uint32_t file, LeaseAnswer answer, Work& work)
        REQUIRES(mutex_);
    void refuse(const JobPtr& job, std::uint32_t file, gm_status status, Work& work)
        REQUIRES(mutex_);
    void cut(const JobPtr& job, std::uint32_t file, Work& work) REQUIRES(mutex_);
    void settle_arriving(const JobPtr& job, std::uint32_t file, gm_status status, Work& work)
        REQUIRES(mutex_);
    void list(const JobPtr& job) REQUIRES(mutex_);
    void unlist(const JobPtr& job) REQUIRES(mutex_);
    void drop(const JobPtr& job, gm_status status, Work& work) REQUIRES(mutex_);

    void settle(const JobPtr& job, const Copy& copy, gm_status status, Work& work) REQUIRES(mutex_);
    /// `bytes` from `file_off` in a piece are done.
    void settle(const JobPtr& job, std::uint32_t file, std::uint32_t piece, std::uint64_t file_off,
                std::uint64_t bytes, gm_status status, Work& work) REQUIRES(mutex_);
    void settle_copies(const Batch& batch, gm_status status, Work& work) REQUIRES(mutex_);
    void finish(const JobPtr& job, Work& work) REQUIRES(mutex_);

    void pump(Work& work) REQUIRES(mutex_);
    Lane& lane_of(const Job& job) REQUIRES(mutex_);
    void pump_copies(Lane& lane, Work& work) REQUIRES(mutex_);
    void pump_reads(Work& work) REQUIRES(mutex_);
    void run(Work work) EXCLUDES(mutex_);
    void ask(std::vector<JobFile> files) EXCLUDES(mutex_);
    void await(const JobFile& file) EXCLUDES(mutex_);
    void find_out_why(const JobFile& file) EXCLUDES(mutex_);

    Device& device_;
    Daemon& daemon_;
    FileReader& reader_;
    Staging& staging_;
    const std::function<void()> wake_;
    const Options options_;

    mutable Mutex mutex_;
    CondVar idle_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    std::uint64_t next_sequence_ GUARDED_BY(mutex_) = 0;
    std::unordered_set<JobPtr> jobs_ GUARDED_BY(mutex_);  ///< not ended
    Lane loads_ GUARDED_BY(mutex_);
    Lane saves_ GUARDED_BY(mutex_);
    JobSet readable_ GUARDED_BY(mutex_);  ///< ready, with reads queued
    std::set<std::pair<Deadline, JobPtr>> deadlines_ GUARDED_BY(mutex_);
    std::deque<std::unique_ptr<Batch>> landed_ GUARDED_BY(mutex_);  ///< read, and not copied yet
    std::size_t under_way_ GUARDED_BY(mutex_) = 0;                  ///< batches and reads
    std::size_t ending_ GUARDED_BY(mutex_) = 0;                     ///< jobs whose on_end is to run
    std::size_t leases_ GUARDED_BY(mutex_) = 0;                     ///< that jobs hold
    std::size_t asked_ GUARDED_BY(mutex_) = 0;  ///< leases that the daemon has been asked for
    std::uint64_t release_epoch_ GUARDED_BY(mutex_) = 0;
    std::deque<JobFile> starved_ GUARDED_BY(mutex_);  ///< to be asked for when leases are released

    Moved moved_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
