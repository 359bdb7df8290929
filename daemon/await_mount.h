#pragma once
#include <chrono>
#include <string>

#include "fs/base/result.h"

namespace kvfs {

/// Returns once the kernel, asked for the file system at `path`, has got its answer from our mount.
/// Errors: ETIMEDOUT; EIO - something else answered.
/// When it timed out, a thread may still be waiting for that answer: unmounting ends it.
Status await_mount(const std::string& path, std::chrono::milliseconds timeout);

}  // namespace kvfs
