#pragma once
#include <array>
#include <memory>
#include <vector>

#include "fs/base/priority.h"
#include "fs/cache/policy.h"

namespace kvfs {

/// Which file leaves a tier first: those of lower priority, and of one priority the one that the
/// policy names. One instance a tier; the tier calls it under its own lock.
class EvictionOrder {
  public:
    explicit EvictionOrder(MakePolicy make);

    /// As EvictionPolicy's, of the files of its priority; it is not asked while there are files of
    /// lower ones, which would go.
    bool admits(const FileUse& file, Priority priority);
    /// As EvictionPolicy's. A file that comes again with another priority has that from then on.
    void admitted(const FileUse& file, Priority priority);
    void used(const FileUse& file, Priority priority);
    /// Whether it was in the tier.
    bool removed(ObjectId id);
    std::vector<ObjectId> victims(std::size_t count);
    std::size_t files() const;

    /// The file, if it is in the tier, has another name, parent or priority from now on. No use.
    void changed(const FileUse& file, Priority priority);

  private:
    EvictionPolicy& of(Priority priority);

    std::array<std::unique_ptr<EvictionPolicy>, kPriorities.size()> by_priority_;
};

}  // namespace kvfs
