#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "gpumap.h"
#include "gpumap/completion_queue.h"
#include "gpumap/device.h"
#include "gpumap/plan.h"

namespace kvfs::gpumap {

/// How a job goes: counts every byte down, once, as moved or failed; a group ends with its last
/// byte, the job with its last group. What has ended stays as it is. Thread-safe.
class Outcome {
  public:
    struct Notice {
        CompletionQueue* queue = nullptr;  ///< where results go; must outlive the job's end
        gm_job* job = nullptr;
        std::uint64_t cookie = 0;
        std::uint32_t flags = 0;  ///< GM_NOTIFY*
    };

    explicit Outcome(const Plan& plan) : Outcome(plan.groups, plan.group_bytes) {}
    Outcome(std::vector<std::uint32_t> groups, const std::vector<std::uint64_t>& group_bytes);

    /// Ranges that cannot be moved at all, and groups without bytes, end now. Once, first. True:
    /// the job has ended with it.
    bool start(const Notice& notice, const Plan& plan);

    /// Range `index` has failed. Before its bytes are settled.
    void fail(std::uint32_t index, gm_status status);
    /// `bytes` of group index `group` are done: moved (GM_OK) or failed. True: the job has ended
    /// now. Who waits is woken by tell().
    bool settle(std::uint32_t group, std::uint64_t bytes, gm_status status);

    /// Wakes who waits for what has been settled. Apart from settle(), to be called without locks:
    /// else those who wake wait for the locks at once, which takes longer than the copy of a few
    /// KiB.
    void tell() const;

    /// `bytes` of group index `group` are with the device, in this batch. May come after the
    /// batch's end.
    void hand_over(std::uint32_t group, std::uint64_t bytes, Ticket batch);
    /// So many are no longer. Before they are settled.
    void take_back(std::uint32_t group, std::uint64_t bytes);

    // By the caller's group numbers; GM_ALL_GROUPS is the job.
    bool has_group(std::uint32_t number) const;
    gm_status poll(std::uint32_t number) const;
    gm_status wait(std::uint32_t number, std::optional<Deadline> deadline) const;
    /// Waits until every byte of the group is with the device or done. Returns the batches that may
    /// still be with the device.
    std::vector<Ticket> wait_handed_over(std::uint32_t number) const;

    /// Failed ranges so far, by index.
    std::vector<std::pair<std::uint32_t, gm_status>> errors() const;
    std::uint64_t moved_bytes() const;

  private:
    struct Part {
        std::uint64_t bytes_left = 0;
        std::uint64_t moved = 0;
        gm_status status = GM_OK;  ///< the first failure
        bool ended = false;
        std::int64_t with_device = 0;  ///< below 0: a batch was over before it was told of
        std::vector<Ticket> batches;   ///< that it was handed over in
    };

    Part& part(std::uint32_t number) REQUIRES(mutex_);
    const Part& part(std::uint32_t number) const REQUIRES(mutex_);
    bool is_handed_over(const Part& part) const REQUIRES(mutex_);
    void end(Part& part, std::uint32_t number) REQUIRES(mutex_);
    bool end_if_done(std::size_t group) REQUIRES(mutex_);

    const std::vector<std::uint32_t> groups_;
    Notice notice_;

    mutable Mutex mutex_;
    mutable CondVar ended_;
    mutable CondVar handed_over_;
    std::vector<Part> parts_ GUARDED_BY(mutex_);
    std::size_t parts_left_ GUARDED_BY(mutex_);
    Part job_ GUARDED_BY(mutex_);
    std::vector<std::pair<std::uint32_t, gm_status>> errors_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
