#include "gpumap/cuda_driver.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstdlib>

#include "fs/base/mutex.h"

namespace kvfs::gpumap {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";

Error unusable(const std::string& why) { return {ENOTSUP, why}; }

}  // namespace

Result<const CudaDriver*> CudaDriver::load() {
    static Mutex mutex;
    static const CudaDriver* loaded = nullptr;
    MutexLock lock(mutex);
    if (loaded != nullptr) return loaded;
    const char* other = ::secure_getenv("KVFS_LIBCUDA");
    auto driver = load_from(other != nullptr && *other != '\0' ? other : kLibrary);
    if (!driver) return driver.error();
    // Never freed: other contexts, and the driver's own threads, use it until the process ends.
    static CudaDriver kept;
    kept = *driver;
    loaded = &kept;
    return loaded;
}

Result<CudaDriver> CudaDriver::load_from(const char* library) {
    void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr) {
        const char* why = ::dlerror();
        return unusable(why != nullptr ? why : std::string(library) + " cannot be loaded");
    }
    auto* find = reinterpret_cast<cuda::GetProcAddress*>(::dlsym(handle, cuda::kGetProcAddress));
    if (find == nullptr)
        return unusable(std::string(library) + " is older than CUDA 12.0: it has no " +
                        cuda::kGetProcAddress);
    CudaDriver driver;
    void* found = nullptr;
    int why_not = 0;
#define KVFS_CUDA_FIND(name, its_version, ...)                                               \
    if (find(#name, &found, its_version, 0, &why_not) != cuda::kSuccess || found == nullptr) \
        return unusable(std::string(library) + " has no " #name);                            \
    driver.name = reinterpret_cast<cuda::name##Call*>(found);                                \
    found = nullptr;
    KVFS_CUDA_FUNCTIONS(KVFS_CUDA_FIND)
#undef KVFS_CUDA_FIND
    if (const cuda::Result result = driver.cuInit(0); result != cuda::kSuccess)
        return unusable(driver.error("cuInit", result).what);
    if (const cuda::Result result = driver.cuDriverGetVersion(&driver.version);
        result != cuda::kSuccess)
        return unusable(driver.error("cuDriverGetVersion", result).what);
    // A driver is asked for no interface younger than itself: the answer would be undefined.
    const auto find_batch = [&](int of_version) -> void* {
        found = nullptr;
        if (driver.version < of_version) return nullptr;
        const bool is_there =
            find("cuMemcpyBatchAsync", &found, of_version, 0, &why_not) == cuda::kSuccess;
        return is_there ? found : nullptr;
    };
    driver.batch_of_13000 = reinterpret_cast<cuda::BatchOf13000*>(find_batch(13000));
    if (driver.batch_of_13000 == nullptr)
        driver.batch_of_12080 = reinterpret_cast<cuda::BatchOf12080*>(find_batch(12080));
    return driver;
}

Error CudaDriver::error(const char* call, cuda::Result result) const {
    const char* name = nullptr;
    if (cuGetErrorName == nullptr || cuGetErrorName(result, &name) != cuda::kSuccess)
        name = nullptr;
    const std::string what = std::string(call) + ": " +
                             (name != nullptr ? name : "CUDA error " + std::to_string(result));
    switch (result) {
        case cuda::kOutOfMemory:
            return {ENOMEM, what};
        case cuda::kInvalidValue:
        case cuda::kInvalidHandle:
            return {EINVAL, what};
        case cuda::kNotSupported:
            return {ENOTSUP, what};
        default:
            return {ENODEV, what};
    }
}

}  // namespace kvfs::gpumap
