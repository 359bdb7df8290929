#include "fs/names/tables.h"

#include <algorithm>
#include <string>
#include <utility>

namespace kvfs {

using record::Key;

namespace {

std::string_view bytes(const auto& array) { return {array.data(), array.size()}; }

constexpr std::string_view kDirectories = "directories";

}  // namespace

Status check_name(std::string_view name) {
    if (name.empty()) return Error{ENOENT};
    if (name.size() > record::kNameMax) return Error{ENAMETOOLONG};
    if (name == "." || name == "..") return Error{EINVAL};
    for (const char c : name) {
        if (c == '/' || c == '\0') return Error{EINVAL};
    }
    return {};
}

std::uint64_t volume_in(const Inode& directory, const Inode& child) {
    if (directory.ino != kRootIno) return directory.volume;
    return child.is_directory() ? child.ino : kRootIno;
}

std::int64_t expiry_s(const Inode& inode) {
    const std::int64_t used_s = std::max(inode.atime_ns, inode.mtime_ns) / 1'000'000'000;
    return std::max<std::int64_t>(used_s, 0) + inode.ttl_s;
}

Result<Tables> Tables::open(lmdb::Environment& env) {
    Tables tables;
    const std::pair<const char*, MDB_dbi*> all[] = {
        {"dentries", &tables.dentries}, {"inodes", &tables.inodes},
        {"xattrs", &tables.xattrs},     {"placements", &tables.placements},
        {"orphans", &tables.orphans},   {"unplaced", &tables.unplaced},
        {"expiries", &tables.expiries}, {"meta", &tables.meta},
    };
    for (const auto& [name, table] : all) {
        const Result<MDB_dbi> opened = env.table(name);
        if (!opened) return opened.error();
        *table = *opened;
    }
    return tables;
}

Result<Inode> View::inode(Ino ino) const {
    const Result<std::string_view> value = txn_.find(tables_.inodes, Key(ino));
    if (!value) return value.error();
    return record::decode_inode(ino, *value);
}

Result<Inode> View::directory(Ino ino) const {
    Result<Inode> found = inode(ino);
    if (found && !found->is_directory()) return Error{ENOTDIR};
    return found;
}

Result<Inode> View::child(Ino parent, std::string_view name) const {
    const Result<std::string_view> value = txn_.find(tables_.dentries, Key(parent, name));
    if (!value) {
        // Only now the parent matters: what has entries is a directory.
        if (value.error().code != ENOENT) return value.error();
        const Result<Inode> directory_there = directory(parent);
        return directory_there ? Error{ENOENT} : directory_there.error();
    }
    const Result<record::Dentry> dentry = record::decode_dentry(*value);
    if (!dentry) return dentry.error();
    Result<Inode> found = inode(dentry->ino);
    if (!found && found.error().code == ENOENT) {
        return Error{EIO, "entry of inode " + std::to_string(parent) + " leads nowhere"};
    }
    return found;
}

Result<Placement> View::placement(Ino ino) const {
    const Result<std::string_view> value = txn_.find(tables_.placements, Key(ino));
    if (!value) return value.error();
    return record::decode_placement(ino, *value);
}

std::uint64_t View::directories() const {
    const Result<std::string_view> value = txn_.find(tables_.meta, kDirectories);
    if (!value) return 0;
    const Result<std::uint64_t> number = record::decode_number(*value);
    return number ? *number : 0;
}

Status Edit::put_inode(const Inode& inode) {
    return write_.put(tables_.inodes, Key(inode.ino), record::encode(inode));
}

Status Edit::append_inode(const Inode& inode) {
    return write_.append(tables_.inodes, Key(inode.ino), record::encode(inode));
}

Status Edit::add(const Inode& inode) {
    if (Status appended = append_inode(inode); !appended) return appended;
    if (Status put = put_dentry(inode.parent, inode.name, inode); !put) return put;
    const int subdirectories = inode.is_directory() ? 1 : 0;
    if (subdirectories != 0) {
        if (Status counted = count_directories(1); !counted) return counted;
    }
    return touch_directory(inode.parent, 1, subdirectories, inode.ctime_ns);
}

Status Edit::put_dentry(Ino parent, std::string_view name, const Inode& inode) {
    const auto value = record::encode(record::Dentry{inode.ino, inode.mode & S_IFMT});
    return write_.put(tables_.dentries, Key(parent, name), bytes(value));
}

Status Edit::remove_dentry(Ino parent, std::string_view name) {
    return write_.remove(tables_.dentries, Key(parent, name));
}

Status Edit::put_placement(Ino ino, const Placement& placement) {
    return write_.put(tables_.placements, Key(ino), record::encode(placement));
}

Status Edit::touch_directory(Ino ino, int entries, int subdirectories, std::int64_t now_ns) {
    Result<Inode> found = directory(ino);
    if (!found) return found.error();
    found->size += static_cast<std::uint64_t>(entries);  // wraps as it should for negative ones
    found->nlink += static_cast<std::uint32_t>(subdirectories);
    found->mtime_ns = found->ctime_ns = now_ns;
    return put_inode(*found);
}

Status Edit::count_directories(int added) {
    const auto value = record::encode_number(directories() + static_cast<std::uint64_t>(added));
    return write_.put(tables_.meta, kDirectories, bytes(value));
}

Status Edit::mark_orphan(Ino ino) { return write_.put(tables_.orphans, Key(ino), {}); }

Status Edit::mark_unplaced(Ino ino) { return write_.put(tables_.unplaced, Key(ino), {}); }

Status Edit::remind_of_expiry(const Inode& inode) {
    if (inode.ttl_s == 0 || !inode.is_regular()) return {};
    return remind(inode.ino, expiry_s(inode));
}

Status Edit::remind(Ino ino, std::int64_t at_s) {
    const Key key(ino);
    return write_.put(tables_.expiries, Key(static_cast<Ino>(at_s), key), {});
}

Result<Inode> Edit::bury(Inode inode, std::int64_t now_ns) {
    inode.parent = 0;
    inode.nlink = 0;
    inode.ctime_ns = now_ns;
    if (inode.is_directory()) {
        if (Status counted = count_directories(-1); !counted) return counted.error();
        if (Status forgotten = forget(inode.ino); !forgotten) return forgotten.error();
        return inode;
    }
    if (Status put = put_inode(inode); !put) return put.error();
    if (Status marked = mark_orphan(inode.ino); !marked) return marked.error();
    return inode;
}

Status Edit::forget(Ino ino) {
    const Key key(ino);
    for (const MDB_dbi table :
         {tables_.inodes, tables_.placements, tables_.orphans, tables_.unplaced}) {
        if (Status removed = write_.remove(table, key); !removed) return removed;
    }
    Result<lmdb::Cursor> cursor = lmdb::Cursor::open(txn_, tables_.xattrs);
    if (!cursor) return cursor.error();
    for (auto row = cursor->seek(key); row && record::ino_of(row->key) == ino;
         row = cursor->next()) {
        if (Status removed = cursor->remove(); !removed) return removed;
    }
    return {};
}

}  // namespace kvfs
