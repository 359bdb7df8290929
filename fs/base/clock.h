#pragma once
#include <chrono>
#include <cstdint>
#include <ctime>

namespace kvfs {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

/// The moment `timeout` from now.
inline Deadline deadline_after(std::chrono::milliseconds timeout) { return Clock::now() + timeout; }

/// Wall-clock nanoseconds since the epoch: what file times are made of.
inline std::int64_t wall_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

/// The same from the kernel's tick (1-4 ms coarse, no TSC read): for access times alone, since a
/// file written just after it was made would seem older than itself.
inline std::int64_t wall_ns_coarse() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace kvfs
