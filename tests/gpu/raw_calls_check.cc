// Compiles only when raw_calls.h says what NVIDIA's headers say. Without those it is empty.
#ifdef KVFS_HAVE_CUDA_H
#include <cuda.h>
#include <cudaTypedefs.h>

#include <type_traits>

#include "tests/gpu/raw_calls.h"

namespace kvfs::gpumap::cuda {
namespace {

template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename R1, typename... A1, typename R2, typename... A2>
requires(sizeof...(A1) == sizeof...(A2)) struct SameCall<R1(A1...), R2 (*)(A2...)>
    : std::bool_constant<((sizeof(A1) == sizeof(A2) &&
                           std::is_pointer_v<A1> == std::is_pointer_v<A2>)&&...)> {
};

#define CHECK_CALL(name, version, ...)                                  \
    static_assert(SameCall<name##Call, PFN_##name##_v##version>::value, \
                  #name " has other parameters");
KVFS_GPU_CHECK_FUNCTIONS(CHECK_CALL)
#undef CHECK_CALL
static_assert(int{kMultiprocessors} == int{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT});
static_assert(int{kCopyEngines} == int{CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT});
static_assert(int{kComputeCapabilityMinor} == int{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR});
static_assert(int{kHostPointersForRegistered} ==
              int{CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM});
static_assert(int{kHostRegisterSupported} == int{CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED});
static_assert(int{kStreamMemoryOperations} ==
              int{CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS});
static_assert(kHostAllocPortable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(kHostAllocDeviceMap == CU_MEMHOSTALLOC_DEVICEMAP);
static_assert(kWaitValueGreaterEqual == CU_STREAM_WAIT_VALUE_GEQ);

}  // namespace
}  // namespace kvfs::gpumap::cuda
#endif
