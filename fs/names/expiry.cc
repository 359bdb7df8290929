// Files that go when they have not been used for a while.
//
// A reminder says when to look, not that the file is to go: it is made when the file gets its time,
// and moved only when it comes up, so that using a file costs nothing here.
#include "fs/names/namespace_impl.h"

namespace kvfs {

using lmdb::Cursor;
using record::Key;

namespace {

/// What could not go is looked at again after so long.
constexpr std::int64_t kAgainAfter_s = 10;

struct Reminder {
    std::int64_t at_s = 0;
    Ino ino = 0;
};

Result<std::vector<Reminder>> due(const View& view, std::int64_t now_s, std::size_t most) {
    Result<Cursor> cursor = Cursor::open(view.txn(), view.tables().expiries);
    if (!cursor) return cursor.error();
    std::vector<Reminder> found;
    auto row = cursor->seek(Key(0));
    for (; row && found.size() < most; row = cursor->next()) {
        const auto at_s = static_cast<std::int64_t>(record::ino_of(row->key));
        if (at_s > now_s) return found;
        found.push_back({at_s, record::ino_of(record::name_of(row->key))});
    }
    if (!row && row.error().code != ENOENT) return row.error();
    return found;
}

}  // namespace

Result<std::vector<Inode>> Namespace::expired(std::int64_t now_ns, std::size_t most) {
    const std::int64_t now_s = now_ns / 1'000'000'000;
    const auto reminders = impl_->read([&](const View& view) { return due(view, now_s, most); });
    if (!reminders) return reminders.error();
    if (reminders->empty()) return std::vector<Inode>{};
    // Two tables' pages for each.
    const std::uint64_t room = lmdb::room_for(2 * 4096 * reminders->size());
    return impl_->write(
        [&](Edit& edit) -> Result<std::vector<Inode>> {
            std::vector<Inode> found;
            for (const Reminder& reminder : *reminders) {
                const Key key(reminder.ino);
                const Key at(static_cast<Ino>(reminder.at_s), key);
                Status done = edit.write().remove(edit.tables().expiries, at);
                if (!done) return done.error();
                Result<Inode> inode = edit.inode(reminder.ino);
                if (!inode && inode.error().code != ENOENT) return inode.error();
                if (!inode || inode->ttl_s == 0) continue;
                const std::int64_t at_s = expiry_s(*inode);
                done = edit.remind(inode->ino, at_s > now_s ? at_s : now_s + kAgainAfter_s);
                if (!done) return done.error();
                if (at_s <= now_s) found.push_back(std::move(*inode));
            }
            return found;
        },
        room);
}

}  // namespace kvfs
