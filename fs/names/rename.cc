#include <algorithm>
#include <utility>

#include "fs/base/clock.h"
#include "fs/names/namespace_impl.h"

namespace kvfs {
namespace {

using Flag = Namespace::RenameFlag;

/// A rename with all that it is about, read in its own transaction.
struct Move {
    Inode directory;  ///< that `source` is in
    Inode new_directory;
    std::string new_name;
    Inode source;
    std::optional<Inode> target;

    bool changes_volume() const { return volume_in(new_directory, source) != source.volume; }
    bool target_changes_volume() const { return volume_in(directory, *target) != target->volume; }
};

int subdirectories(const Inode& inode) { return inode.is_directory() ? 1 : 0; }

/// Whether `ino` is `ancestor` or below it.
Result<bool> is_within(const Edit& edit, Ino ino, Ino ancestor) {
    while (ino != ancestor) {
        if (ino == kRootIno) return false;
        const Result<Inode> inode = edit.inode(ino);
        if (!inode) return inode.error();
        ino = inode->parent;
    }
    return true;
}

Result<Move> read_move(const Edit& edit, Ino parent, std::string_view name, Ino new_parent,
                       std::string_view new_name) {
    Move move;
    Result<Inode> source = edit.child(parent, name);
    if (!source) return source.error();
    Result<Inode> directory = edit.directory(parent);
    if (!directory) return directory.error();
    Result<Inode> new_directory = edit.directory(new_parent);
    if (!new_directory) return new_directory.error();
    Result<Inode> target = edit.child(new_parent, new_name);
    if (!target && target.error().code != ENOENT) return target.error();

    move.source = std::move(*source);
    move.directory = std::move(*directory);
    move.new_directory = std::move(*new_directory);
    move.new_name = new_name;
    if (target) move.target = std::move(*target);
    return move;
}

Status check_not_into_itself(const Edit& edit, const Move& move, Flag flag) {
    if (move.source.is_directory()) {
        const Result<bool> within = is_within(edit, move.new_directory.ino, move.source.ino);
        if (!within) return within.error();
        if (*within) return Error{EINVAL};
    }
    if (flag == Flag::exchange && move.target->is_directory()) {
        const Result<bool> within = is_within(edit, move.directory.ino, move.target->ino);
        if (!within) return within.error();
        if (*within) return Error{EINVAL};
    }
    return {};
}

Status check_move(const Edit& edit, const Move& move, Flag flag) {
    if (flag == Flag::no_replace && move.target) return Error{EEXIST};
    if (flag == Flag::exchange && !move.target) return Error{ENOENT};
    if (Status checked = check_not_into_itself(edit, move, flag); !checked) return checked;
    if (flag == Flag::replace && move.target) {
        if (move.source.is_directory() && !move.target->is_directory()) return Error{ENOTDIR};
        if (!move.source.is_directory() && move.target->is_directory()) return Error{EISDIR};
        if (move.target->is_directory() && move.target->size != 0) return Error{ENOTEMPTY};
    }
    // What is below a directory has its volume in its own record: there is no moving it all at
    // once.
    const auto has_entries = [](const Inode& inode) {
        return inode.is_directory() && inode.size != 0;
    };
    if (has_entries(move.source) && move.changes_volume()) return Error{EXDEV};
    if (flag == Flag::exchange && has_entries(*move.target) && move.target_changes_volume()) {
        return Error{EXDEV};
    }
    return {};
}

/// Gives `inode` its new name; the entry that was there, if any, is overwritten.
Status place(Edit& edit, Inode& inode, const Inode& directory, std::string name, std::int64_t now) {
    inode.volume = volume_in(directory, inode);
    inode.parent = directory.ino;
    inode.name = std::move(name);
    inode.ctime_ns = now;
    if (!inode.is_volume()) inode.soft_quota = inode.hard_quota = 0;
    if (Status put = edit.put_inode(inode); !put) return put;
    return edit.put_dentry(inode.parent, inode.name, inode);
}

Result<Namespace::Renamed> exchange(Edit& edit, Move move) {
    Namespace::Renamed renamed;
    const std::int64_t now = wall_ns();
    renamed.volume_changed = move.changes_volume() || move.target_changes_volume();
    const int gained = subdirectories(*move.target) - subdirectories(move.source);
    std::string old_name = move.source.name;
    Status done = place(edit, move.source, move.new_directory, std::move(move.new_name), now);
    if (done) done = place(edit, *move.target, move.directory, std::move(old_name), now);
    if (done) done = edit.touch_directory(move.directory.ino, 0, gained, now);
    if (done) done = edit.touch_directory(move.new_directory.ino, 0, -gained, now);
    if (!done) return done.error();
    renamed.moved = std::move(move.source);
    renamed.exchanged = std::move(*move.target);
    return renamed;
}

Result<Namespace::Renamed> replace(Edit& edit, Move move) {
    Namespace::Renamed renamed;
    const std::int64_t now = wall_ns();
    renamed.volume_changed = move.changes_volume();
    if (move.target) {
        const int gone = subdirectories(*move.target);
        Result<Inode> buried = edit.bury(std::move(*move.target), now);
        if (!buried) return buried.error();
        renamed.replaced = std::move(*buried);
        const Status touched = edit.touch_directory(move.new_directory.ino, -1, -gone, now);
        if (!touched) return touched.error();
    }
    const int moved = subdirectories(move.source);
    Status done = edit.remove_dentry(move.source.parent, move.source.name);
    if (done) done = place(edit, move.source, move.new_directory, std::move(move.new_name), now);
    if (done) done = edit.touch_directory(move.directory.ino, -1, -moved, now);
    if (done) done = edit.touch_directory(move.new_directory.ino, 1, moved, now);
    if (!done) return done.error();
    renamed.moved = std::move(move.source);
    return renamed;
}

}  // namespace

Result<Namespace::Renamed> Namespace::give_name(Ino ino, Ino parent, std::string_view name) {
    if (Status checked = check_name(name); !checked) return checked.error();
    return impl_->write([&](Edit& edit) -> Result<Renamed> {
        Result<Inode> unnamed = edit.inode(ino);
        if (!unnamed) return unnamed.error();
        if (unnamed->nlink != 0) return Error{EINVAL, "it has a name"};
        const Result<Inode> directory = edit.directory(parent);
        if (!directory) return directory.error();
        Result<Inode> target = edit.child(parent, name);
        if (!target && target.error().code != ENOENT) return target.error();
        if (target && target->is_directory()) return Error{EISDIR};

        Renamed renamed;
        const std::int64_t now = wall_ns();
        if (target) {
            Result<Inode> buried = edit.bury(std::move(*target), now);
            if (!buried) return buried.error();
            renamed.replaced = std::move(*buried);
        }
        unnamed->nlink = 1;
        unnamed->ttl_s = directory->ttl_s;
        unnamed->priority = directory->priority;
        Status done = edit.write().remove(edit.tables().orphans, record::Key(ino));
        if (done) done = edit.remind_of_expiry(*unnamed);
        if (done) done = place(edit, *unnamed, *directory, std::string(name), now);
        if (done) done = edit.touch_directory(parent, renamed.replaced ? 0 : 1, 0, now);
        if (!done) return done.error();
        renamed.moved = std::move(*unnamed);
        return renamed;
    });
}

Result<Namespace::Renamed> Namespace::rename(Ino parent, std::string_view name, Ino new_parent,
                                             std::string_view new_name, RenameFlag flag) {
    if (Status checked = check_name(name); !checked) return checked.error();
    if (Status checked = check_name(new_name); !checked) return checked.error();
    return impl_->write([&](Edit& edit) -> Result<Renamed> {
        Result<Move> move = read_move(edit, parent, name, new_parent, new_name);
        if (!move) return move.error();
        const bool same = move->target && move->target->ino == move->source.ino;
        if (same && flag != Flag::no_replace) {
            Renamed nothing;
            nothing.moved = std::move(move->source);
            return nothing;
        }
        if (Status checked = check_move(edit, *move, flag); !checked) return checked.error();
        if (flag == Flag::exchange) return exchange(edit, std::move(*move));
        return replace(edit, std::move(*move));
    });
}

}  // namespace kvfs
