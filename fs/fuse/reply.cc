#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

// What stdio and cp take as the size of their reads and writes.
constexpr blksize_t kPreferredBytes = 128 << 10;

timespec to_timespec(std::int64_t ns) {
    constexpr std::int64_t kSecond = 1'000'000'000;
    timespec time{};
    time.tv_sec = ns / kSecond;
    time.tv_nsec = ns % kSecond;
    if (time.tv_nsec < 0) {
        time.tv_nsec += kSecond;
        --time.tv_sec;
    }
    return time;
}

}  // namespace

struct stat to_stat(const Attributes& attributes) {
    const Inode& inode = attributes.inode;
    struct stat st {};
    st.st_ino = inode.ino;
    st.st_mode = inode.mode;
    st.st_nlink = inode.nlink;
    st.st_uid = inode.uid;
    st.st_gid = inode.gid;
    st.st_size = static_cast<off_t>(inode.size);
    st.st_blksize = kPreferredBytes;
    st.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
    st.st_atim = to_timespec(inode.atime_ns);
    st.st_mtim = to_timespec(inode.mtime_ns);
    st.st_ctim = to_timespec(inode.ctime_ns);
    return st;
}

fuse_entry_param to_entry(const Attributes& attributes) {
    fuse_entry_param entry{};
    entry.ino = attributes.inode.ino;
    entry.generation = 1;  // inode numbers are never used again
    entry.attr = to_stat(attributes);
    entry.attr_timeout = lifetime_of(attributes);
    entry.entry_timeout = kEntrySeconds;
    return entry;
}

}  // namespace kvfs::fuse
