#pragma once
#include <array>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "fs/base/priority.h"
#include "fs/cache/policy.h"
#include "fs/store/arena.h"

namespace kvfs {

/// Which file leaves a tier first: those of lower priority, and of one priority the one that the
/// policy names. One instance a tier; the tier calls it under its own lock.
///
/// Of some volumes, those with a quota, it also knows the order among their own files: these are
/// in a second policy each, beside the one that has all files. So the order of all is what it is
/// without quotas, and nothing has to be moved when one is taken away.
class EvictionOrder {
  public:
    explicit EvictionOrder(MakePolicy make) : make_(make) {}

    /// As EvictionPolicy's, of the files of its priority; it is not asked while there are files of
    /// lower ones, which would go.
    bool admits(const FileUse& file, Priority priority);
    /// As EvictionPolicy's. A file that comes again with another priority has that from then on.
    void admitted(const FileUse& file, Priority priority, VolumeId volume);
    void used(const FileUse& file, Priority priority, VolumeId volume);
    /// Whether it was in the tier.
    bool removed(ObjectId id);
    /// `over`: volumes that are watched; within a priority, their files go first.
    std::vector<ObjectId> victims(std::size_t count, std::span<const VolumeId> over = {});
    std::size_t files() const;

    /// The file, if it is in the tier, has another name, parent or priority from now on. No use.
    void changed(const FileUse& file, Priority priority);

    /// From now on files of `volume` are told apart: those that come, and those that join() it.
    void watch(VolumeId volume);
    void unwatch(VolumeId volume);
    /// The file, which is in the tier, is one of `volume` and of no other. No use of it.
    void join(const FileUse& file, Priority priority, VolumeId volume);
    /// As victims() and files(), of a watched volume alone; none of another.
    std::vector<ObjectId> victims_of(VolumeId volume, std::size_t count);
    std::size_t files_of(VolumeId volume) const;

  private:
    /// A policy for each priority, lowest first; made when it is needed.
    class Policies {
      public:
        EvictionPolicy& of(Priority priority, MakePolicy make);
        void admitted(const FileUse& file, Priority priority, MakePolicy make);
        void used(const FileUse& file, Priority priority);
        void changed(const FileUse& file, Priority priority, MakePolicy make);
        void joined(const FileUse& file, Priority priority, MakePolicy make);
        bool removed(ObjectId id);  ///< it was there
        std::size_t files() const;
        std::size_t files(Priority priority) const;
        std::vector<ObjectId> victims(Priority priority, std::size_t count) const;

      private:
        EvictionPolicy* made(Priority priority) const;  ///< or null
        bool has(ObjectId id, Priority priority) const;

        std::array<std::unique_ptr<EvictionPolicy>, kPriorities.size()> by_priority_;
    };

    MakePolicy make_;
    Policies all_;
    std::unordered_map<VolumeId, Policies> volumes_;
};

}  // namespace kvfs
