#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fs/store/object_store.h"

namespace kvfs {

/// Decides which file leaves a tier first. One instance a tier; the tier calls it under its own
/// lock, so a policy needs none, and must not call back. A new policy is one file: see lru.cc.
class EvictionPolicy {
  public:
    virtual ~EvictionPolicy() = default;

    /// `id` came into the tier with `bytes` bytes. A second call for the same id replaces the
    /// first.
    virtual void admitted(ObjectId id, std::uint64_t bytes) = 0;
    /// `id` was read. Ids that are not in the tier are ignored.
    virtual void used(ObjectId id) = 0;
    /// `id` left the tier: evicted, unlinked or replaced. Unknown ids are ignored.
    virtual void removed(ObjectId id) = 0;
    /// The `count` files that should go first, in order. Some may be in use and are then passed
    /// over; the tier asks for more when it needs more.
    virtual std::vector<ObjectId> victims(std::size_t count) const = 0;
    /// How many files are in the tier.
    virtual std::size_t files() const = 0;
};

/// Least recently used first.
std::unique_ptr<EvictionPolicy> make_lru();

}  // namespace kvfs
