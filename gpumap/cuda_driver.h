#pragma once
#include <string>

#include "fs/base/result.h"
#include "gpumap/cuda_abi.h"

namespace kvfs::gpumap {

/// The functions of the CUDA driver, which is loaded when a context wants it: nothing is linked,
/// so that the library runs where there is no driver.
struct CudaDriver {
#define KVFS_CUDA_MEMBER(name, version, ...) cuda::name##Call* name = nullptr;
    KVFS_CUDA_FUNCTIONS(KVFS_CUDA_MEMBER)
#undef KVFS_CUDA_MEMBER
    cuda::BatchOf13000* batch_of_13000 = nullptr;
    cuda::BatchOf12080* batch_of_12080 = nullptr;
    int version = 0;  ///< as 13000

    /// Loads libcuda.so.1 ($KVFS_LIBCUDA names another one: for tests) and initialises it, once a
    /// process; the library stays loaded. Errors: ENOTSUP - no driver, no device, or too old.
    static Result<const CudaDriver*> load();

    /// The error of a call that returned `result`, which is not kSuccess: ENOMEM, EINVAL, ENOTSUP
    /// or, when the device failed, ENODEV.
    Error error(const char* call, cuda::Result result) const;
    Status check(const char* call, cuda::Result result) const {
        if (result == cuda::kSuccess) return {};
        return error(call, result);
    }

  private:
    static Result<CudaDriver> load_from(const char* library);
};

}  // namespace kvfs::gpumap
