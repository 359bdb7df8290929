// Whether the tables are in accord with one another, and how they are made so again.
#include <unordered_map>

#include "fs/names/namespace_impl.h"

namespace kvfs {

using lmdb::Cursor;
using record::Key;
using Fault = Namespace::Fault;

namespace {

/// Calls `visit` for every row of `table`. Errors: EIO.
template <typename Visit>
Status for_each_row(const View& view, MDB_dbi table, Visit visit) {
    Result<Cursor> cursor = Cursor::open(view.txn(), table);
    if (!cursor) return cursor.error();
    auto row = cursor->seek(Key(0));
    for (; row; row = cursor->next()) visit(row->key, row->value);
    return row.error().code == ENOENT ? Status{} : Status(row.error());
}

/// One look through all tables, as one transaction sees them.
class Checking {
  public:
    explicit Checking(const View& view) : view_(view) {}

    Result<std::vector<Fault>> run() {
        const Tables& tables = view_.tables();
        const Status entries = for_each_row(view_, tables.dentries,
                                            [&](auto key, auto value) { check_entry(key, value); });
        if (!entries) return entries.error();
        const Status inodes = for_each_row(view_, tables.inodes,
                                           [&](auto key, auto value) { check_inode(key, value); });
        if (!inodes) return inodes.error();
        for (const MDB_dbi table :
             {tables.placements, tables.xattrs, tables.orphans, tables.unplaced}) {
            const Status rows = for_each_row(view_, table, [&](auto key, auto) { check_row(key); });
            if (!rows) return rows.error();
        }
        if (view_.directories() != directories_)
            faults_.push_back({.kind = Fault::Kind::wrong_total, .entries = directories_});
        return std::move(faults_);
    }

  private:
    struct Counts {
        std::uint64_t entries = 0, subdirectories = 0;
    };

    void check_entry(std::string_view key, std::string_view value) {
        const Ino parent = record::ino_of(key);
        const std::string_view name = record::name_of(key);
        const auto entry = record::decode_dentry(value);
        const auto inode = entry ? view_.inode(entry->ino) : entry.error();
        const bool damaged = entry && !inode && inode.error().code != ENOENT;
        const bool right = inode && inode->nlink > 0 && inode->parent == parent &&
                           inode->name == name && (inode->mode & S_IFMT) == entry->type &&
                           view_.directory(parent).ok();
        if (!right && !damaged) {
            faults_.push_back(
                {Fault::Kind::astray, entry ? entry->ino : 0, parent, std::string(name)});
            return;
        }
        // Of a damaged inode the entry is removed with it, once that is found.
        Counts& counts = counts_[parent];
        ++counts.entries;
        if (entry->type == S_IFDIR) ++counts.subdirectories;
    }

    void check_inode(std::string_view key, std::string_view value) {
        const Ino ino = record::ino_of(key);
        const auto inode = record::decode_inode(ino, value);
        if (!inode) {
            faults_.push_back({.kind = Fault::Kind::damaged, .ino = ino});
            return;
        }
        if (inode->is_directory()) ++directories_;
        if (ino == kRootIno) return check_counts(*inode);
        if (inode->nlink == 0) {
            faults_.push_back({.kind = Fault::Kind::unfinished, .ino = ino});
            return;
        }
        const auto entry =
            view_.txn().find(view_.tables().dentries, Key(inode->parent, inode->name));
        const auto led = entry ? record::decode_dentry(*entry) : entry.error();
        if (!led || led->ino != ino || !view_.directory(inode->parent)) {
            faults_.push_back({Fault::Kind::unlisted, ino, inode->parent, inode->name});
            return;
        }
        check_volume(*inode);
        if (inode->is_directory()) check_counts(*inode);
        if (inode->is_regular()) check_placement(*inode);
        if (inode->is_symlink()) check_target(*inode);
    }

    void check_counts(const Inode& directory) {
        const Counts counts = counts_[directory.ino];
        if (directory.size == counts.entries && directory.nlink == 2 + counts.subdirectories)
            return;
        faults_.push_back({.kind = Fault::Kind::wrong_counts,
                           .ino = directory.ino,
                           .entries = counts.entries,
                           .subdirectories = counts.subdirectories});
    }

    /// By where the inode is, and not by its directory's volume, which may be as wrong.
    void check_volume(const Inode& inode) {
        const Inode below = top_of(inode);
        if (below.parent != kRootIno) return;  // it is not below the root at all
        const Ino volume = below.is_directory() ? below.ino : kRootIno;
        if (inode.volume != volume)
            faults_.push_back(
                {.kind = Fault::Kind::wrong_volume, .ino = inode.ino, .volume = volume});
    }

    /// The ancestor that is in the root; another where directories are not below it, or too deep.
    Inode top_of(Inode inode) {
        constexpr int kDeepest = 4096;
        std::vector<Ino> way;
        for (int depth = 0; inode.parent != kRootIno && depth < kDeepest; ++depth) {
            const auto known = tops_.find(inode.parent);
            const auto above = view_.directory(known == tops_.end() ? inode.parent : known->second);
            if (!above) break;
            way.push_back(inode.parent);
            inode = *above;
        }
        for (const Ino directory : way) tops_[directory] = inode.ino;
        return inode;
    }

    void check_target(const Inode& symlink) {
        const auto target = view_.txn().find(view_.tables().xattrs, Key(symlink.ino));
        if (!target || target->empty() || target->size() != symlink.size)
            faults_.push_back({.kind = Fault::Kind::wrong_target, .ino = symlink.ino});
    }

    void check_placement(const Inode& file) {
        const auto placement = view_.placement(file.ino);
        if (placement) return;
        const auto kind =
            placement.error().code == ENOENT ? Fault::Kind::unfinished : Fault::Kind::damaged;
        faults_.push_back({.kind = kind, .ino = file.ino});
    }

    /// A row of one of the tables that say more of an inode.
    void check_row(std::string_view key) {
        const Ino ino = record::ino_of(key);
        if (ino == seen_) return;  // an inode's xattrs lie together
        seen_ = ino;
        const auto inode = view_.inode(ino);
        if (!inode && inode.error().code == ENOENT)
            faults_.push_back({.kind = Fault::Kind::stray, .ino = ino});
    }

    const View& view_;
    std::unordered_map<Ino, Counts> counts_;  ///< by directory, as its entries tell
    std::unordered_map<Ino, Ino> tops_;       ///< by directory: top_of() it
    std::uint64_t directories_ = 0;
    Ino seen_ = 0;
    std::vector<Fault> faults_;
};

/// The inode's entry as it says, if that can be; else all that is kept of it goes.
Status list_again(Edit& edit, const Fault& fault) {
    const Result<Inode> inode = edit.inode(fault.ino);
    if (!inode) return inode.error();
    const bool taken =
        edit.txn().find(edit.tables().dentries, Key(inode->parent, inode->name)).ok();
    const bool can_be = !taken && check_name(inode->name) && edit.directory(inode->parent);
    return can_be ? edit.put_dentry(inode->parent, inode->name, *inode) : edit.forget(fault.ino);
}

/// What is kept of a damaged file, with its entry.
Status forget_damaged(Edit& edit, Ino ino) {
    if (const Result<Inode> inode = edit.inode(ino))
        if (Status removed = edit.remove_dentry(inode->parent, inode->name); !removed)
            return removed;
    return edit.forget(ino);
}

Status set_volume(Edit& edit, const Fault& fault) {
    Result<Inode> inode = edit.inode(fault.ino);
    if (!inode) return inode.error();
    inode->volume = fault.volume;
    return edit.put_inode(*inode);
}

/// The target is believed, if there is one.
Status set_target_length(Edit& edit, Ino ino) {
    Result<Inode> symlink = edit.inode(ino);
    if (!symlink) return symlink.error();
    const auto target = edit.txn().find(edit.tables().xattrs, Key(ino));
    if (!target || target->empty()) return forget_damaged(edit, ino);
    symlink->size = target->size();
    return edit.put_inode(*symlink);
}

Status set_counts(Edit& edit, const Fault& fault) {
    Result<Inode> directory = edit.directory(fault.ino);
    if (!directory) return directory.error();
    directory->size = fault.entries;
    directory->nlink = static_cast<std::uint32_t>(2 + fault.subdirectories);
    return edit.put_inode(*directory);
}

}  // namespace

Result<std::vector<Fault>> Namespace::check() const {
    return impl_->read([](const View& view) { return Checking(view).run(); });
}

Status Namespace::mend(const Fault& fault) {
    if (fault.kind == Fault::Kind::unfinished) {
        const auto removed = remove(fault.ino);
        return removed || removed.error().code == ENOENT ? Status{} : Status(removed.error());
    }
    return impl_->write([&](Edit& edit) -> Status {
        switch (fault.kind) {
            case Fault::Kind::astray:
                return edit.remove_dentry(fault.parent, fault.name);
            case Fault::Kind::unlisted:
                return list_again(edit, fault);
            case Fault::Kind::wrong_counts:
                return set_counts(edit, fault);
            case Fault::Kind::wrong_total:
                return edit.count_directories(static_cast<int>(fault.entries) -
                                              static_cast<int>(edit.directories()));
            case Fault::Kind::wrong_volume:
                return set_volume(edit, fault);
            case Fault::Kind::wrong_target:
                return set_target_length(edit, fault.ino);
            case Fault::Kind::stray:
                return edit.forget(fault.ino);
            case Fault::Kind::damaged:
                return forget_damaged(edit, fault.ino);
            case Fault::Kind::unfinished:
                break;
        }
        return {};
    });
}

}  // namespace kvfs
