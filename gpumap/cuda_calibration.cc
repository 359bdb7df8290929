// From which size of pieces the copy engine is faster than a kernel: it moves with the device, the
// driver and the bus, so it is measured.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <limits>

#include "fs/base/mapping.h"
#include "gpumap/cuda_device.h"
#include "gpumap/gate.h"

namespace kvfs::gpumap {
namespace {

constexpr std::uint64_t kBytes = 2 << 20;
constexpr std::uint64_t kDefault = 32 << 10;
constexpr std::array<std::uint64_t, 5> kPieces = {4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10};
constexpr int kRounds = 3;
/// Batches on their way, as in a long load: what a batch costs the processor then hides behind the
/// copies before it, or holds up those behind it.
constexpr int kAtATime = 4;

}  // namespace

/// Costs some milliseconds, and the device's memory for a moment.
std::uint64_t CudaDevice::measure_small_bytes() {
    if (!abilities_.kernels || !abilities_.batch) return kDefault;
    auto host = Mapping::anonymous(kBytes);
    const auto device = allocate(2 * kBytes);
    if (!host || !device) return kDefault;
    const Pin pin = pins_->pin(host->bytes(), true, -1);
    std::uint64_t from = 2 * kPieces.back();
    for (const std::uint64_t bytes : kPieces) {
        std::vector<Copy> copies;
        for (std::uint64_t at = 0; at < kBytes; at += bytes)
            copies.push_back({*device + 2 * at, host->data() + at, bytes});
        const auto batch = seconds_for(CopyMethod::batch, copies);
        const auto stage = seconds_for(CopyMethod::stage, copies);
        if (!batch || !stage) {
            from = kDefault;
            break;
        }
        if (*batch <= *stage) {
            from = bytes;
            break;
        }
    }
    static_cast<void>(free(*device));
    return from;
}

/// The best of some rounds.
Result<double> CudaDevice::seconds_for(CopyMethod method, std::span<const Copy> copies) {
    CudaOptions options = options_;
    options.method = method;
    options.small_bytes = kDefault;
    double best = std::numeric_limits<double>::max();
    for (int round = 0; round < kRounds; ++round) {
        std::atomic<int> left = kAtATime;
        std::atomic<bool> failed = false;
        Gate ended;
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < kAtATime; ++i)
            submit_by(options, Direction::in, copies, [&](gm_status its) {
                if (its != GM_OK) failed = true;
                if (--left == 0) ended.open();
            });
        ended.wait();
        if (failed) return Error{ENODEV, "a copy failed"};
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        best = std::min(best, took.count());
    }
    return best;
}

}  // namespace kvfs::gpumap
