#pragma once
#include <cstdint>
#include <string>

#include "fs/base/fd.h"
#include "fs/base/result.h"

namespace kvfs {

/// New files are made in tmp/0 to tmp/63 by turns, since a file system places them by their
/// directory. With all of them in one, ext4 looked through thousands of inodes for each: it leaves
/// those alone that were removed in the last five seconds, and a full store removes as it writes.
constexpr unsigned kTmpParts = 64;
/// `number` is below kTmpParts.
std::string tmp_part(const std::string& directory, unsigned number);

/// The directory of an SSD store, ready for use and locked against other daemons.
struct SsdDirectory {
    std::string path;  ///< absolute
    UniqueFd lock;
    std::uint64_t uid = 0;
    std::uint64_t capacity = 0;
};

/// Makes what is missing of `directory` (not its parents), locks it, empties tmp/, and tries out
/// what the store needs of the file system. Errors as SsdStore::open says.
Result<SsdDirectory> open_ssd_directory(const std::string& directory, std::uint64_t quota_bytes);

/// Locks `directory` and reads what it says of itself, and changes nothing. Errors: ENOENT - it is
/// not there, or no kvfsd has used it; EBUSY, EINVAL as SsdStore::open says.
Result<SsdDirectory> open_ssd_directory_as_found(const std::string& directory);

}  // namespace kvfs
