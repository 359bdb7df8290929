#include "fs/names/namespace_impl.h"

namespace kvfs {

using lmdb::Cursor;
using lmdb::WriteTransaction;
using record::Key;

namespace {

/// The next inode is most often the one that is wanted: a step is cheaper than a search.
void advance_to(Cursor& inodes, Result<Cursor::Row>& row, Ino ino) {
    constexpr int kSteps = 4;
    for (int i = 0; row && record::ino_of(row->key) < ino; ++i)
        row = i < kSteps ? inodes.next() : inodes.seek(Key(ino));
}

/// One transaction's part of a scan: visits what comes from inode `from` on, and returns where the
/// next part goes on; 0: nowhere.
Result<Ino> scan_some(const View& view, Ino from,
                      const std::function<bool(const Inode&, const Placement&)>& visit) {
    constexpr int kAtOnce = 1024;
    Result<Cursor> cursor = Cursor::open(view.txn(), view.tables().placements);
    if (!cursor) return cursor.error();
    Result<Cursor> inodes = Cursor::open(view.txn(), view.tables().inodes);
    if (!inodes) return inodes.error();
    auto row = cursor->seek(Key(from));
    auto beside = inodes->seek(Key(from));
    for (int i = 0; row; row = cursor->next(), ++i) {
        const Ino ino = record::ino_of(row->key);
        if (i == kAtOnce) return ino;
        const Result<Placement> placement = record::decode_placement(ino, row->value);
        if (placement && placement->store_uid == 0) continue;
        advance_to(*inodes, beside, ino);
        const Result<Inode> inode = beside && record::ino_of(beside->key) == ino
                                        ? record::decode_inode(ino, beside->value)
                                        : Error{ENOENT};
        if (!placement || !inode) continue;
        if (!visit(*inode, *placement)) return Ino{0};
    }
    if (row.error().code != ENOENT) return row.error();
    return Ino{0};
}

}  // namespace

Result<Placement> Namespace::placement(Ino ino) const {
    return impl_->read([&](const View& view) { return view.placement(ino); });
}

Status Namespace::set_placement(Ino ino, const std::optional<Placement>& placement) {
    const auto set = [&](Edit& edit) -> Status {
        Result<Inode> inode = edit.inode(ino);
        if (!inode) return inode.error();
        if (!inode->is_regular()) return Error{EINVAL};
        if (!placement) {
            if (Status marked = edit.mark_unplaced(ino); !marked) return marked;
            return edit.write().remove(edit.tables().placements, Key(ino));
        }
        Status unmarked = edit.write().remove(edit.tables().unplaced, Key(ino));
        if (!unmarked) return unmarked;
        inode->size = placement->size;
        if (Status put = edit.put_inode(*inode); !put) return put;
        return edit.put_placement(ino, *placement);
    };
    if (!placement) return impl_->write(set, WriteTransaction::kRoomToRemove);
    return impl_->write(set, lmdb::room_for(placement->chunk_crcs.size() * sizeof(std::uint32_t)));
}

Status Namespace::scan_placements(const std::function<bool(const Inode&, const Placement&)>& visit,
                                  Ino from) const {
    while (from != 0) {
        // A snapshot of all would keep the pages of every change made during a long scan.
        const Result<Ino> next =
            impl_->read([&](const View& view) { return scan_some(view, from, visit); });
        if (!next) return next.error();
        from = *next;
    }
    return {};
}

}  // namespace kvfs
