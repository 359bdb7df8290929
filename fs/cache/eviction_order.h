#pragma once
#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
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
    /// `policy` is one of policy_names().
    explicit EvictionOrder(std::string_view policy);

    /// As EvictionPolicy's. A file that comes again with another priority has that from then on.
    void admitted(const FileUse& file, Priority priority, VolumeId volume);
    void used(const FileUse& file, Priority priority, VolumeId volume);
    void removed(ObjectId id);
    /// `over`: volumes that are watched; within a priority, their files go first.
    std::vector<ObjectId> victims(std::size_t count, std::span<const VolumeId> over = {});
    std::size_t files() const;

    /// The file, if it is in the tier, has another priority from now on.
    void rank(ObjectId id, Priority priority);

    /// From now on files of `volume` are told apart: those that come, and those that join() it.
    void watch(VolumeId volume);
    void unwatch(VolumeId volume);
    /// The file, which is in the tier, is one of `volume` and of no other.
    void join(const FileUse& file, Priority priority, VolumeId volume);
    /// As victims() and files(), of a watched volume alone; none of another.
    std::vector<ObjectId> victims_of(VolumeId volume, std::size_t count);
    std::size_t files_of(VolumeId volume) const;

  private:
    /// A policy for each priority, lowest first; made when it is needed.
    class Policies {
      public:
        EvictionPolicy& of(Priority priority, const std::string& policy);
        void admitted(const FileUse& file, Priority priority, const std::string& policy);
        bool removed(ObjectId id);  ///< it was there
        bool rank(ObjectId id, Priority priority, const std::string& policy);
        std::size_t files() const;
        std::size_t files(Priority priority) const;
        std::vector<ObjectId> victims(Priority priority, std::size_t count) const;

      private:
        std::array<std::unique_ptr<EvictionPolicy>, kPriorities.size()> by_priority_;
    };

    std::string policy_;
    Policies all_;
    std::unordered_map<VolumeId, Policies> volumes_;
};

}  // namespace kvfs
