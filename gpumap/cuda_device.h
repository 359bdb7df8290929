#pragma once
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "fs/base/mutex.h"
#include "gpumap/copy_methods.h"
#include "gpumap/cuda_completions.h"
#include "gpumap/cuda_kernels.h"
#include "gpumap/cuda_options.h"
#include "gpumap/cuda_pins.h"
#include "gpumap/cuda_primary.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// A GPU of NVIDIA's, through the driver. Copies are queued on the thread that submits them, on
/// streams of the device's own: one for each direction, one for kernels, which run after the copies
/// that they need and never hold up others.
class CudaDevice final : public Device {
  public:
    /// Errors: those of CudaPrimary::retain(); ENOMEM, ENODEV - the device would not begin.
    static Result<std::unique_ptr<CudaDevice>> create(std::int32_t ordinal, CudaOptions options);
    /// Requires: all batches have ended.
    ~CudaDevice() override;

    std::uint32_t backend() const override { return GM_BACKEND_CUDA; }
    std::int32_t ordinal() const override { return primary_->ordinal(); }
    std::string description() const override;
    std::string shortcomings() const override { return pins_->refusals(); }
    Result<Pin> pin(std::span<std::byte> memory, bool writable, int shared) override;
    Ticket submit(Direction direction, std::span<const Copy> copies, Done done) override;
    Status wait_for(gm_stream stream, std::span<const Ticket> batches) override;
    void look() override { completions_->look(); }
    Result<gm_devptr> allocate(std::uint64_t bytes) override;
    Status free(gm_devptr memory) override;
    Result<gm_stream> create_stream() override;
    Status destroy_stream(gm_stream stream) override;
    Status sync_stream(gm_stream stream) override;
    Status copy(Direction direction, const Copy& copy, gm_stream stream) override;
    Status when_reached(gm_stream stream, std::function<void()> reached) override;

  private:
    struct Batch;

    CudaDevice(std::shared_ptr<const CudaPrimary> primary, CudaOptions options);
    Status open();
    std::uint64_t measure_small_bytes();
    Result<double> seconds_for(CopyMethod method, std::span<const Copy> copies);
    Ticket submit_by(const CudaOptions& options, Direction direction, std::span<const Copy> copies,
                     Done done);
    Status enqueue(Batch& batch, Direction direction, std::size_t slice);
    Status enqueue_one(Direction direction, const Copy& copy, cuda::Stream stream);
    Status enqueue_batched(Batch& batch, Direction direction, std::size_t slice);
    Status enqueue_small(Batch& batch);
    Status chain(Batch& batch);
    void ended(Batch& batch);
    Result<cuda::Stream> new_stream(bool urgent);

    const std::shared_ptr<const CudaPrimary> primary_;
    const CudaDriver& driver_;
    CudaOptions options_;
    CopyAbilities abilities_;
    const std::shared_ptr<CudaPins> pins_;
    cuda::Stream in_ = nullptr;
    cuda::Stream out_ = nullptr;
    cuda::Stream kernel_stream_ = nullptr;
    cuda::Stream sync_ = nullptr;  ///< for copies that are waited for at once
    std::string kernels_missing_;  ///< why, or ""
    std::unique_ptr<CudaKernels> kernels_;
    std::unique_ptr<CudaCompletions> completions_;

    Mutex mutex_;
    std::unordered_set<gm_devptr> memory_ GUARDED_BY(mutex_);
    std::unordered_set<gm_stream> streams_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
