#pragma once
#include <string>

#include "fs/base/result.h"

namespace kvfs::fuse {

/// The absolute path of `mountpoint`, fit to be mounted on; a dead mount on it is unmounted first.
/// Errors: as FuseMount::mount, each a sentence.
Result<std::string> prepare_mountpoint(const std::string& mountpoint);

/// Is a kvfs mounted on `path` (absolute, without symlinks), topmost?
bool kvfs_is_mounted_on(const std::string& path);

}  // namespace kvfs::fuse
