#include "tools/replay_run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <optional>
#include <thread>
#include <unordered_set>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"

namespace kvfs {
namespace {

/// Leading blocks of each request that an earlier one had, too.
std::uint64_t count_possible_hits(const std::vector<TraceRequest>& requests) {
    std::unordered_set<std::uint64_t> seen;
    std::uint64_t hits = 0;
    for (const TraceRequest& request : requests) {
        bool leading = true;
        for (const std::uint64_t id : request.hash_ids) {
            leading = leading && seen.contains(id);
            hits += leading ? 1 : 0;
        }
        seen.insert(request.hash_ids.begin(), request.hash_ids.end());
    }
    return hits;
}

class Replay {
  public:
    Replay(const ReplayPlan& plan, const ReplayProgress& progress)
        : plan_(plan), progress_(progress), start_(Clock::now()) {}

    /// One thread's work, until no request is left or one failed.
    void run_lane(ReplayLane& lane) {
        for (std::size_t i = next_++; i < plan_.requests.size() && !failed_; i = next_++) {
            const TraceRequest& request = plan_.requests[i];
            if (!wait_for_arrival(request)) return;
            const auto loaded = lane.load_prefix(request.hash_ids);
            if (!loaded) return fail(loaded.error());
            ReplayLane::Done saved;
            if (loaded->blocks < request.hash_ids.size()) {
                const auto rest = lane.save_rest(request.hash_ids, loaded->blocks);
                if (!rest) return fail(rest.error());
                saved = *rest;
            }
            finish(request, *loaded, saved, lane.take_counts());
        }
    }

    void fail(const Error& error) {
        const MutexLock lock(mutex_);
        if (!error_) error_ = error;
        failed_ = true;
        failure_.notify_all();
    }

    Result<ReplayResult> result() {
        const MutexLock lock(mutex_);
        if (error_) return *error_;
        std::sort(result_.load_ms.begin(), result_.load_ms.end());
        result_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
        result_.blocks_possible = count_possible_hits(plan_.requests);
        return result_;
    }

  private:
    /// False when another lane failed meanwhile.
    bool wait_for_arrival(const TraceRequest& request) {
        if (plan_.speed <= 0) return true;
        const double ms = request.timestamp_ms - plan_.requests.front().timestamp_ms;
        const std::chrono::duration<double, std::milli> after(ms / plan_.speed);
        const Deadline arrival = start_ + std::chrono::duration_cast<Clock::duration>(after);
        MutexLock lock(mutex_);
        while (!failed_ && Clock::now() < arrival) failure_.wait_until(lock, arrival);
        return !failed_;
    }

    void finish(const TraceRequest& request, const ReplayLane::Done& loaded,
                const ReplayLane::Done& saved, const LaneCounts& counts) {
        const MutexLock lock(mutex_);
        ++result_.requests;
        result_.blocks += request.hash_ids.size();
        result_.counts.add(counts);
        result_.load_seconds += loaded.seconds;
        result_.save_seconds += saved.seconds;
        if (loaded.blocks > 0) result_.load_ms.push_back(loaded.seconds * 1e3);
        if (progress_) progress_(result_);
    }

    const ReplayPlan& plan_;
    const ReplayProgress& progress_;
    const Clock::time_point start_;
    std::atomic<std::size_t> next_ = 0;
    std::atomic<bool> failed_ = false;
    Mutex mutex_;
    CondVar failure_;
    ReplayResult result_ GUARDED_BY(mutex_);
    std::optional<Error> error_ GUARDED_BY(mutex_);
};

}  // namespace

Result<ReplayResult> run_replay(const ReplayPlan& plan, const LaneFactory& make_lane,
                                const ReplayProgress& progress) {
    std::vector<std::unique_ptr<ReplayLane>> lanes;
    for (unsigned i = 0; i < plan.concurrency; ++i) {
        Result<std::unique_ptr<ReplayLane>> lane = make_lane();
        if (!lane) return lane.error();
        lanes.push_back(std::move(*lane));
    }
    Replay replay(plan, progress);
    std::vector<std::thread> threads;
    for (const auto& lane : lanes)
        threads.emplace_back([&replay, &lane] {
            try {
                replay.run_lane(*lane);
            } catch (const std::exception& error) {
                replay.fail({EIO, error.what()});
            }
        });
    for (std::thread& thread : threads) thread.join();
    return replay.result();
}

double percentile(const std::vector<double>& sorted, double percent) {
    if (sorted.empty()) return 0;
    const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()));
    const auto index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
    return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace kvfs
