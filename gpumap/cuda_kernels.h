#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fs/base/mapping.h"
#include "fs/base/mutex.h"
#include "gpumap/copy_methods.h"
#include "gpumap/cuda_pins.h"

namespace kvfs::gpumap {

/// The kernel, and what it needs: device memory to stage in, and pinned memory for the lists of its
/// pieces, in slots that one batch has at a time. Thread-safe.
class CudaKernels {
  public:
    static constexpr std::uint64_t kSlotBytes = (4 << 20) + (256 << 10);
    static constexpr std::size_t kPiecesMax = 4096;
    static constexpr std::uint32_t kSlots = 8;

    /// As in kernels.cu.
    struct Piece {
        std::uint64_t from = 0;
        std::uint64_t to = 0;
        std::uint64_t bytes = 0;
    };

    /// Errors: ENOTSUP - the driver does not take the kernel; ENOMEM.
    static Result<std::unique_ptr<CudaKernels>> create(std::shared_ptr<const CudaPrimary> primary,
                                                       CudaPins& pins);
    /// Requires: the device has ended all of it.
    ~CudaKernels();

    /// A slot's number, or -1: all are taken.
    int take_slot();
    void give_back(int slot);
    cuda::DevicePointer staging(int slot) const {
        return staging_ + static_cast<std::uint64_t>(slot) * kSlotBytes;
    }

    /// Launches the kernel over at most kPiecesMax pieces, whose list goes into the slot.
    Status launch(int slot, std::span<const Piece> pieces, CopyMethod method, cuda::Stream stream);

  private:
    explicit CudaKernels(std::shared_ptr<const CudaPrimary> primary)
        : primary_(std::move(primary)) {}

    const std::shared_ptr<const CudaPrimary> primary_;
    cuda::Module module_ = nullptr;
    cuda::Function kernel_ = nullptr;
    cuda::DevicePointer staging_ = 0;
    Mapping lists_;
    Pin lists_pin_;  ///< goes before the memory does
    cuda::DevicePointer lists_on_device_ = 0;

    Mutex mutex_;
    std::vector<int> free_slots_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
