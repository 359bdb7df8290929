#pragma once
#include <cstdint>
#include <vector>

#include "fs/base/priority.h"
#include "fs/base/result.h"
#include "fs/cache/policy.h"
#include "fs/store/arena.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// What the policies of tiers go by, besides the uses of a file.
struct Standing {
    Priority priority = Priority::normal;
    std::uint32_t name = 0;  ///< FileUse::name
    ObjectId parent = 0;     ///< FileUse::parent
};

inline FileUse use_of(ObjectId id, const Standing& standing, std::uint64_t bytes) {
    return {id, standing.name, standing.parent, bytes};
}

/// What outlives the daemon of a file's bytes: where they are and how to check them.
struct ObjectRecord {
    VolumeId volume = 0;
    bool scratch = false;
    bool pinned = false;
    Standing standing{};
    bool unlinked = false;        ///< it has lost its name, and its bytes are to go
    std::uint64_t store_uid = 0;  ///< 0: in none, for it is empty
    std::uint64_t size = 0;
    std::uint64_t held_bytes = 0;  ///< of a scratch file, which may have holes
    std::vector<std::uint32_t> chunk_crcs{};
};

/// What this host holds of such a file.
inline std::uint64_t held_bytes(const ObjectRecord& record) {
    return record.scratch ? record.held_bytes : record.size;
}

struct ObjectUse {
    ObjectId id = 0;
    std::int64_t atime_ns = 0;
    std::uint64_t hits = 0;
};

/// What the cache asks of, and tells, whoever keeps the names (fs/files). Called without any lock
/// of the cache held unless said; thread-safe.
class Catalog {
  public:
    virtual ~Catalog() = default;

    /// Of an unlinked file too, until it is erased. Errors: ENOENT - no such file, or one without
    /// bytes that outlived the daemon.
    virtual Result<ObjectRecord> find_object(ObjectId id) = 0;
    /// Errors: ENOENT - the file is gone: the caller drops the object.
    virtual Status save_object(ObjectId id, const ObjectRecord& record) = 0;
    /// What was saved is so no more: the file does not outlive the daemon unless it is saved again.
    virtual Status unsave_object(ObjectId id) = 0;
    /// What to write on the object.
    virtual ObjectLabel label_object(ObjectId id, const ObjectRecord& record) = 0;
    /// The file has no bytes any more (evicted from the last tier, or corrupt): its name must go.
    virtual void lose_object(ObjectId id) = 0;
    /// Files that a store has, in the order of their numbers: at most `count`, from `from` on.
    /// Empty: there are no more.
    virtual Result<std::vector<ObjectId>> stored_objects(ObjectId from, std::size_t count) = 0;
    virtual void record_uses(const std::vector<ObjectUse>& uses) = 0;
};

}  // namespace kvfs
