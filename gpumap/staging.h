#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fs/base/crc32c.h"
#include "fs/base/mapping.h"
#include "fs/base/result.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// Pinned memory between the SSD and the device, in slots of one checksummed chunk each. Not
/// thread-safe: the scheduler's mutex guards it.
class Staging {
  public:
    /// Slots that lie side by side.
    struct Run {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
    };

    /// `bytes` rounded down to slots, at least one. Errors: ENOMEM; those of the device.
    static Result<Staging> create(std::uint64_t bytes, Device& device);

    /// Up to `count` slots side by side; fewer, or none, when no more are free.
    Run take(std::uint32_t count);
    void give_back(Run run);

    std::span<std::byte> memory(Run run) const {
        return memory_.bytes().subspan(run.first * kChunkBytes, run.count * kChunkBytes);
    }
    std::span<std::byte> memory() const { return memory_.bytes(); }

  private:
    Staging(Mapping memory, Pin pin)
        : memory_(std::move(memory)), pin_(std::move(pin)), taken_(memory_.size() / kChunkBytes) {}

    Mapping memory_;
    Pin pin_;  ///< goes before the memory does
    std::vector<bool> taken_;
    std::uint32_t next_ = 0;  ///< where to look first: slots are used in turn
};

}  // namespace kvfs::gpumap
