#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/names/namespace.h"
#include "fs/store/object_store.h"

namespace kvfs {

struct Rebuilt {
    std::uint64_t files = 0;       ///< that have their names again
    std::uint64_t replaced = 0;    ///< objects whose name a later file has: removed
    std::uint64_t unreadable = 0;  ///< objects that are not whole, or do not say what they are:
                                   ///< removed
};

/// What the object says that its file was. Errors: EBADMSG - it does not say, or is not whole;
/// what the store says.
Result<Namespace::Recovered> recovered_from(ObjectStore& store, ObjectId id,
                                            const ObjectLabel& label);

/// The inode at `path` (from the root, no leading slash). Errors: as Namespace::lookup.
Result<Inode> find_path(const Namespace& names, std::string_view path);

/// Fills an empty namespace from the objects, after a power loss: every object says what file it
/// is. Before anything else uses `names` or `stores`. Directories come back with what the objects'
/// paths tell; empty ones, symlinks and xattrs are lost. Errors: what a store's scan or the
/// database says.
Result<Rebuilt> rebuild_names(Namespace& names,
                              const std::vector<std::unique_ptr<ObjectStore>>& stores);

}  // namespace kvfs
