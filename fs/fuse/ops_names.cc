// Names and attributes: lookup, stat, create and remove, rename, statfs.
#include <sys/statvfs.h>

#include <algorithm>

#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    const auto found = checked("lookup", [&] { return front_of(req).files.lookup(parent, name); });
    if (found.ok() || found.error().code != ENOENT) return reply_entry(req, found);
    // Engines ask for far more keys than they have: let the kernel remember the misses.
    fuse_entry_param missing{};
    missing.entry_timeout = kMissingSeconds;
    fuse_reply_entry(req, &missing);
}

void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*fi*/) {
    reply_attributes(req, stale_if_gone(checked(
                              "getattr", [&] { return front_of(req).files.attributes(ino); })));
}

std::int64_t to_ns(const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

Namespace::Change to_change(const struct stat& wanted, int which) {
    constexpr mode_t kPermissionBits = 07777;
    Namespace::Change change;
    if ((which & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted.st_mode & kPermissionBits;
    if ((which & FUSE_SET_ATTR_UID) != 0) change.uid = wanted.st_uid;
    if ((which & FUSE_SET_ATTR_GID) != 0) change.gid = wanted.st_gid;
    if ((which & FUSE_SET_ATTR_SIZE) != 0) change.size = static_cast<std::uint64_t>(wanted.st_size);
    if ((which & FUSE_SET_ATTR_ATIME) != 0) change.atime_ns = to_ns(wanted.st_atim);
    if ((which & FUSE_SET_ATTR_MTIME) != 0) change.mtime_ns = to_ns(wanted.st_mtim);
    if ((which & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime_ns = wall_ns();
    if ((which & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime_ns = wall_ns();
    return change;
}

void setattr(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int which,
             fuse_file_info* /*fi*/) {
    reply_attributes(req, stale_if_gone(checked("setattr", [&] {
                         return front_of(req).files.change(ino, to_change(*wanted, which));
                     })));
}

void readlink(fuse_req_t req, fuse_ino_t ino) {
    const auto target = stale_if_gone(
        checked("readlink", [&] { return front_of(req).files.names().symlink_target(ino); }));
    if (!target.ok()) return reply_error(req, target.error());
    fuse_reply_readlink(req, target->c_str());
}

Result<Attributes> make(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
                        const char* symlink_target = "") {
    return checked("make", [&]() -> Result<Attributes> {
        auto what = new_inode(req, parent, mode);
        if (!what.ok()) return what.error();
        what->symlink_target = symlink_target;
        return front_of(req).files.make(parent, name, *what);
    });
}

void mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t /*device*/) {
    if (!S_ISREG(mode)) return reply_error(req, Error{EPERM});
    reply_entry(req, make(req, parent, name, mode));
}

void mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
    reply_entry(req, make(req, parent, name, (mode & ~static_cast<mode_t>(S_IFMT)) | S_IFDIR));
}

void symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
    reply_entry(req, make(req, parent, name, S_IFLNK | 0777, target));
}

void link(fuse_req_t req, fuse_ino_t /*ino*/, fuse_ino_t /*parent*/, const char* /*name*/) {
    reply_error(req, Error{EPERM});  // one name an inode: an evicted file takes its name with it
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
    reply(req, checked("unlink", [&] { return front_of(req).files.unlink(parent, name); }));
}

void rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
    reply(req, checked("rmdir", [&] { return front_of(req).files.rmdir(parent, name); }));
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
    reply(req, checked("rename", [&]() -> Status {
              auto flag = Namespace::RenameFlag::replace;
              if (flags == RENAME_NOREPLACE) {
                  flag = Namespace::RenameFlag::no_replace;
              } else if (flags == RENAME_EXCHANGE) {
                  flag = Namespace::RenameFlag::exchange;
              } else if (flags != 0) {
                  return Error{EINVAL};
              }
              return front_of(req).files.rename(parent, name, new_parent, new_name, flag);
          }));
}

void statfs(fuse_req_t req, fuse_ino_t /*ino*/) {
    // Six engines' evictors compare these figures with their watermarks, and LMCache takes f_bsize
    // as the alignment for O_DIRECT.
    constexpr std::uint64_t kBlock = 4096;
    constexpr std::uint64_t kFreeInodes = 1ULL << 40;
    const auto capacity = checked(
        "statfs", [&]() -> Result<Files::Capacity> { return front_of(req).files.capacity(); });
    if (!capacity.ok()) return reply_error(req, capacity.error());
    struct statvfs st {};
    st.f_bsize = kBlock;
    st.f_frsize = kBlock;
    st.f_blocks = capacity->bytes / kBlock;
    st.f_bfree = (capacity->bytes - std::min(capacity->bytes, capacity->bytes_used)) / kBlock;
    st.f_bavail = st.f_bfree;
    st.f_files = capacity->files + kFreeInodes;
    st.f_ffree = kFreeInodes;
    st.f_favail = kFreeInodes;
    st.f_namemax = 255;
    fuse_reply_statfs(req, &st);
}

}  // namespace

Result<Namespace::NewInode> new_inode(fuse_req_t req, fuse_ino_t parent, mode_t mode) {
    auto directory = front_of(req).files.names().get(parent);
    if (!directory.ok()) return directory.error();
    const fuse_ctx* caller = fuse_req_ctx(req);
    Namespace::NewInode what{.mode = mode, .uid = caller->uid, .gid = caller->gid};
    if ((directory->mode & S_ISGID) != 0) {
        what.gid = directory->gid;
        if (S_ISDIR(mode)) what.mode |= S_ISGID;
    }
    return what;
}

void set_name_ops(fuse_lowlevel_ops& ops) {
    ops.lookup = counted<lookup>;
    ops.getattr = counted<getattr>;
    ops.setattr = counted<setattr>;
    ops.readlink = counted<readlink>;
    ops.mknod = counted<mknod>;
    ops.mkdir = counted<mkdir>;
    ops.symlink = counted<symlink>;
    ops.link = counted<link>;
    ops.unlink = counted<unlink>;
    ops.rmdir = counted<rmdir>;
    ops.rename = counted<rename>;
    ops.statfs = counted<statfs>;
}

}  // namespace kvfs::fuse
