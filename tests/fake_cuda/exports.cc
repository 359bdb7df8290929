// What the library exports: cuGetProcAddress_v2, through which the rest is found, and the knobs.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "tests/fake_cuda/driver.h"
#include "tests/gpu/raw_calls.h"

namespace fake_cuda {
namespace {

Driver& driver() { return Driver::instance(); }

/// Counts the call; returns from the function when a knob makes it fail.
#define COUNTED(name) \
    if (const cuda::Result knob = driver().call(#name); knob != cuda::kSuccess) return knob

std::byte* bytes_at(cuda::DevicePointer address) { return reinterpret_cast<std::byte*>(address); }

/// The default stream, which batches refuse and which orders itself with all others.
bool refused(cuda::Stream stream, const char* call) {
    if (stream != nullptr) return false;
    driver().complain(std::string(call) + " on the NULL stream");
    return true;
}

cuda::Result cuInit(unsigned) {
    COUNTED(cuInit);
    return driver().init();
}
cuda::Result cuDriverGetVersion(int* version) {
    *version = driver().knobs().version;
    return cuda::kSuccess;
}
cuda::Result cuGetErrorName(cuda::Result result, const char** name) {
    static const std::map<cuda::Result, const char*> names = {
        {cuda::kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
        {cuda::kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
        {cuda::kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED"},
        {cuda::kNoDevice, "CUDA_ERROR_NO_DEVICE"},
        {cuda::kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
        {cuda::kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
        {cuda::kNotSupported, "CUDA_ERROR_NOT_SUPPORTED"}};
    const auto found = names.find(result);
    *name = found == names.end() ? nullptr : found->second;
    return found == names.end() ? cuda::kInvalidValue : cuda::kSuccess;
}
cuda::Result cuDeviceGetCount(int* count) {
    COUNTED(cuDeviceGetCount);
    *count = driver().knobs().devices;
    return cuda::kSuccess;
}
cuda::Result cuDeviceGet(cuda::Device* device, int ordinal) {
    COUNTED(cuDeviceGet);
    *device = ordinal;
    return cuda::kSuccess;
}
cuda::Result cuDeviceGetName(char* name, int length, cuda::Device) {
    std::snprintf(name, static_cast<std::size_t>(length), "fake device");
    return cuda::kSuccess;
}
cuda::Result cuDeviceGetAttribute(int* value, int which, cuda::Device) {
    *value = which == cuda::kReadOnlyHostRegisterSupported && driver().knobs().read_only ? 1 : 0;
    if (which == cuda::kStreamMemoryOperations) *value = 1;
    return cuda::kSuccess;
}

/// One context for all; what counts is that it is current where it has to be.
cuda::Context the_context() { return reinterpret_cast<cuda::Context>(&driver()); }
thread_local int current = 0;

cuda::Result cuDevicePrimaryCtxRetain(cuda::Context* context, cuda::Device) {
    COUNTED(cuDevicePrimaryCtxRetain);
    *context = the_context();
    return cuda::kSuccess;
}
cuda::Result cuDevicePrimaryCtxRelease(cuda::Device) {
    COUNTED(cuDevicePrimaryCtxRelease);
    return cuda::kSuccess;
}
cuda::Result cuCtxPushCurrent(cuda::Context) {
    COUNTED(cuCtxPushCurrent);
    ++current;
    return cuda::kSuccess;
}
cuda::Result cuCtxPopCurrent(cuda::Context* context) {
    --current;
    *context = the_context();
    return cuda::kSuccess;
}

/// As COUNTED, for what needs a context.
#define NEEDS_CONTEXT(name) \
    COUNTED(name);          \
    if (current == 0) driver().complain(#name " without a context")

cuda::Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    NEEDS_CONTEXT(cuCtxGetStreamPriorityRange);
    *least = 0;
    *greatest = -5;
    return cuda::kSuccess;
}
cuda::Result cuStreamCreateWithPriority(cuda::Stream* stream, unsigned, int) {
    NEEDS_CONTEXT(cuStreamCreateWithPriority);
    *stream = reinterpret_cast<cuda::Stream>(driver().new_stream().get());
    return cuda::kSuccess;
}
cuda::Result cuStreamDestroy(cuda::Stream stream) {
    NEEDS_CONTEXT(cuStreamDestroy);
    return driver().end_stream(stream);
}
cuda::Result cuStreamSynchronize(cuda::Stream stream) {
    NEEDS_CONTEXT(cuStreamSynchronize);
    if (refused(stream, "cuStreamSynchronize")) return cuda::kInvalidValue;
    return driver().synchronize(stream);
}
cuda::Result cuStreamWaitEvent(cuda::Stream stream, cuda::Event event, unsigned) {
    NEEDS_CONTEXT(cuStreamWaitEvent);
    if (refused(stream, "cuStreamWaitEvent")) return cuda::kInvalidValue;
    return driver().wait(stream, reinterpret_cast<Event*>(event));
}
cuda::Result cuEventCreate(cuda::Event* event, unsigned) {
    NEEDS_CONTEXT(cuEventCreate);
    *event = reinterpret_cast<cuda::Event>(driver().new_event());
    return cuda::kSuccess;
}
cuda::Result cuEventDestroy(cuda::Event event) {
    COUNTED(cuEventDestroy);
    return driver().end_event(reinterpret_cast<Event*>(event));
}
cuda::Result cuEventRecord(cuda::Event event, cuda::Stream stream) {
    NEEDS_CONTEXT(cuEventRecord);
    if (refused(stream, "cuEventRecord")) return cuda::kInvalidValue;
    return driver().record(reinterpret_cast<Event*>(event), stream);
}
cuda::Result cuEventQuery(cuda::Event event) {
    COUNTED(cuEventQuery);
    return driver().query(reinterpret_cast<Event*>(event));
}
cuda::Result cuMemAlloc(cuda::DevicePointer* memory, std::size_t bytes) {
    NEEDS_CONTEXT(cuMemAlloc);
    return driver().allocate(memory, bytes);
}
cuda::Result cuMemFree(cuda::DevicePointer memory) {
    NEEDS_CONTEXT(cuMemFree);
    return driver().free(memory);
}
cuda::Result cuMemHostRegister(void* memory, std::size_t bytes, unsigned flags) {
    NEEDS_CONTEXT(cuMemHostRegister);
    return driver().add_host(static_cast<std::byte*>(memory), bytes, flags);
}
cuda::Result cuMemHostUnregister(void* memory) {
    NEEDS_CONTEXT(cuMemHostUnregister);
    return driver().remove_host(static_cast<std::byte*>(memory));
}
cuda::Result cuMemHostGetDevicePointer(cuda::DevicePointer* address, void* memory, unsigned) {
    NEEDS_CONTEXT(cuMemHostGetDevicePointer);
    *address = reinterpret_cast<cuda::DevicePointer>(memory) + kDeviceView;
    return cuda::kSuccess;
}
cuda::Result cuMemcpyHtoDAsync(cuda::DevicePointer to, const void* from, std::size_t bytes,
                               cuda::Stream stream) {
    NEEDS_CONTEXT(cuMemcpyHtoDAsync);
    if (refused(stream, "cuMemcpyHtoDAsync")) return cuda::kInvalidValue;
    return driver().copy(stream, {{bytes_at(to), static_cast<const std::byte*>(from), bytes}}, true,
                         Driver::Host::any);
}
cuda::Result cuMemcpyDtoHAsync(void* to, cuda::DevicePointer from, std::size_t bytes,
                               cuda::Stream stream) {
    NEEDS_CONTEXT(cuMemcpyDtoHAsync);
    if (refused(stream, "cuMemcpyDtoHAsync")) return cuda::kInvalidValue;
    return driver().copy(stream, {{static_cast<std::byte*>(to), bytes_at(from), bytes}}, false,
                         Driver::Host::any);
}

std::atomic<std::size_t> largest_batch = 0;

cuda::Result batch(cuda::DevicePointer* to, cuda::DevicePointer* from, const std::size_t* sizes,
                   std::size_t count, const cuda::CopyAttributes* attributes,
                   const std::size_t* indexes, std::size_t attribute_count, cuda::Stream stream) {
    NEEDS_CONTEXT(cuMemcpyBatchAsync);
    if (refused(stream, "cuMemcpyBatchAsync")) return cuda::kInvalidValue;
    largest_batch = std::max(largest_batch.load(), count);
    constexpr std::size_t kMost = 4096;
    if (count > kMost) driver().complain("a batch of " + std::to_string(count) + " copies");
    if (attribute_count != 1 || indexes[0] != 0) return cuda::kInvalidValue;
    // Loads may be read at once; what is saved a stream may have made just before.
    const bool to_device = attributes->source_access_order == cuda::kAccessOrderAny;
    if (!to_device && attributes->source_access_order != cuda::kAccessOrderStream)
        return cuda::kInvalidValue;
    std::vector<Driver::Copy> copies;
    for (std::size_t i = 0; i < count; ++i) {
        if (indexes[i] != 0) driver().complain("attribute indexes that are not there");
        copies.push_back({bytes_at(to[i]), bytes_at(from[i]), sizes[i]});
    }
    return driver().copy(stream, std::move(copies), to_device, Driver::Host::registered);
}
cuda::Result batch_of_13000(cuda::DevicePointer* to, cuda::DevicePointer* from, std::size_t* sizes,
                            std::size_t count, cuda::CopyAttributes* attributes,
                            std::size_t* indexes, std::size_t attribute_count,
                            cuda::Stream stream) {
    return batch(to, from, sizes, count, attributes, indexes, attribute_count, stream);
}
cuda::Result batch_of_12080(cuda::DevicePointer* to, cuda::DevicePointer* from, std::size_t* sizes,
                            std::size_t count, cuda::CopyAttributes* attributes,
                            std::size_t* indexes, std::size_t attribute_count, std::size_t* failed,
                            cuda::Stream stream) {
    *failed = SIZE_MAX;
    return batch(to, from, sizes, count, attributes, indexes, attribute_count, stream);
}

cuda::Result cuModuleLoadData(cuda::Module* module, const void* image) {
    NEEDS_CONTEXT(cuModuleLoadData);
    const auto* text = static_cast<const char*>(image);
    if (!driver().knobs().module || std::strstr(text, ".version") == nullptr)
        return cuda::kNotSupported;
    *module = reinterpret_cast<cuda::Module>(const_cast<char*>(text));
    return cuda::kSuccess;
}
cuda::Result cuModuleUnload(cuda::Module) {
    NEEDS_CONTEXT(cuModuleUnload);
    return cuda::kSuccess;
}
cuda::Result cuModuleGetFunction(cuda::Function* function, cuda::Module module, const char* name) {
    NEEDS_CONTEXT(cuModuleGetFunction);
    const std::string entry = std::string(".entry ") + name + "(";
    if (std::strstr(reinterpret_cast<const char*>(module), entry.c_str()) == nullptr)
        return cuda::kNotFound;
    *function = reinterpret_cast<cuda::Function>(
        const_cast<char*>(std::strstr(reinterpret_cast<const char*>(module), entry.c_str())));
    return cuda::kSuccess;
}
cuda::Result cuLaunchKernel(cuda::Function function, unsigned blocks, unsigned, unsigned,
                            unsigned threads, unsigned, unsigned, unsigned, cuda::Stream stream,
                            void** parameters, void**) {
    NEEDS_CONTEXT(cuLaunchKernel);
    if (refused(stream, "cuLaunchKernel")) return cuda::kInvalidValue;
    if (blocks == 0 || threads == 0 || threads > 1024) return cuda::kInvalidValue;
    constexpr const char* kProduct = ".entry kvfs_matrix_product(";
    if (std::strncmp(reinterpret_cast<const char*>(function), kProduct, std::strlen(kProduct)) == 0)
        return driver().multiply(
            stream, *static_cast<float**>(parameters[0]), *static_cast<float**>(parameters[1]),
            *static_cast<float**>(parameters[2]), *static_cast<std::uint32_t*>(parameters[3]));
    cuda::DevicePointer list = 0;
    std::uint32_t count = 0;
    std::memcpy(&list, parameters[0], sizeof list);
    std::memcpy(&count, parameters[1], sizeof count);
    return driver().launch(stream, bytes_at(list), count);
}

cuda::Result cuDeviceTotalMem(std::size_t* bytes, cuda::Device) {
    *bytes = driver().knobs().memory;
    return cuda::kSuccess;
}
cuda::Result cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
    NEEDS_CONTEXT(cuMemHostAlloc);
    return driver().allocate_host(memory, bytes);
}
cuda::Result cuMemFreeHost(void* memory) {
    NEEDS_CONTEXT(cuMemFreeHost);
    return driver().free_host(memory);
}
cuda::Result cuMemsetD8Async(cuda::DevicePointer to, unsigned char value, std::size_t bytes,
                             cuda::Stream stream) {
    NEEDS_CONTEXT(cuMemsetD8Async);
    if (refused(stream, "cuMemsetD8Async")) return cuda::kInvalidValue;
    return driver().fill(stream, bytes_at(to), value, bytes);
}
cuda::Result cuStreamWaitValue64(cuda::Stream stream, cuda::DevicePointer word, std::uint64_t value,
                                 unsigned) {
    NEEDS_CONTEXT(cuStreamWaitValue64);
    if (refused(stream, "cuStreamWaitValue64")) return cuda::kInvalidValue;
    return driver().wait_for_value(stream, word, value);
}

void* find(const std::string& name, int version) {
#define FIND(its_name, its_version, ...) \
    if (name == #its_name && version >= its_version) return reinterpret_cast<void*>(&its_name);
    KVFS_CUDA_FUNCTIONS(FIND)
    KVFS_GPU_CHECK_FUNCTIONS(FIND)
#undef FIND
    const Knobs knobs = driver().knobs();
    if (name != "cuMemcpyBatchAsync" || !knobs.batch) return nullptr;
    // One from before 13.0 that is asked for what it does not know yet gives what it has: another
    // number of parameters.
    if (version >= 13000 && knobs.version >= 13000) return reinterpret_cast<void*>(&batch_of_13000);
    if (version >= 12080 && knobs.version >= 12080) return reinterpret_cast<void*>(&batch_of_12080);
    return nullptr;
}

}  // namespace
}  // namespace fake_cuda

extern "C" {

int cuGetProcAddress_v2(const char* name, void** function, int version, std::uint64_t,
                        int* why_not) {
    const auto knobs = fake_cuda::driver().knobs();
    *function = name == knobs.missing ? nullptr : fake_cuda::find(name, version);
    *why_not = *function == nullptr ? 1 : 0;
    return *function == nullptr ? int{fake_cuda::cuda::kNotFound} : 0;
}

void fake_cuda_control(const char* knobs) { fake_cuda::driver().control(knobs); }
std::uint64_t fake_cuda_calls(const char* name) { return fake_cuda::driver().calls(name); }
std::uint64_t fake_cuda_largest_batch() { return fake_cuda::largest_batch; }
std::uint64_t fake_cuda_registered_bytes() { return fake_cuda::driver().registered_bytes(); }

/// How often the driver was used as it must not be; `text` gets the last time's reason.
std::uint64_t fake_cuda_complaints(char* text, std::size_t length) {
    std::string last;
    const std::uint64_t count = fake_cuda::driver().complaints(&last);
    std::snprintf(text, length, "%s", last.c_str());
    return count;
}

}  // extern "C"
