#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "fs/base/result.h"
#include "gpumap/cuda_driver.h"

namespace kvfs::gpumap {

/// The primary context of a device: the one that the engine's framework uses too, so that device
/// pointers, streams and events are common to both. Thread-safe.
class CudaPrimary {
  public:
    /// Errors: EINVAL - no such device; ENOTSUP - no driver, or no device at all; those of the
    /// driver.
    static Result<std::shared_ptr<const CudaPrimary>> retain(std::int32_t ordinal);
    ~CudaPrimary();
    CudaPrimary(const CudaPrimary&) = delete;
    CudaPrimary& operator=(const CudaPrimary&) = delete;

    /// While it lives, the primary context is the calling thread's; afterwards the one before is.
    class Current {
      public:
        explicit Current(const CudaPrimary& primary) : driver_(*primary.driver_) {
            pushed_ = driver_.cuCtxPushCurrent(primary.context_) == cuda::kSuccess;
        }
        ~Current() {
            cuda::Context ignored = nullptr;
            if (pushed_) driver_.cuCtxPopCurrent(&ignored);
        }
        Current(const Current&) = delete;
        Current& operator=(const Current&) = delete;

      private:
        const CudaDriver& driver_;
        bool pushed_;
    };

    const CudaDriver& driver() const { return *driver_; }
    std::int32_t ordinal() const { return ordinal_; }
    /// As "NVIDIA H100 80GB HBM3, driver 13.0".
    std::string description() const;
    /// 0 when the device does not know the attribute.
    int attribute(int which) const;

  private:
    CudaPrimary(const CudaDriver* driver, std::int32_t ordinal, cuda::Device device,
                cuda::Context context)
        : driver_(driver), ordinal_(ordinal), device_(device), context_(context) {}

    const CudaDriver* driver_;
    const std::int32_t ordinal_;
    const cuda::Device device_;
    const cuda::Context context_;
};

}  // namespace kvfs::gpumap
