#include "daemon/awake.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "fs/base/clock.h"
#include "fs/base/fd.h"
#include "fs/base/log.h"
#include "fs/base/result.h"

namespace kvfs {
namespace {

constexpr const char* kDevice = "/dev/cpu_dma_latency";

UniqueFd open_device() { return UniqueFd(::open(kDevice, O_WRONLY | O_CLOEXEC)); }

/// Microseconds that a CPU may take to wake. haltpoll says that a halt costs 1 us, which leaves out
/// the hypervisor's part: only 0 keeps it from halting.
std::int32_t latency_us() {
    constexpr std::int32_t kLightSleep = 10;
    std::ifstream file("/sys/devices/system/cpu/cpuidle/current_driver");
    std::string driver;
    return file >> driver && driver == "haltpoll" ? 0 : kLightSleep;
}

std::int64_t now_ns() { return Clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

}  // namespace

Awake::Awake(std::chrono::milliseconds linger) : linger_(linger) {
    if (linger_.count() == 0) return;
    if (!open_device()) {
        spdlog::info("requests may wait for sleeping CPUs: {}", errno_error(kDevice).message());
        return;
    }
    thread_ = std::thread([this] { run(); });
    ::pthread_setname_np(thread_.native_handle(), "kvfs-awake");
}

Awake::~Awake() {
    stopping_ = true;
    called_.release();
    if (thread_.joinable()) thread_.join();
}

void Awake::note_request() noexcept {
    last_ns_.store(now_ns(), std::memory_order_relaxed);
    if (resting_.load(std::memory_order_relaxed) && resting_.exchange(false)) called_.release();
}

void Awake::run() {
    while (!stopping_) {
        resting_ = true;
        called_.acquire();
        if (!stopping_) hold();
    }
}

void Awake::hold() {
    const UniqueFd device = open_device();
    const std::int32_t latency = latency_us();
    if (!device || ::write(device.get(), &latency, sizeof latency) != sizeof latency) return;
    // Looks again when the time would be over if nothing more had come.
    for (std::chrono::nanoseconds left = linger_; left.count() > 0 && !stopping_;) {
        static_cast<void>(called_.try_acquire_for(left));
        left = linger_ - std::chrono::nanoseconds(now_ns() - last_ns_);
    }
}

}  // namespace kvfs
