#include "gpumap/cuda_primary.h"

#include <array>
#include <cerrno>

namespace kvfs::gpumap {

Result<std::shared_ptr<const CudaPrimary>> CudaPrimary::retain(std::int32_t ordinal) {
    const auto loaded = CudaDriver::load();
    if (!loaded) return loaded.error();
    const CudaDriver& driver = **loaded;
    int count = 0;
    if (Status counted = driver.check("cuDeviceGetCount", driver.cuDeviceGetCount(&count));
        !counted)
        return Error{ENOTSUP, counted.error().what};
    if (count == 0) return Error{ENOTSUP, "there is no CUDA device"};
    if (ordinal < 0 || ordinal >= count)
        return Error{EINVAL, "there is no CUDA device " + std::to_string(ordinal) + ", only " +
                                 std::to_string(count)};
    cuda::Device device = 0;
    if (Status got = driver.check("cuDeviceGet", driver.cuDeviceGet(&device, ordinal)); !got)
        return got.error();
    cuda::Context context = nullptr;
    if (Status retained = driver.check("cuDevicePrimaryCtxRetain",
                                       driver.cuDevicePrimaryCtxRetain(&context, device));
        !retained)
        return retained.error();
    return std::shared_ptr<const CudaPrimary>(new CudaPrimary(*loaded, ordinal, device, context));
}

CudaPrimary::~CudaPrimary() { driver_->cuDevicePrimaryCtxRelease(device_); }

std::string CudaPrimary::description() const {
    std::array<char, 100> name{};
    if (driver_->cuDeviceGetName(name.data(), name.size() - 1, device_) != cuda::kSuccess)
        name = {"a device without a name"};
    return std::string(name.data()) + ", driver " + std::to_string(driver_->version / 1000) + "." +
           std::to_string(driver_->version % 1000 / 10);
}

int CudaPrimary::attribute(int which) const {
    int value = 0;
    if (driver_->cuDeviceGetAttribute(&value, which, device_) != cuda::kSuccess) return 0;
    return value;
}

}  // namespace kvfs::gpumap
