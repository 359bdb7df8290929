// For the mapper's front: paths with their permissions, leases, and files that appear whole.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/files/files.h"
#include "fs/files/notifier.h"

namespace kvfs {
namespace {

constexpr unsigned kRead = 4;
constexpr unsigned kWrite = 2;
constexpr unsigned kSearch = 1;

bool allowed(const Inode& inode, const Caller& caller, unsigned wanted) {
    if (caller.uid == 0) return true;
    unsigned bits = inode.mode & 7;
    if (inode.uid == caller.uid)
        bits = inode.mode >> 6 & 7;
    else if (inode.gid == caller.gid || std::find(caller.groups.begin(), caller.groups.end(),
                                                  inode.gid) != caller.groups.end())
        bits = inode.mode >> 3 & 7;
    return (bits & wanted) == wanted;
}

VolumeId volume_in(const Inode& directory) {
    return directory.ino == kRootIno ? kRootIno : directory.volume;
}

/// The first component of `path`, taken off it; empty at the end.
std::string_view next_component(std::string_view& path) {
    while (!path.empty()) {
        const auto slash = path.find('/');
        const std::string_view first = path.substr(0, slash);
        path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
        if (!first.empty() && first != ".") return first;
    }
    return {};
}

}  // namespace

bool Files::permitted(const Inode& inode, const Caller& caller, bool write) {
    return allowed(inode, caller, write ? kWrite : kRead);
}

Result<Files::Place> Files::walk(std::string_view path, const Caller& caller) {
    auto directory = names_.get(kRootIno);
    if (!directory) return directory.error();
    std::string_view name = next_component(path);
    for (;;) {
        if (!directory->is_directory()) return Error{directory->is_symlink() ? ELOOP : ENOTDIR};
        if (name == "..") return Error{EINVAL};
        if (!allowed(*directory, caller, kSearch)) return Error{EACCES};
        const std::string_view next = next_component(path);
        if (next.empty()) return Place{std::move(*directory), std::string(name)};
        auto below = names_.lookup(directory->ino, name);
        if (!below) return below.error();
        directory = std::move(below);
        name = next;
    }
}

/// 0: there is none at `path`, or none that the caller may read.
Ino Files::readable_file(std::string_view path, const Caller& caller) {
    const auto place = walk(path, caller);
    if (!place || place->name.empty()) return 0;
    const auto inode = names_.lookup(place->directory.ino, place->name);
    return inode && inode->is_regular() && allowed(*inode, caller, kRead) ? inode->ino : 0;
}

Result<Attributes> Files::resolve(std::string_view path, const Caller& caller) {
    auto place = walk(path, caller);
    if (!place) return place.error();
    if (place->name.empty()) return describe(std::move(place->directory));
    constexpr int kAwaitedMax = 4;
    auto found = lookup(place->directory.ino, place->name, caller.client);
    // By its name again: while its close was awaited, another file may have taken its place.
    Ino was = 0;
    for (int awaited = 0; found && found->inode.ino != was && awaited < kAwaitedMax; ++awaited) {
        was = found->inode.ino;
        if (cache_.await_closed(was))
            found = lookup(place->directory.ino, place->name, caller.client);
    }
    if (found && found->inode.is_symlink()) return Error{ELOOP};
    return found;
}

Result<Lease> Files::lease(Ino ino, Fill fill) {
    const auto inode = names_.get(ino);
    if (!inode) return inode.error();
    if (inode->is_directory()) return Error{EISDIR};
    if (!inode->is_regular()) return Error{ENOENT};
    auto object = cache_.acquire(ino);
    if (!object) return object.error();
    auto lease = cache_.lease(*object, fill);
    used_unseen(ino);
    cache_.retire(std::move(*object));
    return lease;
}

Status Files::set_control(std::string_view path, std::string_view key, std::string_view value,
                          const Caller& caller) {
    const auto found = resolve(path, caller);
    if (!found) return found.error();
    if (!allowed(found->inode, caller, kWrite)) return Error{EACCES};
    const std::string name = "user.kvfs." + std::string(key);
    if (Status set =
            set_xattr(found->inode.ino, name, value, Namespace::XattrMode::any, caller.uid);
        !set)
        return set;
    notifier_->changed({.ino = found->inode.ino});  // its time of change is another
    return {};
}

Result<Files::Draft> Files::draft(std::string_view path, std::uint64_t size, std::uint32_t mode,
                                  const Caller& caller, std::string_view parent_path) {
    auto place = walk(path, caller);
    if (!place) return place.error();
    if (place->name.empty()) return Error{EISDIR};
    if (place->name.size() > 255) return Error{ENAMETOOLONG};
    if (!allowed(place->directory, caller, kWrite)) return Error{EACCES};
    Draft draft;
    draft.parent = place->directory.ino;
    draft.name = std::move(place->name);
    draft.what = {.mode = S_IFREG | (mode & 0777), .uid = caller.uid, .gid = caller.gid};
    lineage_.makes(caller.client, Lineage::name(draft.parent, draft.name), longest_guess());
    draft.volume = volume_in(place->directory);
    draft.chain_parent = readable_file(parent_path, caller);
    auto content = cache_.draft(draft.volume, size);
    if (!content) return content.error();
    draft.content = std::move(*content);
    return draft;
}

Result<Attributes> Files::publish(Draft draft) {
    const Lineage::Name known_by = Lineage::name(draft.parent, draft.name);
    // Others of its prompt may have been published since it was drafted.
    draft.what.chain_parent =
        draft.chain_parent != 0 ? draft.chain_parent : lineage_.parent_of(known_by);
    // The inode and its bytes are complete before the name points at them.
    const auto inode = names_.create_unnamed(draft.what);
    if (!inode) return inode.error();
    Inode to_be = *inode;
    to_be.parent = draft.parent;
    to_be.name = draft.name;
    ObjectPtr object =
        cache_.adopt(inode->ino, draft.volume, standing_of(to_be), std::move(draft.content));
    auto named = names_.give_name(inode->ino, draft.parent, draft.name);
    if (!named) {
        object.reset();
        drop(*inode);
        return named.error();
    }
    lineage_.is(known_by, inode->ino);
    if (named->moved.priority != Priority::normal)
        cache_.set_standing(inode->ino, standing_of(named->moved));
    if (named->moved.volume != draft.volume) was_moved(named->moved);
    cache_.write_behind(std::move(object));
    Change change{draft.parent, draft.name};
    if (named->replaced) {
        change.ino = named->replaced->ino;
        drop(*named->replaced);
    }
    notifier_->changed(std::move(change));
    return describe(std::move(named->moved));
}

Status Files::make_directories(std::string_view path, const Caller& caller) {
    auto directory = names_.get(kRootIno);
    if (!directory) return directory.error();
    for (std::string_view name = next_component(path); !name.empty();) {
        const std::string_view next = next_component(path);
        if (next.empty()) return {};  // the last component is the file
        if (name == "..") return Error{EINVAL};
        if (!allowed(*directory, caller, kSearch)) return Error{EACCES};
        auto below = names_.lookup(directory->ino, name);
        if (!below && below.error().code == ENOENT) {
            if (!allowed(*directory, caller, kWrite)) return Error{EACCES};
            below = names_.create(directory->ino, name,
                                  {.mode = S_IFDIR | 0755, .uid = caller.uid, .gid = caller.gid});
            if (below)
                notifier_->changed({directory->ino, std::string(name)});
            else if (below.error().code == EEXIST)  // another client was quicker
                below = names_.lookup(directory->ino, name);
        }
        if (!below) return below.error();
        if (!below->is_directory()) return Error{ENOTDIR};
        directory = std::move(below);
        name = next;
    }
    return {};
}

}  // namespace kvfs
