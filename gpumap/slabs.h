#pragma once
#include <cstdint>
#include <map>
#include <memory>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "gpumap/device.h"
#include "kvfs/protocol.h"

namespace kvfs::gpumap {

/// A slab of the daemon's DRAM tier, mapped.
struct Slab {
    Mapping memory;
    bool writable = false;
    Pin pin;  ///< goes before the memory does
};

/// The slabs that the daemon has sent: each is mapped once. Who holds one keeps it mapped, also
/// when the daemon has sent its next generation. Thread-safe.
class Slabs {
  public:
    /// `device` must outlive this.
    explicit Slabs(Device& device) : device_(device) {}

    /// Maps what came with `entry`; replaces an older generation, or one that was not writable.
    /// Errors: as mmap(2), and those of the device; EPROTO - the memory is smaller than said.
    Status add(const protocol::SlabEntry& entry, const UniqueFd& memory);

    /// Errors: EPROTO - the daemon has not sent it.
    Result<std::shared_ptr<const Slab>> find(std::uint32_t slab, std::uint64_t generation) const;

    std::uint64_t mapped_bytes() const;

  private:
    struct Known {
        std::uint64_t generation = 0;
        std::shared_ptr<const Slab> slab;
    };

    Device& device_;
    mutable Mutex mutex_;
    std::map<std::uint32_t, Known> slabs_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
