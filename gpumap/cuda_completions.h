#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "gpumap/cuda_primary.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// What the device has been given and not ended, and the thread that asks it. (The driver could
/// call back; but its callbacks may call nothing of CUDA's, and come not at all after an error.)
/// Thread-safe.
class CudaCompletions {
  public:
    using Then = std::function<void(gm_status)>;

    explicit CudaCompletions(std::shared_ptr<const CudaPrimary> primary);
    /// What is still watched is forgotten.
    ~CudaCompletions();

    /// An event, used before or new. Errors: the driver's.
    Result<cuda::Event> take_event();
    void give_back(cuda::Event event);

    /// Calls `then` when `event`, which was recorded and is given back by this, has come; with
    /// GM_EDEVICE when the device has failed, or else with `status`.
    Ticket watch(cuda::Event event, gm_status status, Then then);
    /// The same for when both streams have run dry, where no event could be recorded.
    Ticket watch_streams(std::pair<cuda::Stream, cuda::Stream> streams, Then then);

    /// `stream` waits for what is watched under these numbers.
    Status make_wait(cuda::Stream stream, std::span<const Ticket> tickets);

    /// Asks for everything once. Returns how much had ended.
    std::size_t look();

  private:
    struct Watched {
        cuda::Event event = nullptr;
        std::pair<cuda::Stream, cuda::Stream> streams;  ///< without an event
        gm_status status = GM_OK;
        Then then;
    };

    Ticket add(Watched watched);
    gm_status ask(const Watched& watched) const;
    void serve();
    void pause(unsigned looks_in_vain);

    const std::shared_ptr<const CudaPrimary> primary_;

    /// One looks at a time: when look() returns, what had ended before has been told of.
    Mutex looking_;

    Mutex mutex_;
    CondVar changed_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    Ticket next_ GUARDED_BY(mutex_) = 1;
    std::map<Ticket, std::shared_ptr<Watched>> watched_ GUARDED_BY(mutex_);
    std::vector<cuda::Event> spare_events_ GUARDED_BY(mutex_);

    std::thread thread_;
};

}  // namespace kvfs::gpumap
