#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/priority.h"

namespace kvfs {

/// An inode number: persistent, never reused; it is also FUSE's node id and the id of the file's
/// object in every store. The root directory is 1.
using Ino = std::uint64_t;
inline constexpr Ino kRootIno = 1;

/// A name's attributes, as kept in the database.
struct Inode {
    Ino ino = 0;
    Ino parent = 0;            ///< 0: the root, or unlinked (an orphan that is still open)
    std::uint64_t volume = 0;  ///< inode of the top-level directory it is under; its own for those
    std::uint32_t mode = 0;    ///< type and permission bits, as st_mode
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t nlink = 0;    ///< directories: 2 + subdirectories; files: 1, or 0 for an orphan
    std::uint64_t size = 0;     ///< bytes; directories: number of entries
    std::int64_t atime_ns = 0;  ///< wall clock, since the epoch; so are the next three
    std::int64_t mtime_ns = 0;
    std::int64_t ctime_ns = 0;
    std::int64_t btime_ns = 0;
    std::uint64_t hits = 0;  ///< opens and mapper leases that found the file's bytes
    bool pinned = false;     ///< never a victim of eviction
    /// Seconds after its last use when a file is to go; 0: none. Of a directory, as the next two:
    /// what is made in it gets it.
    std::uint32_t ttl_s = 0;
    Priority priority = Priority::normal;
    /// A regular file: the one that it builds on, as a block of a prompt on the block before it;
    /// 0: none, or unknown. It may be gone.
    Ino chain_parent = 0;
    /// A regular file: made as a scratch file.
    bool scratch = false;
    /// Of a volume: bytes that it may hold before its files go first, and at most; 0: none.
    std::uint64_t soft_quota = 0;
    std::uint64_t hard_quota = 0;
    std::string name;  ///< its last component; empty for the root

    bool is_directory() const { return S_ISDIR(mode); }
    bool is_regular() const { return S_ISREG(mode); }
    bool is_symlink() const { return S_ISLNK(mode); }
    /// A directory right below the root.
    bool is_volume() const { return is_directory() && parent == kRootIno; }
};

/// Where a regular file's bytes are below DRAM, and how to check them. A file without a record has
/// no bytes that outlive the daemon.
struct Placement {
    bool scratch = false;          ///< rewritten in place at its store; not checksummed
    std::uint64_t store_uid = 0;   ///< ObjectStore::uid(); 0: in none, for it is empty
    std::uint64_t size = 0;        ///< of the object
    std::uint64_t held_bytes = 0;  ///< what a scratch file takes there: it may have holes
    /// CRC32C of every kChunkBytes; empty for scratch files.
    std::vector<std::uint32_t> chunk_crcs{};
};

}  // namespace kvfs
