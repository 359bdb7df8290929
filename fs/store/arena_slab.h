#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "fs/store/arena.h"
#include "fs/store/free_runs.h"
#include "fs/store/slab_memory.h"

namespace kvfs {

inline std::uint64_t units(std::uint64_t bytes) { return bytes / Arena::kUnitBytes; }

// A slab is in one of three states:
//
//   free     in free_slabs_; no extents; `volume` is who had it last (0: nobody yet)
//   owned    listed in volumes_[volume] by its longest free run; some extent of it is in use, or
//            soon will be
//   changing in neither, while its memory is exchanged without the mutex
//
// `touched` units were handed out since the memory was fresh; `stale` ones hold bytes of a volume
// that had the slab before. Stale units are zeroed when they are handed out, the others when the
// slab is shared. While `busy` is 0, every stale unit is free.
struct Arena::Slab {
    Slab(SlabMemory fresh, std::uint64_t bytes)
        : memory(std::move(fresh)), free(bytes), touched(units(bytes)), stale(units(bytes)) {}

    SlabMemory memory;
    FreeRuns free;
    std::uint64_t generation = 1;
    VolumeId volume = 0;
    bool is_listed = false;
    bool is_shared = false;
    unsigned busy = 0;  ///< threads that have its memory to zero or exchange: no sharing meanwhile
    std::vector<bool> touched;
    std::vector<bool> stale;
    bool has_stale = false;

    bool is_unused() const { return free.total() == memory.mapping.size(); }

    /// The first run of stale units in [first, end), at most `units_max` long; empty at the end.
    std::pair<std::uint64_t, std::uint64_t> stale_run(std::uint64_t first, std::uint64_t end,
                                                      std::uint64_t units_max) const {
        while (first < end && !stale[first]) ++first;
        std::uint64_t last = first;
        while (last < end && last - first < units_max && stale[last]) ++last;
        return {first, last};
    }
    void mark(std::vector<bool>& bits, std::uint64_t first, std::uint64_t end, bool value) const {
        std::fill(bits.begin() + static_cast<std::ptrdiff_t>(first),
                  bits.begin() + static_cast<std::ptrdiff_t>(end), value);
    }
    void forget_contents() {
        touched.assign(touched.size(), false);
        stale.assign(stale.size(), false);
        has_stale = false;
        is_shared = false;
    }
    void zero(std::uint64_t first, std::uint64_t end) const {
        std::memset(memory.mapping.data() + first * kUnitBytes, 0, (end - first) * kUnitBytes);
    }
};

}  // namespace kvfs
