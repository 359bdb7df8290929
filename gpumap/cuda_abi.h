#pragma once
#include <cstddef>
#include <cstdint>

/// What is used of the CUDA driver's binary interface, declared here so that building needs no
/// Toolkit. cuda_abi_check.cc compares it with NVIDIA's cuda.h where there is one.
namespace kvfs::gpumap::cuda {

using Result = int;
using Device = int;
using DevicePointer = unsigned long long;
using Context = struct ContextTag*;
using Stream = struct StreamTag*;
using Event = struct EventTag*;
using Module = struct ModuleTag*;
using Function = struct FunctionTag*;

enum : Result {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kNotInitialized = 3,
    kNoDevice = 100,
    kInvalidHandle = 400,
    kNotFound = 500,
    kNotReady = 600,
    kHostMemoryAlreadyRegistered = 712,
    kHostMemoryNotRegistered = 713,
    kLaunchFailed = 719,
    kNotSupported = 801,
};

enum : int {  // device attributes
    kComputeCapabilityMajor = 75,
    kReadOnlyHostRegisterSupported = 113,
};

inline constexpr unsigned kRegisterPortable = 1;
inline constexpr unsigned kRegisterDeviceMap = 2;
inline constexpr unsigned kRegisterReadOnly = 8;
inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kCopyPreferOverlapWithCompute = 1;

enum : int { kAccessOrderStream = 1, kAccessOrderAny = 3 };

struct Location {
    int type = 0;  ///< 0: no hint
    int id = 0;
};

struct CopyAttributes {
    int source_access_order = kAccessOrderStream;
    Location source_hint;
    Location destination_hint;
    unsigned flags = 0;
};

// clang-format off
/// Functions that every driver must have: name, version of the ABI, parameters.
#define KVFS_CUDA_FUNCTIONS(X)                                                                   \
    X(cuInit, 2000, unsigned)                                                                    \
    X(cuDriverGetVersion, 2020, int*)                                                            \
    X(cuGetErrorName, 6000, Result, const char**)                                                \
    X(cuDeviceGetCount, 2000, int*)                                                              \
    X(cuDeviceGet, 2000, Device*, int)                                                           \
    X(cuDeviceGetName, 2000, char*, int, Device)                                                 \
    X(cuDeviceGetAttribute, 2000, int*, int, Device)                                             \
    X(cuDevicePrimaryCtxRetain, 7000, Context*, Device)                                          \
    X(cuDevicePrimaryCtxRelease, 11000, Device)                                                  \
    X(cuCtxPushCurrent, 4000, Context)                                                           \
    X(cuCtxPopCurrent, 4000, Context*)                                                           \
    X(cuCtxGetStreamPriorityRange, 5050, int*, int*)                                             \
    X(cuStreamCreateWithPriority, 5050, Stream*, unsigned, int)                                  \
    X(cuStreamDestroy, 4000, Stream)                                                             \
    X(cuStreamSynchronize, 2000, Stream)                                                         \
    X(cuStreamWaitEvent, 3020, Stream, Event, unsigned)                                          \
    X(cuEventCreate, 2000, Event*, unsigned)                                                     \
    X(cuEventDestroy, 4000, Event)                                                               \
    X(cuEventRecord, 2000, Event, Stream)                                                        \
    X(cuEventQuery, 2000, Event)                                                                 \
    X(cuMemAlloc, 3020, DevicePointer*, std::size_t)                                             \
    X(cuMemFree, 3020, DevicePointer)                                                            \
    X(cuMemHostRegister, 6050, void*, std::size_t, unsigned)                                     \
    X(cuMemHostUnregister, 4000, void*)                                                          \
    X(cuMemHostGetDevicePointer, 3020, DevicePointer*, void*, unsigned)                          \
    X(cuMemcpyHtoDAsync, 3020, DevicePointer, const void*, std::size_t, Stream)                  \
    X(cuMemcpyDtoHAsync, 3020, void*, DevicePointer, std::size_t, Stream)                        \
    X(cuModuleLoadData, 2000, Module*, const void*)                                              \
    X(cuModuleUnload, 2000, Module)                                                              \
    X(cuModuleGetFunction, 2000, Function*, Module, const char*)                                 \
    X(cuLaunchKernel, 4000, Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
      unsigned, Stream, void**, void**)
// clang-format on

#define KVFS_CUDA_CALL(name, version, ...) using name##Call = Result(__VA_ARGS__);
KVFS_CUDA_FUNCTIONS(KVFS_CUDA_CALL)
#undef KVFS_CUDA_CALL

/// Batched copies changed their parameters: a driver has one of these, both or neither.
using BatchOf13000 = Result(DevicePointer* destinations, DevicePointer* sources, std::size_t* sizes,
                            std::size_t count, CopyAttributes* attributes,
                            std::size_t* attribute_indexes, std::size_t attribute_count, Stream);
using BatchOf12080 = Result(DevicePointer* destinations, DevicePointer* sources, std::size_t* sizes,
                            std::size_t count, CopyAttributes* attributes,
                            std::size_t* attribute_indexes, std::size_t attribute_count,
                            std::size_t* failed_index, Stream);

/// cuGetProcAddress of drivers from 12.0 on, by its name in the library.
using GetProcAddress = Result(const char* name, void** function, int version, std::uint64_t flags,
                              int* why_not);
inline constexpr const char* kGetProcAddress = "cuGetProcAddress_v2";

}  // namespace kvfs::gpumap::cuda
