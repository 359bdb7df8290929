#include "fs/mapper/access.h"

#include <algorithm>
#include <vector>

namespace kvfs::mapper {
namespace {

bool may_search(const Inode& directory, const Caller& caller) {
    if (caller.uid == 0) return true;
    if (caller.uid == directory.uid) return (directory.mode & S_IXUSR) != 0;
    const bool in_group =
        caller.gid == directory.gid ||
        std::find(caller.groups.begin(), caller.groups.end(), directory.gid) != caller.groups.end();
    return (directory.mode & (in_group ? S_IXGRP : S_IXOTH)) != 0;
}

Status to_status(int code) { return code == 0 ? Status() : Status(Error{code}); }

}  // namespace

/// Goes up to the root, or to a directory that is known already. Not by recursion: how deep
/// directories are nested is up to clients.
Status Access::search(Ino directory) {
    std::vector<Ino> chain;
    int code = 0;
    for (Ino at = directory;;) {
        if (const auto known = searched_.find(at); known != searched_.end()) {
            code = known->second;
            break;
        }
        chain.push_back(at);
        const auto inode = files_.names().get(at);
        if (!inode)
            code = inode.error().code;
        else if (!may_search(*inode, caller_))
            code = EACCES;
        else if (at != kRootIno && inode->parent == 0)
            code = ENOENT;
        if (code != 0 || at == kRootIno) break;
        at = inode->parent;
    }
    // What stops the way up stops it for all that are below.
    for (const Ino below : chain) searched_.emplace(below, code);
    return to_status(code);
}

Result<Attributes> Access::readable_file(Ino ino) {
    auto attributes = files_.attributes(ino);
    if (!attributes) return attributes.error();
    const Inode& inode = attributes->inode;
    if (inode.is_directory()) return Error{EISDIR};
    if (!inode.is_regular()) return Error{ELOOP};
    if (inode.parent == 0) return Error{ENOENT};
    if (Status above = search(inode.parent); !above) return above.error();
    if (!Files::permitted(inode, caller_, false)) return Error{EACCES};
    return attributes;
}

Status Access::volume(VolumeId volume, bool write) {
    auto& known = write ? written_ : read_;
    if (const auto found = known.find(volume); found != known.end())
        return to_status(found->second);
    int code = 0;
    const auto inode = files_.names().get(volume);
    if (!inode)
        code = inode.error().code;
    else if (!may_search(*inode, caller_) || !Files::permitted(*inode, caller_, false) ||
             (write && !Files::permitted(*inode, caller_, true)))
        code = EACCES;
    known.emplace(volume, code);
    return to_status(code);
}

}  // namespace kvfs::mapper
