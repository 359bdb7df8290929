#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/store/object_store.h"

namespace kvfs {

/// A file as a policy sees it.
struct FileUse {
    ObjectId id = 0;
    /// Of what its name is: of files that had one name, one after the other, it is the same. By
    /// this a policy knows a file again that comes back after it was evicted for good.
    std::uint32_t name = 0;
    /// The file without which this one is useless: the block before it in its prompt. 0: unknown,
    /// or there is none.
    ObjectId parent = 0;
    std::uint64_t bytes = 0;  ///< that it takes in the tier, when it comes
};

/// Decides which file leaves a tier first. One instance a tier; the tier calls it under its own
/// lock, so a policy needs none, and must not call back.
///
/// Blocks of one prompt are told in their order, parents first. A new policy is one file, see
/// lru.cc, and a line in policy.cc.
class EvictionPolicy {
  public:
    virtual ~EvictionPolicy() = default;

    /// Whether a newcomer is worth more than what would have to go for it: asked of a tier that is
    /// full, before it is written there. A file that is refused is not admitted(). The default
    /// takes all.
    virtual bool admits(const FileUse& /*file*/) { return true; }
    /// The file came into the tier. A second call for the same id counts as a use.
    virtual void admitted(const FileUse& file) = 0;
    /// The file was read. Ids that are not in the tier are ignored.
    virtual void used(const FileUse& file) = 0;
    /// The file has another name now, or its parent has become known. No use of it. Ids that are
    /// not in the tier are ignored.
    virtual void changed(const FileUse& /*file*/) {}
    /// `id` left the tier: evicted, unlinked or replaced. Unknown ids are ignored.
    virtual void removed(ObjectId id) = 0;
    /// The `count` files that should go first, in order. Some may be in use and are then passed
    /// over; the tier asks for more when it needs more.
    virtual std::vector<ObjectId> victims(std::size_t count) = 0;
    /// How many files are in the tier, and whether `id` is one of them.
    virtual std::size_t files() const = 0;
    virtual bool has(ObjectId id) const = 0;
};

std::unique_ptr<EvictionPolicy> make_lru();
std::unique_ptr<EvictionPolicy> make_s3fifo();
std::unique_ptr<EvictionPolicy> make_kvfs();

using MakePolicy = std::unique_ptr<EvictionPolicy> (*)();
/// What makes the policy of that name; null when there is none.
MakePolicy policy_named(std::string_view name);
/// "lru, s3fifo, kvfs"
std::string policy_names();

}  // namespace kvfs
