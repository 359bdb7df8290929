// Compiles only when cuda_abi.h says what NVIDIA's headers say. Without those it is empty.
#ifdef KVFS_HAVE_CUDA_H
#include "gpumap/cuda_abi.h"

#include <cuda.h>
#include <cudaTypedefs.h>

#include <type_traits>

namespace kvfs::gpumap::cuda {
namespace {

/// Alike for the calling convention: enumerations are int, handles are pointers.
template <typename Ours, typename Theirs>
constexpr bool alike() {
    if constexpr (std::is_pointer_v<Ours> || std::is_pointer_v<Theirs>)
        return std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>;
    else
        return sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs) &&
               (std::is_integral_v<Theirs> || std::is_enum_v<Theirs>);
}

template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename R1, typename... A1, typename R2, typename... A2>
requires(sizeof...(A1) == sizeof...(A2)) struct SameCall<R1(A1...), R2 (*)(A2...)>
    : std::bool_constant<alike<R1, R2>() && (alike<A1, A2>() && ...)> {
};

#define CHECK_CALL(name, version, ...)                                  \
    static_assert(SameCall<name##Call, PFN_##name##_v##version>::value, \
                  #name " has other parameters");
KVFS_CUDA_FUNCTIONS(CHECK_CALL)
#undef CHECK_CALL
static_assert(SameCall<GetProcAddress, PFN_cuGetProcAddress_v12000>::value);
#if CUDA_VERSION >= 12080
static_assert(SameCall<BatchOf12080, PFN_cuMemcpyBatchAsync_v12080>::value);
static_assert(sizeof(CopyAttributes) == sizeof(CUmemcpyAttributes));
static_assert(offsetof(CopyAttributes, source_hint) == offsetof(CUmemcpyAttributes, srcLocHint));
static_assert(offsetof(CopyAttributes, destination_hint) ==
              offsetof(CUmemcpyAttributes, dstLocHint));
static_assert(offsetof(CopyAttributes, flags) == offsetof(CUmemcpyAttributes, flags));
static_assert(offsetof(Location, id) == offsetof(CUmemLocation, id));
static_assert(kAccessOrderStream == int{CU_MEMCPY_SRC_ACCESS_ORDER_STREAM});
static_assert(kAccessOrderAny == int{CU_MEMCPY_SRC_ACCESS_ORDER_ANY});
static_assert(kCopyPreferOverlapWithCompute == CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE);
#endif
#if CUDA_VERSION >= 13000
static_assert(SameCall<BatchOf13000, PFN_cuMemcpyBatchAsync_v13000>::value);
#endif

static_assert(sizeof(DevicePointer) == sizeof(CUdeviceptr));
static_assert(kInvalidValue == int{CUDA_ERROR_INVALID_VALUE});
static_assert(kOutOfMemory == int{CUDA_ERROR_OUT_OF_MEMORY});
static_assert(kNotInitialized == int{CUDA_ERROR_NOT_INITIALIZED});
static_assert(kNoDevice == int{CUDA_ERROR_NO_DEVICE});
static_assert(kInvalidHandle == int{CUDA_ERROR_INVALID_HANDLE});
static_assert(kNotFound == int{CUDA_ERROR_NOT_FOUND});
static_assert(kNotReady == int{CUDA_ERROR_NOT_READY});
static_assert(kHostMemoryAlreadyRegistered == int{CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED});
static_assert(kHostMemoryNotRegistered == int{CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED});
static_assert(kLaunchFailed == int{CUDA_ERROR_LAUNCH_FAILED});
static_assert(kNotSupported == int{CUDA_ERROR_NOT_SUPPORTED});
static_assert(kComputeCapabilityMajor == int{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR});
static_assert(kReadOnlyHostRegisterSupported ==
              int{CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED});
static_assert(kRegisterPortable == CU_MEMHOSTREGISTER_PORTABLE);
static_assert(kRegisterDeviceMap == CU_MEMHOSTREGISTER_DEVICEMAP);
static_assert(kRegisterReadOnly == CU_MEMHOSTREGISTER_READ_ONLY);
static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(kEventDisableTiming == CU_EVENT_DISABLE_TIMING);

}  // namespace
}  // namespace kvfs::gpumap::cuda
#endif
