#pragma once
#include <cstdint>

#include "fs/base/result.h"

namespace kvfs {

/// What this process may use: the machine's memory, or its cgroup's limit where that is less.
struct Memory {
    std::uint64_t total = 0;
    std::uint64_t available =
        0;  ///< without swapping or dropping what others use; huge pages included

    static Memory now();
};

/// Refuses a DRAM tier that the machine cannot hold. Asking first matters: the tier is prefaulted,
/// and a kernel that runs out meanwhile kills some process instead of telling this one. Errors:
/// ENOMEM, with the figures in the sentence.
Status check_memory(std::uint64_t dram_bytes, const Memory& memory);

}  // namespace kvfs
