// A CUDA driver that takes everything and does nothing: what a program over it spends is its own.
#include <atomic>
#include <cstdio>
#include <cstring>

#include "gpumap/cuda_abi.h"

namespace {

namespace cuda = kvfs::gpumap::cuda;

constexpr int kVersion = 13000;
std::atomic<std::uint64_t> next_handle = 0x1000;

template <typename Handle>
Handle new_handle() {
    return reinterpret_cast<Handle>(next_handle += 0x1000);
}

/// Of all functions without an answer, whatever their parameters.
template <typename... Parameters>
cuda::Result nothing(Parameters...) {
    return cuda::kSuccess;
}

cuda::Result cuDriverGetVersion(int* version) {
    *version = kVersion;
    return cuda::kSuccess;
}
cuda::Result cuGetErrorName(cuda::Result, const char** name) {
    *name = "none";
    return cuda::kSuccess;
}
cuda::Result cuDeviceGetCount(int* count) {
    *count = 1;
    return cuda::kSuccess;
}
cuda::Result cuDeviceGet(cuda::Device* device, int) {
    *device = 0;
    return cuda::kSuccess;
}
cuda::Result cuDeviceGetName(char* name, int length, cuda::Device) {
    std::snprintf(name, static_cast<std::size_t>(length), "idle device");
    return cuda::kSuccess;
}
cuda::Result cuDeviceGetAttribute(int* value, int, cuda::Device) {
    *value = 1;
    return cuda::kSuccess;
}
cuda::Result cuDevicePrimaryCtxRetain(cuda::Context* context, cuda::Device) {
    *context = new_handle<cuda::Context>();
    return cuda::kSuccess;
}
cuda::Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = *greatest = 0;
    return cuda::kSuccess;
}
cuda::Result cuStreamCreateWithPriority(cuda::Stream* stream, unsigned, int) {
    *stream = new_handle<cuda::Stream>();
    return cuda::kSuccess;
}
cuda::Result cuEventCreate(cuda::Event* event, unsigned) {
    *event = new_handle<cuda::Event>();
    return cuda::kSuccess;
}
cuda::Result cuMemAlloc(cuda::DevicePointer* memory, std::size_t bytes) {
    *memory = next_handle += (bytes + 0xfff) & ~std::size_t{0xfff};
    return cuda::kSuccess;
}
cuda::Result cuMemHostGetDevicePointer(cuda::DevicePointer* address, void* memory, unsigned) {
    *address = reinterpret_cast<cuda::DevicePointer>(memory);
    return cuda::kSuccess;
}
cuda::Result cuModuleLoadData(cuda::Module* module, const void*) {
    *module = new_handle<cuda::Module>();
    return cuda::kSuccess;
}
cuda::Result cuModuleGetFunction(cuda::Function* function, cuda::Module, const char*) {
    *function = new_handle<cuda::Function>();
    return cuda::kSuccess;
}

/// Those without an answer, by the shape that cuda_abi.h gives them.
template <typename Call>
struct Nothing;
template <typename... Parameters>
struct Nothing<cuda::Result(Parameters...)> {
    static constexpr auto* call = &nothing<Parameters...>;
};

void* find(const char* name) {
#define ANSWERS(its_name) \
    if (std::strcmp(name, #its_name) == 0) return reinterpret_cast<void*>(&its_name);
    ANSWERS(cuDriverGetVersion)
    ANSWERS(cuGetErrorName)
    ANSWERS(cuDeviceGetCount)
    ANSWERS(cuDeviceGet)
    ANSWERS(cuDeviceGetName)
    ANSWERS(cuDeviceGetAttribute)
    ANSWERS(cuDevicePrimaryCtxRetain)
    ANSWERS(cuCtxGetStreamPriorityRange)
    ANSWERS(cuStreamCreateWithPriority)
    ANSWERS(cuEventCreate)
    ANSWERS(cuMemAlloc)
    ANSWERS(cuMemHostGetDevicePointer)
    ANSWERS(cuModuleLoadData)
    ANSWERS(cuModuleGetFunction)
#undef ANSWERS
#define DOES_NOTHING(its_name, version, ...) \
    if (std::strcmp(name, #its_name) == 0)   \
        return reinterpret_cast<void*>(Nothing<cuda::its_name##Call>::call);
    KVFS_CUDA_FUNCTIONS(DOES_NOTHING)
#undef DOES_NOTHING
    if (std::strcmp(name, "cuMemcpyBatchAsync") == 0)
        return reinterpret_cast<void*>(Nothing<cuda::BatchOf13000>::call);
    return nullptr;
}

}  // namespace

extern "C" int cuGetProcAddress_v2(const char* name, void** function, int, std::uint64_t,
                                   int* why_not) {
    *function = find(name);
    *why_not = *function == nullptr ? 1 : 0;
    return *function == nullptr ? int{cuda::kNotFound} : 0;
}
