#include "gpumap/cuda_kernels.h"

#include <algorithm>
#include <cstring>

#include "gpumap/kernels_ptx.h"

namespace kvfs::gpumap {
namespace {

constexpr std::uint64_t kListBytes = CudaKernels::kPiecesMax * sizeof(CudaKernels::Piece);
constexpr unsigned kThreads = 256;
/// Over the bus little must be under way to fill it, and what the engine computes is slowed least.
constexpr unsigned kGatherBlocks = 32;
constexpr unsigned kScatterBlocks = 64;

}  // namespace

Result<std::unique_ptr<CudaKernels>> CudaKernels::create(std::shared_ptr<const CudaPrimary> primary,
                                                         CudaPins& pins) {
    const CudaDriver& driver = primary->driver();
    const CudaPrimary::Current current(*primary);
    std::unique_ptr<CudaKernels> kernels(new CudaKernels(std::move(primary)));
    Status status =
        driver.check("cuModuleLoadData", driver.cuModuleLoadData(&kernels->module_, kKernelsPtx));
    if (status)
        status = driver.check(
            "cuModuleGetFunction",
            driver.cuModuleGetFunction(&kernels->kernel_, kernels->module_, "kvfs_copy_pieces"));
    if (!status) return Error{ENOTSUP, status.error().what};
    status = driver.check("cuMemAlloc", driver.cuMemAlloc(&kernels->staging_, kSlots * kSlotBytes));
    if (!status) return status.error();
    auto lists = Mapping::anonymous(kSlots * kListBytes);
    if (!lists) return lists.error();
    kernels->lists_ = std::move(*lists);
    kernels->lists_pin_ = pins.pin(kernels->lists_.bytes(), true, -1);
    kernels->lists_on_device_ = pins.address(kernels->lists_.data());
    if (kernels->lists_pin_ == nullptr) return Error{ENOMEM, pins.refusals()};
    MutexLock lock(kernels->mutex_);
    for (std::uint32_t slot = 0; slot < kSlots; ++slot)
        kernels->free_slots_.push_back(static_cast<int>(slot));
    lock.unlock();
    return kernels;
}

CudaKernels::~CudaKernels() {
    const CudaDriver& driver = primary_->driver();
    const CudaPrimary::Current current(*primary_);
    if (staging_ != 0) driver.cuMemFree(staging_);
    if (module_ != nullptr) driver.cuModuleUnload(module_);
}

int CudaKernels::take_slot() {
    MutexLock lock(mutex_);
    if (free_slots_.empty()) return -1;
    const int slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
}

void CudaKernels::give_back(int slot) {
    MutexLock lock(mutex_);
    free_slots_.push_back(slot);
}

Status CudaKernels::launch(int slot, std::span<const Piece> pieces, CopyMethod method,
                           cuda::Stream stream) {
    const std::uint64_t offset = static_cast<std::uint64_t>(slot) * kListBytes;
    std::memcpy(lists_.data() + offset, pieces.data(), pieces.size_bytes());
    cuda::DevicePointer list = lists_on_device_ + offset;
    auto count = static_cast<std::uint32_t>(pieces.size());
    void* parameters[] = {&list, &count};
    const unsigned blocks =
        std::min(count, method == CopyMethod::gather ? kGatherBlocks : kScatterBlocks);
    const CudaDriver& driver = primary_->driver();
    return driver.check("cuLaunchKernel", driver.cuLaunchKernel(kernel_, blocks, 1, 1, kThreads, 1,
                                                                1, 0, stream, parameters, nullptr));
}

}  // namespace kvfs::gpumap
