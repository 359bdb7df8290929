#pragma once
#include <memory>

#include "daemon/awake.h"
#include "daemon/options.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"
#include "fs/files/files.h"
#include "fs/fuse/fuse_mount.h"
#include "fs/mapper/server.h"
#include "fs/names/namespace.h"

namespace kvfs {

/// A kvfs, put together: each part stands on those above it, and they go in reverse.
struct Parts {
    std::unique_ptr<Namespace> names;
    std::unique_ptr<Cache> cache;
    std::unique_ptr<Files> files;
    std::unique_ptr<Awake> awake;  ///< both fronts report to it
    std::unique_ptr<MapperServer> mapper;
    std::unique_ptr<FuseMount> mount;  ///< null with --no-mount; serves once run() is called
};

/// Opens the tiers and the namespace, rebuilds the latter when the machine lost power, and puts
/// both fronts on top. Logs a line for each tier. Errors: one sentence that names the part and the
/// way out; nothing is left mounted or listening. `options` must outlive the parts.
Result<Parts> wire(const Options& options);

}  // namespace kvfs
