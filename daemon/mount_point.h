#pragma once
#include <chrono>
#include <string>

#include "fs/base/result.h"

namespace kvfs {

/// Sees to it that kvfs can be mounted on `path`, and clears away what a daemon that was killed
/// left mounted there ("Transport endpoint is not connected"). Errors, each a sentence with the way
/// out: ENOENT, ENOTDIR, EACCES - `path`; EBUSY - a kvfs is mounted there and answers; ENODEV - no
/// /dev/fuse.
Result<std::string> prepare_mount_point(const std::string& path);

/// Returns once the kernel, asked for the file system at `path`, has got its answer from our mount.
/// Errors: ETIMEDOUT; EIO - something else answered.
/// When it timed out, a thread may still be waiting for that answer: unmounting ends it.
Status await_mount(const std::string& path, std::chrono::milliseconds timeout);

}  // namespace kvfs
