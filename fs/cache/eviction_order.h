#pragma once
#include <array>
#include <memory>
#include <string_view>
#include <vector>

#include "fs/base/priority.h"
#include "fs/cache/policy.h"

namespace kvfs {

/// Which file leaves a tier first: those of lower priority, and of one priority the one that the
/// policy names. One instance a tier; the tier calls it under its own lock.
class EvictionOrder {
  public:
    /// `policy` is one of policy_names().
    explicit EvictionOrder(std::string_view policy);

    /// As EvictionPolicy's. A file that comes again with another priority has that from then on.
    void admitted(const FileUse& file, Priority priority);
    void used(const FileUse& file, Priority priority);
    /// Whether it was in the tier.
    bool removed(ObjectId id);
    std::vector<ObjectId> victims(std::size_t count);
    std::size_t files() const;

    /// The file, if it is in the tier, has another priority from now on.
    void rank(ObjectId id, Priority priority);

  private:
    EvictionPolicy& of(Priority priority);

    std::array<std::unique_ptr<EvictionPolicy>, kPriorities.size()> by_priority_;
};

}  // namespace kvfs
