#pragma once
#include <cstdint>
#include <vector>

#include "gpumap/cuda_options.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// A copy, and where its host memory is pinned.
struct LocatedCopy {
    Copy copy;
    std::uint64_t pin = 0;             ///< number of the pinned memory; 0: not pinned
    std::uint64_t host_on_device = 0;  ///< the host memory's address for kernels
};

/// What can be done at all.
struct CopyAbilities {
    bool batch = false;
    bool kernels = false;
    std::uint64_t stage_bytes = 0;  ///< most that one batch may stage
    std::size_t kernel_pieces = 0;  ///< most that one kernel takes
};

/// Which copies go how. Each copy that was given is in one of the lists, but for neighbours, which
/// were put together.
struct CopyChoice {
    std::vector<Copy> one_by_one;
    std::vector<Copy> batched;
    /// In host order. Empty unless `small_method` is stage or gather.
    std::vector<LocatedCopy> small;
    CopyMethod small_method = CopyMethod::automatic;
};

/// Requires: options.small_bytes is not 0, options.method is one that `abilities` has or automatic.
CopyChoice choose(Direction direction, std::vector<LocatedCopy> copies,
                  const CopyAbilities& abilities, const CudaOptions& options);

/// Copies that lie side by side, or overlap, in one pinned host memory: what staging moves at
/// once.
struct HostRun {
    std::byte* host = nullptr;
    std::uint64_t bytes = 0;
    std::uint64_t at = 0;  ///< offset in the staging memory
};

/// The runs of copies in host order; `at` of each copy's bytes is its run's `at` plus its distance
/// from the run's start. Each run starts where a kernel reads fastest.
std::vector<HostRun> runs_of(const std::vector<LocatedCopy>& copies);

/// Of the staging memory that runs_of() takes at most, beyond the bytes: for each run.
inline constexpr std::uint64_t kRunAlignment = 256;

}  // namespace kvfs::gpumap
