#pragma once
#include <unordered_map>

#include "fs/base/result.h"
#include "fs/files/files.h"

namespace kvfs::mapper {

/// What one caller may have, asked by number instead of by path. For the length of one request: it
/// remembers what it has found out of directories. Not thread-safe.
class Access {
  public:
    /// Both must outlive this.
    Access(Files& files, const Caller& caller) : files_(files), caller_(caller) {}

    /// The attributes of the regular file `ino`, if the caller may read it and search every
    /// directory above it: a number alone must not open what the path would not. Errors: ENOENT -
    /// gone, or without a name; EISDIR; EACCES.
    Result<Attributes> readable_file(Ino ino);

    /// May the caller have all of a volume's memory before it, for reading or (write) for writing
    /// too? Asked of the mode of the volume's directory. Errors: EACCES; ENOENT - no such volume.
    Status volume(VolumeId volume, bool write);

  private:
    Status search(Ino directory);

    Files& files_;
    const Caller& caller_;
    std::unordered_map<Ino, int> searched_;  ///< directory -> errno, 0: may be searched
    std::unordered_map<VolumeId, int> read_;
    std::unordered_map<VolumeId, int> written_;
};

}  // namespace kvfs::mapper
