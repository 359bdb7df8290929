#pragma once
#include "gpumap/cuda_abi.h"

/// What gpu-check asks of the driver beyond what libgpumap does: to measure what the machine can do
/// without libgpumap. Declared as in gpumap/cuda_abi.h.
namespace kvfs::gpumap::cuda {

enum : int {  // device attributes
    kMultiprocessors = 16,
    kCopyEngines = 40,
    kComputeCapabilityMinor = 76,
    kHostPointersForRegistered = 91,
    kHostRegisterSupported = 99,
    kStreamMemoryOperations = 122,
};

inline constexpr unsigned kHostAllocPortable = 1;
inline constexpr unsigned kHostAllocDeviceMap = 2;
inline constexpr unsigned kWaitValueGreaterEqual = 0;

// clang-format off
#define KVFS_GPU_CHECK_FUNCTIONS(X)                                                               \
    X(cuDeviceTotalMem, 3020, std::size_t*, Device)                                               \
    X(cuMemHostAlloc, 2020, void**, std::size_t, unsigned)                                        \
    X(cuMemFreeHost, 2000, void*)                                                                 \
    X(cuMemsetD8Async, 3020, DevicePointer, unsigned char, std::size_t, Stream)                   \
    X(cuStreamWaitValue64, 11070, Stream, DevicePointer, std::uint64_t, unsigned)
// clang-format on

#define KVFS_GPU_CHECK_CALL(name, version, ...) using name##Call = Result(__VA_ARGS__);
KVFS_GPU_CHECK_FUNCTIONS(KVFS_GPU_CHECK_CALL)
#undef KVFS_GPU_CHECK_CALL

}  // namespace kvfs::gpumap::cuda
