#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <semaphore>
#include <thread>

namespace kvfs {

/// Keeps idle CPUs from sleeping deeply while requests come in.
///
/// A request is handed from one thread to another, and each hand-over wakes a CPU that had nothing
/// to do: 1 us from a light sleep, 100 us and more from a deep one or from a hypervisor that has to
/// schedule the virtual CPU again. From the first request until `linger` after the last, this holds
/// a request on /dev/cpu_dma_latency (the kernel's PM quality of service): CPUs may then sleep no
/// deeper than 10 us (C1 on the machines we know). Where the kernel idles in a virtual machine, by
/// its `haltpoll` driver, they do not halt at all in that time.
///
/// Thread-safe.
class Awake {
  public:
    /// A `linger` of 0 does nothing, ever. Logs a line when the machine does not let us.
    explicit Awake(std::chrono::milliseconds linger);
    ~Awake();
    Awake(const Awake&) = delete;
    Awake& operator=(const Awake&) = delete;

    /// A request has come. Costs as much as reading the clock.
    void note_request() noexcept;

  private:
    void run();
    void hold();

    const std::chrono::milliseconds linger_;
    std::atomic<std::int64_t> last_ns_ = 0;
    std::atomic<bool> resting_ = false;  ///< the thread waits for `called_`
    std::atomic<bool> stopping_ = false;
    std::counting_semaphore<> called_{0};
    std::thread thread_;
};

}  // namespace kvfs
