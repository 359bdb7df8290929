#pragma once
#include <cstddef>
#include <cstdint>

namespace kvfs::gpumap {

/// How host memory and the device's are copied between. Which is fastest depends on the pieces'
/// size and number, on the device and on the driver: see choose().
enum class CopyMethod {
    automatic,
    copies,  ///< one call of the driver for each
    batch,   ///< one call for many, by the copy engine
    stage,   ///< large copies into device memory, from where a kernel scatters
    gather,  ///< a kernel reads host memory
};

/// What $KVFS_CUDA may set: "method=batch,small=32768,few=16,run=32768,slice=4096,kernels=0".
struct CudaOptions {
    CopyMethod method = CopyMethod::automatic;  ///< one for all, as far as it can do it
    /// Pieces below so many bytes go by kernel. 0: measured when the context is opened.
    std::uint64_t small_bytes = 0;
    /// Pieces of a batch from which on something better than `copies` pays.
    std::size_t few = 16;
    /// Small pieces are staged when they lie together in host memory in runs of so many bytes, on
    /// average; else gathered.
    std::uint64_t run_bytes = 32 << 10;
    /// Copies in one call. One driver crashed with 51828, and hung.
    static constexpr std::size_t kSliceMax = 4096;
    std::size_t slice = kSliceMax;
    bool kernels = true;

    static CudaOptions from_environment();
};

}  // namespace kvfs::gpumap
