#pragma once
#include <memory>
#include <string>

#include "fs/io/ring.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// The object in the file `path`, made when absent, read and written by `ring`; `store` keeps that.
/// Errors: ENOENT - its directory is not there; what open(2) says.
Result<std::unique_ptr<ObjectFile>> open_ssd_file(const std::string& path,
                                                  std::shared_ptr<void> store, Ring& ring);

/// Errors: ENOENT, and what stat(2) says.
Result<ObjectExtent> extent_of(const std::string& path);

}  // namespace kvfs
