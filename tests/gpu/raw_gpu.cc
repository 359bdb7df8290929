#include "tests/gpu/raw_gpu.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "tools/bench_files.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

void begin(const char* call, cuda::Result result) {
    if (result != cuda::kSuccess)
        throw NoGpu(std::string(call) + ": CUDA error " + std::to_string(result));
}

}  // namespace

RawGpu::RawGpu() {
    const char* other = std::getenv("KVFS_LIBCUDA");
    const std::string library = other != nullptr && *other != '\0' ? other : "libcuda.so.1";
    void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr) throw NoGpu(::dlerror());
    auto* find = reinterpret_cast<cuda::GetProcAddress*>(::dlsym(handle, cuda::kGetProcAddress));
    if (find == nullptr) throw NoGpu(library + " is older than CUDA 12.0");
    void* found = nullptr;
    int why_not = 0;
#define KVFS_GPU_FIND(its_name, its_version, ...)                                                \
    if (find(#its_name, &found, its_version, 0, &why_not) != cuda::kSuccess || found == nullptr) \
        throw NoGpu(library + " has no " #its_name);                                             \
    its_name = reinterpret_cast<cuda::its_name##Call*>(found);                                   \
    found = nullptr;
    KVFS_CUDA_FUNCTIONS(KVFS_GPU_FIND)
    KVFS_GPU_CHECK_FUNCTIONS(KVFS_GPU_FIND)
#undef KVFS_GPU_FIND
    begin("cuInit", cuInit(0));
    begin("cuDriverGetVersion", cuDriverGetVersion(&version));
    int count = 0;
    begin("cuDeviceGetCount", cuDeviceGetCount(&count));
    if (count == 0) throw NoGpu("there is no CUDA device");
    begin("cuDeviceGet", cuDeviceGet(&device, 0));
    begin("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(&context_, device));
    const auto find_batch = [&](int of_version) -> void* {
        found = nullptr;
        if (version < of_version) return nullptr;
        return find("cuMemcpyBatchAsync", &found, of_version, 0, &why_not) == 0 ? found : nullptr;
    };
    batch_of_13000 = reinterpret_cast<cuda::BatchOf13000*>(find_batch(13000));
    if (batch_of_13000 == nullptr)
        batch_of_12080 = reinterpret_cast<cuda::BatchOf12080*>(find_batch(12080));
}

const RawGpu& RawGpu::get() {
    static const RawGpu gpu;
    thread_local bool current = false;
    if (!current) gpu.expect("cuCtxPushCurrent", gpu.cuCtxPushCurrent(gpu.context_));
    current = true;
    return gpu;
}

std::string RawGpu::name() const {
    std::array<char, 100> text{};
    if (cuDeviceGetName(text.data(), text.size() - 1, device) != cuda::kSuccess) return "unnamed";
    return text.data();
}

int RawGpu::attribute(int which) const {
    int value = 0;
    return cuDeviceGetAttribute(&value, which, device) == cuda::kSuccess ? value : -1;
}

std::string RawGpu::error_name(cuda::Result result) const {
    const char* text = nullptr;
    if (cuGetErrorName(result, &text) != cuda::kSuccess || text == nullptr)
        return "CUDA error " + std::to_string(result);
    return text;
}

void RawGpu::expect(const char* call, cuda::Result result) const {
    if (result != cuda::kSuccess) throw Failure(std::string(call) + ": " + error_name(result));
}

cuda::Result RawGpu::batch(cuda::DevicePointer* to, cuda::DevicePointer* from, std::size_t* sizes,
                           std::size_t count, bool to_device, cuda::Stream stream) const {
    cuda::CopyAttributes attributes;
    attributes.source_access_order = to_device ? cuda::kAccessOrderAny : cuda::kAccessOrderStream;
    attributes.flags = cuda::kCopyPreferOverlapWithCompute;
    // As many as copies: what reads more than the one that there should be reads zeros.
    std::vector<std::size_t> indexes(count, 0);
    std::size_t failed = 0;
    if (batch_of_13000 != nullptr)
        return batch_of_13000(to, from, sizes, count, &attributes, indexes.data(), 1, stream);
    if (batch_of_12080 != nullptr)
        return batch_of_12080(to, from, sizes, count, &attributes, indexes.data(), 1, &failed,
                              stream);
    return cuda::kNotFound;
}

RawStream::RawStream() {
    const RawGpu& gpu = RawGpu::get();
    gpu.expect("cuStreamCreateWithPriority",
               gpu.cuStreamCreateWithPriority(&stream_, cuda::kStreamNonBlocking, 0));
}

RawStream::~RawStream() { RawGpu::get().cuStreamDestroy(stream_); }

void RawStream::sync() const {
    const RawGpu& gpu = RawGpu::get();
    gpu.expect("cuStreamSynchronize", gpu.cuStreamSynchronize(stream_));
}

DeviceMemory::DeviceMemory(std::uint64_t bytes) : bytes_(bytes) {
    const RawGpu& gpu = RawGpu::get();
    gpu.expect("cuMemAlloc", gpu.cuMemAlloc(&start_, bytes));
}

DeviceMemory::~DeviceMemory() { RawGpu::get().cuMemFree(start_); }

void DeviceMemory::fill(unsigned char value) const {
    const RawGpu& gpu = RawGpu::get();
    const RawStream stream;
    gpu.expect("cuMemsetD8Async", gpu.cuMemsetD8Async(start_, value, bytes_, stream.get()));
    stream.sync();
}

PinnedMemory::PinnedMemory(std::uint64_t bytes) : bytes_(bytes) {
    const RawGpu& gpu = RawGpu::get();
    void* start = nullptr;
    gpu.expect(
        "cuMemHostAlloc",
        gpu.cuMemHostAlloc(&start, bytes, cuda::kHostAllocPortable | cuda::kHostAllocDeviceMap));
    start_ = static_cast<std::byte*>(start);
}

PinnedMemory::~PinnedMemory() { RawGpu::get().cuMemFreeHost(start_); }

RawCopies::RawCopies(std::uint64_t bytes)
    : bytes_(bytes), host_(bytes), host_out_(bytes), device_(bytes), device_out_(bytes) {
    device_out_.fill(0x5a);
    std::fill(host_.bytes().begin(), host_.bytes().end(), std::byte{0xa5});
}

double RawCopies::in() {
    const RawGpu& gpu = RawGpu::get();
    return gb_per_s(bytes_, time_of([&] {
                        gpu.expect(
                            "cuMemcpyHtoDAsync",
                            gpu.cuMemcpyHtoDAsync(device_.at(), host_.data(), bytes_, in_.get()));
                        in_.sync();
                    }));
}

double RawCopies::out() {
    const RawGpu& gpu = RawGpu::get();
    return gb_per_s(bytes_, time_of([&] {
                        gpu.expect("cuMemcpyDtoHAsync",
                                   gpu.cuMemcpyDtoHAsync(host_out_.data(), device_out_.at(), bytes_,
                                                         out_.get()));
                        out_.sync();
                    }));
}

double RawCopies::both() {
    const RawGpu& gpu = RawGpu::get();
    return gb_per_s(
        2 * bytes_, time_of([&] {
            gpu.expect("cuMemcpyHtoDAsync",
                       gpu.cuMemcpyHtoDAsync(device_.at(), host_.data(), bytes_, in_.get()));
            gpu.expect(
                "cuMemcpyDtoHAsync",
                gpu.cuMemcpyDtoHAsync(host_out_.data(), device_out_.at(), bytes_, out_.get()));
            in_.sync();
            out_.sync();
        }));
}

void fetch(std::span<std::byte> into, cuda::DevicePointer from) {
    const RawGpu& gpu = RawGpu::get();
    const RawStream stream;
    gpu.expect("cuMemcpyDtoHAsync",
               gpu.cuMemcpyDtoHAsync(into.data(), from, into.size(), stream.get()));
    stream.sync();
}

void put(cuda::DevicePointer to, std::span<const std::byte> from) {
    const RawGpu& gpu = RawGpu::get();
    const RawStream stream;
    gpu.expect("cuMemcpyHtoDAsync",
               gpu.cuMemcpyHtoDAsync(to, from.data(), from.size(), stream.get()));
    stream.sync();
}

}  // namespace kvfs::gpu_check
