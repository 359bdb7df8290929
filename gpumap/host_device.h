#pragma once
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "fs/base/mutex.h"
#include "gpumap/device.h"
#include "gpumap/gate.h"

namespace kvfs::gpumap {

/// "Device memory" is this process's own, copies are memcpy, streams are threads: the whole mapper
/// on a machine without a GPU.
class HostDevice final : public Device {
  public:
    struct Options {
        unsigned copy_threads = 2;
        // For tests.
        std::uint32_t copy_delay_us = 0;  ///< before each batch of copies
        std::uint64_t fail_batch = 0;     ///< this one of the batches, from 1, fails; 0: none
    };
    /// Options with what $KVFS_HOST_DEVICE sets: "copy_delay_us=N,fail_batch=N".
    static Options options_from_environment();

    /// Errors: EAGAIN - no more threads.
    static Result<std::unique_ptr<HostDevice>> create(const Options& options);
    /// Runs what is queued.
    ~HostDevice() override;

    std::uint32_t backend() const override { return GM_BACKEND_HOST; }
    std::int32_t ordinal() const override { return 0; }
    std::string description() const override { return "this machine's memory"; }
    std::string shortcomings() const override { return {}; }
    Result<Pin> pin(std::span<std::byte> memory, bool writable, int shared) override;
    Ticket submit(Direction direction, std::span<const Copy> copies, Done done) override;
    Status wait_for(gm_stream stream, std::span<const Ticket> batches) override;
    void look() override {}
    Result<gm_devptr> allocate(std::uint64_t bytes) override;
    Status free(gm_devptr memory) override;
    Result<gm_stream> create_stream() override;
    Status destroy_stream(gm_stream stream) override;
    Status sync_stream(gm_stream stream) override;
    Status copy(Direction direction, const Copy& copy, gm_stream stream) override;
    Status when_reached(gm_stream stream, std::function<void()> reached) override;

  private:
    class Worker;
    class Queue;

    explicit HostDevice(const Options& options);
    Status enqueue(gm_stream stream, std::function<void()> work);

    const Options options_;
    std::unique_ptr<Queue> copies_;
    std::vector<std::thread> copiers_;

    struct FreeMemory {
        void operator()(std::byte* memory) const;
    };
    Mutex mutex_;
    std::unordered_map<gm_devptr, std::unique_ptr<std::byte, FreeMemory>> memory_
        GUARDED_BY(mutex_);
    Ticket batches_ GUARDED_BY(mutex_) = 0;
    std::unordered_map<Ticket, std::shared_ptr<Gate>> in_flight_ GUARDED_BY(mutex_);
    std::unordered_map<gm_stream, std::shared_ptr<Worker>> streams_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
