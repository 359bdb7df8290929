#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/mutex.h"
#include "gpumap/copy_methods.h"
#include "gpumap/cuda_primary.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// Host memory that is registered with the driver: the device's copies run from there at the bus's
/// speed and without the processor. Thread-safe.
class CudaPins : public std::enable_shared_from_this<CudaPins> {
  public:
    explicit CudaPins(std::shared_ptr<const CudaPrimary> primary);

    /// See Device::pin(). What the driver will not register (too much memory, or read-only on a
    /// device that cannot do that) is null, and copied the slow way.
    Pin pin(std::span<std::byte> memory, bool writable, int shared);

    /// Where the copies' host memory is pinned.
    std::vector<LocatedCopy> locate(std::span<const Copy> copies) const;

    /// Kernels' address of pinned memory; 0: it is not.
    cuda::DevicePointer address(const std::byte* memory) const;

    /// "" or what was not registered, and why.
    std::string refusals() const;

  private:
    struct Pinned {
        std::byte* memory = nullptr;
        std::size_t bytes = 0;
        std::uint64_t number = 0;
        cuda::DevicePointer on_device = 0;
    };

    cuda::Result add(std::span<std::byte> memory, unsigned flags);
    void remove(std::byte* memory);
    const Pinned* find(const std::byte* memory) const REQUIRES(mutex_);

    const std::shared_ptr<const CudaPrimary> primary_;
    const bool read_only_supported_;

    mutable Mutex mutex_;
    std::map<std::byte*, Pinned> pinned_ GUARDED_BY(mutex_);  ///< by start
    std::uint64_t next_number_ GUARDED_BY(mutex_) = 1;
    std::uint64_t refused_bytes_ GUARDED_BY(mutex_) = 0;
    std::string refused_why_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
