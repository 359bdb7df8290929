#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/names/namespace_impl.h"

namespace kvfs {
namespace {

struct Split {
    std::vector<std::string_view> directories;
    std::string_view name;
};

/// Errors: as check_name, for each component.
Result<Split> split(std::string_view path) {
    Split parts;
    for (std::size_t from = 0;;) {
        const std::size_t slash = path.find('/', from);
        const std::string_view part = path.substr(from, slash - from);
        if (Status checked = check_name(part); !checked) return checked.error();
        if (slash == std::string_view::npos) {
            parts.name = part;
            return parts;
        }
        parts.directories.push_back(part);
        from = slash + 1;
    }
}

Inode recovered_file(const Namespace::Recovered& file, const Inode& directory,
                     std::string_view name) {
    Inode inode;
    inode.ino = file.ino;
    inode.parent = directory.ino;
    inode.mode = S_IFREG | (file.mode & 07777);
    inode.volume = volume_in(directory, inode);
    inode.uid = file.uid;
    inode.gid = file.gid;
    inode.nlink = 1;
    inode.size = file.placement.size;
    inode.atime_ns = inode.mtime_ns = inode.btime_ns = file.mtime_ns;
    inode.ctime_ns = wall_ns();
    inode.name = name;
    return inode;
}

Inode recovered_directory(const Namespace::Recovered& file, Ino ino, const Inode& parent,
                          std::string_view name) {
    Inode inode;
    inode.ino = ino;
    inode.parent = parent.ino;
    inode.mode = S_IFDIR | 0700;
    inode.volume = volume_in(parent, inode);
    inode.uid = file.uid;
    inode.gid = file.gid;
    inode.nlink = 2;
    inode.atime_ns = inode.mtime_ns = inode.ctime_ns = inode.btime_ns = wall_ns();
    inode.name = name;
    return inode;
}

}  // namespace

Status Namespace::recover(const Recovered& file) {
    const Result<Split> parts = split(file.path);
    if (!parts) return parts.error();
    const std::uint32_t type = file.mode & S_IFMT;
    if (file.ino <= kRootIno || (type != 0 && type != S_IFREG)) return Error{EINVAL};

    const auto add = [&](Edit& edit) -> Status {
        Result<Inode> directory = edit.inode(kRootIno);
        for (const std::string_view name : parts->directories) {
            if (!directory) return directory.error();
            Result<Inode> below = edit.child(directory->ino, name);
            if (!below && below.error().code == ENOENT) {
                // Its number must not be one that an object still to come brings along.
                if (Status used = impl_->use_lost_inos(); !used) return used;
                const Result<Ino> ino = impl_->new_ino();
                if (!ino) return ino.error();
                below = recovered_directory(file, *ino, *directory, name);
                if (Status added = edit.add(*below); !added) return added;
            }
            directory = std::move(below);
        }
        if (!directory) return directory.error();

        const Result<Inode> there = edit.child(directory->ino, parts->name);
        if (there) return there->ino == file.ino ? Status{} : Error{EEXIST, file.path};
        if (there.error().code != ENOENT) return there.error();
        const Result<Inode> same = edit.inode(file.ino);
        if (same) return Error{EEXIST, file.path};
        if (same.error().code != ENOENT) return same.error();

        if (Status used = impl_->use_ino(file.ino); !used) return used;
        Status added = edit.add(recovered_file(file, *directory, parts->name));
        if (!added) return added;
        return edit.put_placement(file.ino, file.placement);
    };
    return impl_->write(add,
                        lmdb::room_for(file.placement.chunk_crcs.size() * sizeof(std::uint32_t)));
}

}  // namespace kvfs
