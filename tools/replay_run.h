#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "tools/replay_lane.h"
#include "tools/trace.h"

namespace kvfs {

struct ReplayPlan {
    std::vector<TraceRequest> requests;
    std::uint64_t block_bytes = 0;
    unsigned concurrency = 1;  ///< lanes, a thread each
    double speed = 0;          ///< times the trace's own pace; 0: as fast as possible
};

/// How it went.
struct ReplayResult {
    LaneCounts counts;
    std::uint64_t requests = 0;         ///< that were replayed
    std::uint64_t blocks = 0;           ///< in them
    std::uint64_t blocks_possible = 0;  ///< hits of a cache that never evicts and began empty
    double seconds = 0;                 ///< from the first request to the last one's end
    double load_seconds = 0;            ///< sum over the requests
    double save_seconds = 0;
    std::vector<double> load_ms;  ///< of each request that loaded something, sorted
};

/// Called, never twice at a time, when a request is done.
using ReplayProgress = std::function<void(const ReplayResult& so_far)>;

/// Replays: each lane takes the next request, loads its cached prefix, saves the rest.
/// Errors: of a lane that could not go on; the others then stop after their request.
Result<ReplayResult> run_replay(const ReplayPlan& plan, const LaneFactory& make_lane,
                                const ReplayProgress& progress);

/// Nearest rank; 0 of nothing. Requires: `sorted` is.
double percentile(const std::vector<double>& sorted, double percent);

}  // namespace kvfs
