#include "fs/files/rebuild.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace kvfs {
namespace {

/// Forgets the file whose name is wanted for a later one.
Status forget(Namespace& names, const Inode& file) {
    if (auto unlinked = names.unlink(file.parent, file.name); !unlinked) return unlinked.error();
    return names.erase(file.ino);
}

/// One object of `store`; ids are given out in order, so of two objects with one name the one with
/// the higher id is the file and the other its predecessor, on its way out when the power went.
class Rebuilding {
  public:
    Rebuilding(Namespace& names, const std::vector<std::unique_ptr<ObjectStore>>& stores)
        : names_(names), stores_(stores) {}

    Status add(ObjectStore& store, ObjectId id, const ObjectLabel& label) {
        auto said = recovered_from(store, id, label);
        if (!said && said.error().code == EBADMSG) {
            ++rebuilt_.unreadable;
            return store.remove(id);
        }
        if (!said) return said.error();
        const Namespace::Recovered& file = *said;
        if (const auto had = names_.placement(id); had && had->store_uid != store.uid()) {
            ++rebuilt_.replaced;  // a second copy, on its way from one store to another
            return store.remove(id);
        }
        auto recovered = names_.recover(file);
        if (!recovered && recovered.error().code == EEXIST) return displace(store, file);
        if (recovered) {
            ++rebuilt_.files;
        } else if (const int code = recovered.error().code;
                   code == EINVAL || code == ENOTDIR || code == ENAMETOOLONG) {
            ++rebuilt_.unreadable;  // a label that no kvfsd wrote, or below what is a file now
            return store.remove(id);
        }
        return recovered;
    }

    const Rebuilt& result() const { return rebuilt_; }

  private:
    Status displace(ObjectStore& store, const Namespace::Recovered& file) {
        ++rebuilt_.replaced;
        const auto older = find_path(names_, file.path);
        if (!older || !older->is_regular() || older->ino >= file.ino) return store.remove(file.ino);
        const auto placement = names_.placement(older->ino);
        if (auto forgotten = forget(names_, *older); !forgotten) return forgotten;
        for (const auto& other : stores_) {
            if (!placement || other->uid() != placement->store_uid) continue;
            if (auto removed = other->remove(older->ino); !removed) return removed;
        }
        return names_.recover(file);
    }

    Namespace& names_;
    const std::vector<std::unique_ptr<ObjectStore>>& stores_;
    Rebuilt rebuilt_;
};

}  // namespace

Result<Namespace::Recovered> recovered_from(ObjectStore& store, ObjectId id,
                                            const ObjectLabel& label) {
    if (label.path.empty()) return Error{EBADMSG, "its label cannot be read"};
    const auto extent = store.extent(id);
    if (!extent) return extent.error();
    Namespace::Recovered file;
    file.ino = id;
    file.path = label.path;
    file.mode = S_IFREG | (label.mode & 07777);
    file.uid = label.uid;
    file.gid = label.gid;
    file.mtime_ns = label.mtime_ns;
    file.placement.scratch = label.chunk_crcs.empty() && label.size > 0;
    file.placement.store_uid = store.uid();
    file.placement.size = label.size;
    file.placement.chunk_crcs = label.chunk_crcs;
    if (file.placement.scratch) {
        // It may have been written to since it was labelled.
        file.placement.size = extent->size;
        file.placement.held_bytes = extent->held_bytes;
    } else if (extent->size != label.size) {
        return Error{EBADMSG, "it has " + std::to_string(extent->size) + " of " +
                                  std::to_string(label.size) + " bytes"};
    }
    return file;
}

Result<Inode> find_path(const Namespace& names, std::string_view path) {
    Result<Inode> inode = names.get(kRootIno);
    while (inode && !path.empty()) {
        const auto slash = path.find('/');
        inode = names.lookup(inode->ino, path.substr(0, slash));
        path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    }
    return inode;
}

Result<Rebuilt> rebuild_names(Namespace& names,
                              const std::vector<std::unique_ptr<ObjectStore>>& stores) {
    Rebuilding rebuilding(names, stores);
    for (const auto& store : stores) {
        const auto leftovers = store->leftovers();
        if (!leftovers) return leftovers.error();
        for (const std::string& path : *leftovers) ::unlink(path.c_str());
    }
    for (const auto& store : stores) {
        Status added;
        const Status scanned = store->scan([&](ObjectId id, const ObjectLabel& label) {
            added = rebuilding.add(*store, id, label);
            return added.ok();
        });
        if (!added) return added.error();
        if (!scanned) return scanned.error();
    }
    return rebuilding.result();
}

}  // namespace kvfs
