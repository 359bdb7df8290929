#include "fs/base/clock.h"
#include "fs/names/namespace_impl.h"

namespace kvfs {

using lmdb::Cursor;
using record::Key;

namespace {

constexpr std::size_t kValueMax = 64 << 10;

/// The empty name is not the callers': a symlink's target is there.
Status check_xattr_name(std::string_view name) {
    if (name.empty() || name.size() > record::kNameMax) return Error{ERANGE};
    return {};
}

Status touch(Edit& edit, Inode inode) {
    inode.ctime_ns = wall_ns();
    return edit.put_inode(inode);
}

}  // namespace

Status Namespace::set_xattr(Ino ino, std::string_view name, std::string_view value,
                            XattrMode mode) {
    if (Status checked = check_xattr_name(name); !checked) return checked;
    if (value.size() > kValueMax) return Error{E2BIG};
    return impl_->write([&](Edit& edit) -> Status {
        Result<Inode> inode = edit.inode(ino);
        if (!inode) return inode.error();
        const MDB_dbi table = edit.tables().xattrs;
        const Result<std::string_view> old = edit.txn().find(table, Key(ino, name));
        if (!old && old.error().code != ENOENT) return old.error();
        if (old && mode == XattrMode::create_only) return Error{EEXIST};
        if (!old && mode == XattrMode::replace_only) return Error{ENODATA};
        if (Status put = edit.write().put(table, Key(ino, name), value); !put) return put;
        return touch(edit, std::move(*inode));
    });
}

Result<std::string> Namespace::xattr(Ino ino, std::string_view name) const {
    if (Status checked = check_xattr_name(name); !checked) return checked.error();
    return impl_->read([&](const View& view) -> Result<std::string> {
        const Result<std::string_view> value =
            view.txn().find(view.tables().xattrs, Key(ino, name));
        if (value) return std::string(*value);
        if (value.error().code != ENOENT) return value.error();
        const Result<Inode> inode = view.inode(ino);
        return inode ? Error{ENODATA} : inode.error();
    });
}

Result<std::vector<std::string>> Namespace::xattrs(Ino ino) const {
    return impl_->read([&](const View& view) -> Result<std::vector<std::string>> {
        if (const Result<Inode> inode = view.inode(ino); !inode) return inode.error();
        Result<Cursor> cursor = Cursor::open(view.txn(), view.tables().xattrs);
        if (!cursor) return cursor.error();
        std::vector<std::string> names;
        auto row = cursor->seek(Key(ino));
        for (; row && record::ino_of(row->key) == ino; row = cursor->next()) {
            const std::string_view name = record::name_of(row->key);
            if (!name.empty()) names.emplace_back(name);
        }
        if (!row && row.error().code != ENOENT) return row.error();
        return names;
    });
}

Status Namespace::remove_xattr(Ino ino, std::string_view name) {
    if (Status checked = check_xattr_name(name); !checked) return checked;
    return impl_->write(
        [&](Edit& edit) -> Status {
            Result<Inode> inode = edit.inode(ino);
            if (!inode) return inode.error();
            const MDB_dbi table = edit.tables().xattrs;
            const Result<std::string_view> old = edit.txn().find(table, Key(ino, name));
            if (!old) return old.error().code == ENOENT ? Error{ENODATA} : old.error();
            if (Status gone = edit.write().remove(table, Key(ino, name)); !gone) return gone;
            return touch(edit, std::move(*inode));
        },
        lmdb::WriteTransaction::kRoomToRemove);
}

}  // namespace kvfs
