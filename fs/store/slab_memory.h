#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "fs/base/result.h"

namespace kvfs {

enum class PageKind { kSmall, kShmemHuge, kHugetlb };

/// The memory of one slab: a sealed memfd and this process's mapping of it.
struct SlabMemory {
    UniqueFd fd;
    Mapping mapping;
    PageKind kind = PageKind::kSmall;
};

/// `count` slabs of `slab_bytes`, mapped and faulted in. With `huge_pages`: from the hugetlb pool
/// when that holds all of them, else with transparent huge pages where the machine allows those for
/// shared memory. `kind` of each is what it really got. Errors: ENOMEM - the machine, or this
/// process's cgroup, does not have the memory.
Result<std::vector<SlabMemory>> make_slabs(std::uint64_t count, std::uint64_t slab_bytes,
                                           bool huge_pages);

/// Puts fresh memory behind the addresses of a slab, and gives its descriptor and kind; `mapping`
/// stays empty. The old memory goes when its last user goes; on an error it is still there. Errors:
/// ENOMEM.
Result<SlabMemory> exchange_memory(std::span<std::byte> slab, bool huge_pages);

}  // namespace kvfs
