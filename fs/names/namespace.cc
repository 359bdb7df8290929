#include "fs/names/namespace.h"

#include <algorithm>
#include <utility>

#include "fs/base/clock.h"
#include "fs/names/namespace_impl.h"

namespace kvfs {

using lmdb::Cursor;
using lmdb::WriteTransaction;
using record::Key;

namespace {

constexpr std::size_t kTargetMax = 4095;  // PATH_MAX less its NUL

Status check_new(const Namespace::NewInode& what) {
    const std::uint32_t type = what.mode & S_IFMT;
    if (type == S_IFREG || type == S_IFDIR) return {};
    if (type != S_IFLNK) return Error{EINVAL};
    if (what.symlink_target.empty()) return Error{ENOENT};
    if (what.symlink_target.size() > kTargetMax) return Error{ENAMETOOLONG};
    return {};
}

void inherit(Inode& inode, const Inode& directory) {
    inode.scratch = directory.scratch;
    inode.ttl_s = directory.ttl_s;
    inode.priority = directory.priority;
}

Inode make_inode(Ino ino, const Inode& directory, std::string_view name,
                 const Namespace::NewInode& what) {
    Inode inode;
    inode.ino = ino;
    inode.parent = directory.ino;
    inode.mode = what.mode;
    inode.volume = volume_in(directory, inode);
    inode.uid = what.uid;
    inode.gid = what.gid;
    inode.nlink = inode.is_directory() ? 2 : 1;
    inode.size = what.symlink_target.size();
    if (!inode.is_symlink()) inherit(inode, directory);
    inode.chain_parent = what.chain_parent;
    inode.atime_ns = inode.mtime_ns = inode.ctime_ns = inode.btime_ns = wall_ns();
    inode.name = name;
    return inode;
}

/// The name, and with it what Edit::bury says.
Result<Inode> take_away(Edit& edit, Ino parent, std::string_view name, Inode inode) {
    const std::int64_t now = wall_ns();
    const int subdirectories = inode.is_directory() ? 1 : 0;
    if (Status removed = edit.remove_dentry(parent, name); !removed) return removed.error();
    const Status touched = edit.touch_directory(parent, -1, -subdirectories, now);
    if (!touched) return touched.error();
    return edit.bury(std::move(inode), now);
}

}  // namespace

Result<Inode> Namespace::lookup(Ino parent, std::string_view name) const {
    if (Status checked = check_name(name); !checked) return checked.error();
    return impl_->read([&](const View& view) { return view.child(parent, name); });
}

Result<Inode> Namespace::get(Ino ino) const {
    return impl_->read([&](const View& view) { return view.inode(ino); });
}

Result<Inode> Namespace::create(Ino parent, std::string_view name, const NewInode& what) {
    if (name == "." || name == "..") return Error{EEXIST};
    if (Status checked = check_name(name); !checked) return checked.error();
    if (Status checked = check_new(what); !checked) return checked.error();
    return impl_->write([&](Edit& edit) -> Result<Inode> {
        const Result<Inode> directory = edit.directory(parent);
        if (!directory) return directory.error();
        const Result<Inode> taken = edit.child(parent, name);
        if (taken) return Error{EEXIST};
        if (taken.error().code != ENOENT) return taken.error();

        const Result<Ino> ino = impl_->new_ino();
        if (!ino) return ino.error();
        Inode inode = make_inode(*ino, *directory, name, what);
        if (Status added = edit.add(inode); !added) return added.error();
        if (inode.is_regular()) {
            Status marked = edit.mark_unplaced(inode.ino);
            if (marked) marked = edit.remind_of_expiry(inode);
            if (!marked) return marked.error();
        }
        if (inode.is_symlink()) {
            const Status put =
                edit.write().put(edit.tables().xattrs, Key(inode.ino), what.symlink_target);
            if (!put) return put.error();
        }
        return inode;
    });
}

Result<Inode> Namespace::unlink(Ino parent, std::string_view name) {
    if (Status checked = check_name(name); !checked) return checked.error();
    return impl_->write(
        [&](Edit& edit) -> Result<Inode> {
            Result<Inode> inode = edit.child(parent, name);
            if (!inode) return inode;
            if (inode->is_directory()) return Error{EISDIR};
            return take_away(edit, parent, name, std::move(*inode));
        },
        WriteTransaction::kRoomToRemove);
}

Result<Inode> Namespace::rmdir(Ino parent, std::string_view name) {
    if (name == "..") return Error{ENOTEMPTY};
    if (Status checked = check_name(name); !checked) return checked.error();
    return impl_->write(
        [&](Edit& edit) -> Result<Inode> {
            Result<Inode> inode = edit.child(parent, name);
            if (!inode) return inode;
            if (!inode->is_directory()) return Error{ENOTDIR};
            if (inode->size != 0) return Error{ENOTEMPTY};
            return take_away(edit, parent, name, std::move(*inode));
        },
        WriteTransaction::kRoomToRemove);
}

Status Namespace::erase(Ino ino) {
    return impl_->write(
        [&](Edit& edit) -> Status {
            const Result<Inode> inode = edit.inode(ino);
            if (!inode && inode.error().code == ENOENT) return {};
            if (inode && inode->nlink != 0) {
                return Error{EINVAL, "inode " + std::to_string(ino) + " still has a name"};
            }
            return edit.forget(ino);  // also one that cannot be read
        },
        WriteTransaction::kRoomToRemove);
}

Result<Inode> Namespace::remove(Ino ino) {
    return impl_->write(
        [&](Edit& edit) -> Result<Inode> {
            Result<Inode> inode = edit.inode(ino);
            if (!inode) return inode;
            if (inode->is_directory()) return Error{EISDIR};
            if (inode->parent != 0) {
                Result<Inode> buried = take_away(edit, inode->parent, inode->name, *inode);
                if (!buried) return buried;
            }
            if (Status forgotten = edit.forget(ino); !forgotten) return forgotten.error();
            return inode;
        },
        WriteTransaction::kRoomToRemove);
}

Result<Inode> Namespace::create_unnamed(const NewInode& what) {
    if (!S_ISREG(what.mode)) return Error{EINVAL};
    return impl_->write([&](Edit& edit) -> Result<Inode> {
        const Result<Ino> ino = impl_->new_ino();
        if (!ino) return ino.error();
        Inode inode = make_inode(*ino, Inode{}, "", what);
        inode.nlink = 0;
        if (Status put = edit.append_inode(inode); !put) return put.error();
        Status marked = edit.mark_orphan(inode.ino);
        if (marked) marked = edit.mark_unplaced(inode.ino);
        if (!marked) return marked.error();
        return inode;
    });
}

Result<std::vector<Inode>> Namespace::unsettled() const {
    return impl_->read([&](const View& view) -> Result<std::vector<Inode>> {
        std::vector<Inode> found;
        for (const MDB_dbi table : {view.tables().orphans, view.tables().unplaced}) {
            Result<Cursor> cursor = Cursor::open(view.txn(), table);
            if (!cursor) return cursor.error();
            auto row = cursor->seek(Key(0));
            for (; row; row = cursor->next()) {
                Result<Inode> inode = view.inode(record::ino_of(row->key));
                if (!inode) return inode.error();
                const bool seen = table == view.tables().unplaced && inode->nlink == 0;
                if (!seen) found.push_back(std::move(*inode));
            }
            if (row.error().code != ENOENT) return row.error();
        }
        return found;
    });
}

Result<std::string> Namespace::symlink_target(Ino ino) const {
    return impl_->read([&](const View& view) -> Result<std::string> {
        const Result<Inode> inode = view.inode(ino);
        if (!inode) return inode.error();
        if (!inode->is_symlink()) return Error{EINVAL};
        const Result<std::string_view> target = view.txn().find(view.tables().xattrs, Key(ino));
        if (!target) return Error{EIO, "symlink " + std::to_string(ino) + " has no target"};
        return std::string(*target);
    });
}

Result<Inode> Namespace::change(Ino ino, const Change& change) {
    constexpr std::uint32_t kPermissions = 07777;
    return impl_->write([&](Edit& edit) -> Result<Inode> {
        Result<Inode> inode = edit.inode(ino);
        if (!inode) return inode;
        if (change.size) {
            if (inode->is_directory()) return Error{EISDIR};
            if (!inode->is_regular()) return Error{EINVAL};
            inode->size = *change.size;
        }
        if (change.mode) inode->mode = (inode->mode & S_IFMT) | (*change.mode & kPermissions);
        if (change.uid) inode->uid = *change.uid;
        if (change.gid) inode->gid = *change.gid;
        if (change.atime_ns) inode->atime_ns = *change.atime_ns;
        if (change.mtime_ns) inode->mtime_ns = *change.mtime_ns;
        if (change.pinned) inode->pinned = *change.pinned;
        if (change.scratch) inode->scratch = *change.scratch;
        if (change.priority) inode->priority = *change.priority;
        if (change.chain_parent) inode->chain_parent = *change.chain_parent;
        if (change.soft_quota || change.hard_quota) {
            if (!inode->is_volume()) return Error{EPERM};
            inode->soft_quota = change.soft_quota.value_or(inode->soft_quota);
            inode->hard_quota = change.hard_quota.value_or(inode->hard_quota);
            if (inode->hard_quota != 0 && inode->soft_quota > inode->hard_quota)
                return Error{EINVAL, "a soft quota above the hard one"};
        }
        if (change.ttl_s) {
            inode->ttl_s = *change.ttl_s;
            if (Status put = edit.remind_of_expiry(*inode); !put) return put.error();
        }
        inode->ctime_ns = wall_ns();
        if (Status put = edit.put_inode(*inode); !put) return put.error();
        return inode;
    });
}

Status Namespace::record_uses(const std::vector<Use>& uses) {
    // A transaction has at most two pages a use to write, and LMDB's are bounded.
    constexpr std::size_t kAtOnce = 1024;
    constexpr std::uint64_t kRoom = 2 * kAtOnce * 4096;
    for (std::size_t from = 0; from < uses.size(); from += kAtOnce) {
        const std::size_t to = std::min(from + kAtOnce, uses.size());
        const auto some = [&](Edit& edit) -> Status {
            for (std::size_t i = from; i < to; ++i) {
                Result<Inode> inode = edit.inode(uses[i].ino);
                if (!inode && inode.error().code == ENOENT) continue;
                if (!inode) return inode.error();
                inode->hits += uses[i].hits;
                inode->atime_ns = std::max(inode->atime_ns, uses[i].atime_ns);
                if (Status put = edit.put_inode(*inode); !put) return put;
            }
            return {};
        };
        if (Status written = impl_->write(some, kRoom); !written) return written;
    }
    return {};
}

Status Namespace::list(Ino directory, std::string_view after,
                       const std::function<bool(const Entry&)>& visit) const {
    if (after.size() > record::kNameMax) return Error{ENAMETOOLONG};
    return impl_->read([&](const View& view) -> Status {
        if (const Result<Inode> there = view.directory(directory); !there) return there.error();
        Result<Cursor> cursor = Cursor::open(view.txn(), view.tables().dentries);
        if (!cursor) return cursor.error();
        std::string from(after);
        if (!from.empty()) from.push_back('\0');  // the least name above
        auto row = cursor->seek(Key(directory, from));
        for (; row && record::ino_of(row->key) == directory; row = cursor->next()) {
            const Result<record::Dentry> dentry = record::decode_dentry(row->value);
            if (!dentry) return dentry.error();
            if (!visit({record::name_of(row->key), dentry->ino, dentry->type})) return {};
        }
        if (!row && row.error().code != ENOENT) return row.error();
        return {};
    });
}

Result<std::string> Namespace::path(Ino ino) const {
    return impl_->read([&](const View& view) -> Result<std::string> {
        std::vector<std::string> names;
        for (Ino at = ino; at != kRootIno;) {
            Result<Inode> inode = view.inode(at);
            if (!inode) return inode.error();
            if (inode->parent == 0) return Error{ENOENT};
            at = inode->parent;
            names.push_back(std::move(inode->name));
        }
        std::string path;
        for (auto name = names.rbegin(); name != names.rend(); ++name) {
            if (!path.empty()) path += '/';
            path += *name;
        }
        return path;
    });
}

Namespace::Counts Namespace::counts() const {
    Counts counts;
    counts.bytes_on_disk = impl_->bytes_on_disk();
    static_cast<void>(impl_->read([&](const View& view) -> Status {
        const Result<std::uint64_t> all = view.txn().entries(view.tables().inodes);
        const Result<std::uint64_t> orphans = view.txn().entries(view.tables().orphans);
        if (!all || !orphans) return Error{EIO};
        counts.directories = view.directories();
        counts.files = *all - *orphans - counts.directories;
        return {};
    }));
    return counts;
}

}  // namespace kvfs
