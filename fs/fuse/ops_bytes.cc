// Bytes: open and create, read, write, fallocate, fsync, release.
#include <fcntl.h>
#include <sys/uio.h>

#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

Files::OpenFlags to_flags(fuse_req_t req, const fuse_file_info& fi) {
    return {.write = (fi.flags & O_ACCMODE) != O_RDONLY,
            .truncate = (fi.flags & O_TRUNC) != 0,
            .backing = front_of(req).backing_files.offered(),
            .client = client_of(req)};
}

/// Hands the handle to the kernel. Direct: bytes go between the program's memory and the arena, and
/// are not kept a second time in the page cache; and those of scratch files do not come to us at
/// all.
void give(fuse_req_t req, fuse_file_info& fi, std::unique_ptr<Handle> handle) {
    Front& front = front_of(req);
    if (handle->backing != nullptr) {
        fi.backing_id = front.backing_files.add(handle->ino, handle->backing->backing_fd());
        if (fi.backing_id == 0) front.files.not_backed(*handle);
    }
    fi.direct_io = handle->backing == nullptr;
    fi.parallel_direct_writes = fi.direct_io;
    fi.noflush = !handle->writes;
    fi.fh = front.handles.add(std::move(handle));
}

void take_back(Front& front, std::uint64_t number) {
    auto handle = front.handles.take(number);
    if (handle->backing != nullptr) front.backing_files.remove(handle->ino);
    const Status released = checked("release", [&]() -> Status {
        front.files.release(std::move(handle));
        return {};
    });
    static_cast<void>(released);  // checked() has logged it; nobody waits for the answer
}

void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
    Front& front = front_of(req);
    const Status opened = stale_if_gone(checked("open", [&]() -> Status {
        auto handle = front.files.open(ino, to_flags(req, *fi));
        if (!handle.ok()) return handle.error();
        give(req, *fi, std::move(*handle));
        return {};
    }));
    if (!opened.ok()) return reply_error(req, opened.error());
    if (unwanted(fuse_reply_open(req, fi))) take_back(front, fi->fh);
}

/// create(2) without O_EXCL of a name that a mapper client published since the kernel looked.
Result<Attributes> open_existing(fuse_req_t req, fuse_ino_t parent, const char* name,
                                 fuse_file_info& fi) {
    Front& front = front_of(req);
    auto attributes = front.files.lookup(parent, name);
    if (!attributes.ok()) return attributes;
    auto handle = front.files.open(attributes->inode.ino, to_flags(req, fi));
    if (!handle.ok()) return handle.error();
    give(req, fi, std::move(*handle));
    return attributes;
}

void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
    Front& front = front_of(req);
    const auto attributes = checked("create", [&]() -> Result<Attributes> {
        auto what = new_inode(req, parent, (mode & ~static_cast<mode_t>(S_IFMT)) | S_IFREG);
        if (!what.ok()) return what.error();
        auto created = front.files.create(parent, name, *std::move(what),
                                          front.backing_files.offered(), client_of(req));
        if (created.ok()) {
            give(req, *fi, std::move(created->handle));
            return std::move(created->attributes);
        }
        if (created.error().code != EEXIST || (fi->flags & O_EXCL) != 0) return created.error();
        return open_existing(req, parent, name, *fi);
    });
    if (!attributes.ok()) return reply_error(req, attributes.error());
    const fuse_entry_param entry = to_entry(*attributes);
    if (unwanted(fuse_reply_create(req, &entry, fi))) take_back(front, fi->fh);
}

/// close(2) waits for this, not for release: for writers, since a mapper client may be told of the
/// file next.
void flush(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* fi) {
    front_of(req).files.closing(OpenTable<Handle>::at(fi->fh));
    fuse_reply_err(req, 0);
}

void release(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* fi) {
    take_back(front_of(req), fi->fh);
    fuse_reply_err(req, 0);
}

struct Pieces {
    ReadView view;  ///< keeps the bytes until they are sent
    std::vector<iovec> vectors;
};

void read(fuse_req_t req, fuse_ino_t /*ino*/, std::size_t size, off_t offset, fuse_file_info* fi) {
    Front& front = front_of(req);
    const auto pieces = checked("read", [&]() -> Result<Pieces> {
        auto view = front.files.read(OpenTable<Handle>::at(fi->fh),
                                     static_cast<std::uint64_t>(offset), size);
        if (!view.ok()) return view.error();
        Pieces all{std::move(*view), {}};
        all.vectors.reserve(all.view.spans.size());
        for (const auto& span : all.view.spans) {
            // The kernel's type for memory to read from is not const.
            all.vectors.push_back({const_cast<std::byte*>(span.data()), span.size()});
        }
        return all;
    });
    if (!pieces.ok()) return reply_error(req, pieces.error());
    fuse_reply_iov(req, pieces->vectors.data(), static_cast<int>(pieces->vectors.size()));
}

void write(fuse_req_t req, fuse_ino_t /*ino*/, const char* bytes, std::size_t size, off_t offset,
           fuse_file_info* fi) {
    const Status written = checked("write", [&] {
        return front_of(req).files.write(OpenTable<Handle>::at(fi->fh),
                                         static_cast<std::uint64_t>(offset),
                                         std::as_bytes(std::span(bytes, size)));
    });
    if (!written.ok()) return reply_error(req, written.error());
    fuse_reply_write(req, size);
}

void fallocate(fuse_req_t req, fuse_ino_t /*ino*/, int mode, off_t offset, off_t length,
               fuse_file_info* fi) {
    reply(req, checked("fallocate", [&]() -> Status {
              if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE) return Error{EOPNOTSUPP};
              return front_of(req).files.allocate(
                  OpenTable<Handle>::at(fi->fh), static_cast<std::uint64_t>(offset),
                  static_cast<std::uint64_t>(length), mode == FALLOC_FL_KEEP_SIZE);
          }));
}

void fsync(fuse_req_t req, fuse_ino_t /*ino*/, int /*datasync*/, fuse_file_info* fi) {
    reply(req, checked("fsync",
                       [&] { return front_of(req).files.sync(OpenTable<Handle>::at(fi->fh)); }));
}

}  // namespace

void set_byte_ops(fuse_lowlevel_ops& ops) {
    ops.open = counted<open>;
    ops.create = counted<create>;
    ops.read = counted<read>;
    ops.write = counted<write>;
    ops.fallocate = counted<fallocate>;
    ops.fsync = counted<fsync>;
    ops.flush = counted<flush>;
    ops.release = counted<release>;
    // No lock, flock: the kernel keeps them itself, and no thread of ours can be made to wait
    // on one.
}

}  // namespace kvfs::fuse
