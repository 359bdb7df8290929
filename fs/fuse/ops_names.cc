// Names and attributes: lookup, stat, create and remove, rename, statfs.
#include <sys/statvfs.h>

#include <algorithm>

#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    const auto found =
        checked("lookup", [&] { return front_of(req).files.lookup(parent, name, client_of(req)); });
    if (found.ok() || found.error().code != ENOENT) return reply_entry(req, found);
    // Engines ask for far more keys than they have: let the kernel remember the misses.
    fuse_entry_param missing{};
    missing.entry_timeout = kMissingSeconds;
    fuse_reply_entry(req, &missing);
}

void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*fi*/) {
    reply_attributes(req, stale_if_gone(checked("getattr", [&]() -> Result<Attributes> {
                         Front& front = front_of(req);
                         auto found = front.files.attributes(ino);
                         if (found.ok() || found.error().code != ENOENT) return found;
                         if (auto removed = front.lingering.directory(ino)) return *removed;
                         return found;
                     })));
}

void forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t /*lookups*/) {
    front_of(req).lingering.forget(ino);
    fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgotten) {
    for (std::size_t i = 0; i < count; ++i) front_of(req).lingering.forget(forgotten[i].ino);
    fuse_reply_none(req);
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
    reply(req, checked("rmdir", [&]() -> Status {
              Front& front = front_of(req);
              auto directory = front.files.lookup(parent, name);
              if (!directory.ok()) return directory.error();
              if (Status removed = front.files.rmdir(parent, name); !removed.ok()) return removed;
              front.lingering.keep_directory(std::move(*directory));
              return {};
          }));
}

/// Renames over whatever has the name, and keeps that until the kernel has forgotten it.
Status replace(Front& front, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name) {
    auto target = front.files.lookup(new_parent, new_name);
    std::unique_ptr<Handle> handle;
    if (target.ok() && target->inode.is_regular()) {
        auto opened = front.files.open(target->inode.ino, {});
        if (opened.ok()) handle = std::move(*opened);
    }
    Status renamed =
        front.files.rename(parent, name, new_parent, new_name, Namespace::RenameFlag::replace);
    if (!renamed.ok()) {
        if (handle) front.files.release(std::move(handle));
        return renamed;
    }
    if (handle) front.lingering.keep_file(std::move(handle));
    if (target.ok() && target->inode.is_directory()) {
        front.lingering.keep_directory(std::move(*target));
    }
    return {};
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
    reply(req, checked("rename", [&]() -> Status {
              Front& front = front_of(req);
              if (flags == 0) return replace(front, parent, name, new_parent, new_name);
              if (flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) return Error{EINVAL};
              return front.files.rename(parent, name, new_parent, new_name,
                                        flags == RENAME_EXCHANGE
                                            ? Namespace::RenameFlag::exchange
                                            : Namespace::RenameFlag::no_replace);
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
    ops.forget = counted<forget>;
    ops.forget_multi = counted<forget_multi>;
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
