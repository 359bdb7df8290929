#pragma once
#include <cstdint>
#include <string_view>

#include "fs/base/result.h"
#include "fs/names/inode.h"
#include "fs/names/lmdb.h"
#include "fs/names/record.h"

namespace kvfs {

/// Errors: ENOENT - empty; ENAMETOOLONG - over 255 bytes; EINVAL - "." or "..", or a '/' or NUL in
/// it.
Status check_name(std::string_view name);

/// Seconds since the epoch when a file with a time to live will not have been used for it.
std::int64_t expiry_s(const Inode& inode);

/// The volume of `child` as an entry of `directory`.
std::uint64_t volume_in(const Inode& directory, const Inode& child);

struct Tables {
    MDB_dbi dentries = 0;    ///< Key(parent, name) -> Dentry
    MDB_dbi inodes = 0;      ///< Key(inode) -> Inode
    MDB_dbi xattrs = 0;      ///< Key(inode, name) -> value; the empty name: a symlink's target
    MDB_dbi placements = 0;  ///< Key(inode) -> Placement
    MDB_dbi orphans = 0;     ///< Key(inode) -> nothing: a file that has no name
    MDB_dbi unplaced = 0;    ///< Key(inode) -> nothing: a regular file that has no placement
    MDB_dbi expiries = 0;    ///< Key(second, inode's Key) -> nothing: may be due then
    MDB_dbi meta = 0;        ///< "format", "directories" -> number

    static Result<Tables> open(lmdb::Environment& env);
};

/// The tables as one transaction sees them. Errors without a sentence: they are on hot paths.
class View {
  public:
    View(const Tables& tables, const lmdb::Transaction& txn) : tables_(tables), txn_(txn) {}

    Result<Inode> inode(Ino ino) const;  ///< Errors: ENOENT
    /// Errors: ENOENT, ENOTDIR.
    Result<Inode> directory(Ino ino) const;
    /// Errors: ENOENT - no such parent or entry; ENOTDIR - the parent is none.
    Result<Inode> child(Ino parent, std::string_view name) const;
    /// Errors: ENOENT.
    Result<Placement> placement(Ino ino) const;
    std::uint64_t directories() const;

    const Tables& tables() const { return tables_; }
    const lmdb::Transaction& txn() const { return txn_; }

  protected:
    const Tables& tables_;
    const lmdb::Transaction& txn_;
};

/// The steps that changes are made of. Each keeps the tables in accord with one another as far as
/// its sentence goes; a change that fails half-way is never committed.
class Edit : public View {
  public:
    Edit(const Tables& tables, lmdb::WriteTransaction& txn) : View(tables, txn), write_(txn) {}

    Status put_inode(const Inode& inode);
    /// As put_inode, quicker for a number above all others.
    Status append_inode(const Inode& inode);
    /// A new inode with its name, in the directory that it says.
    Status add(const Inode& inode);
    /// Points `parent`/`name` at the inode, replacing what it pointed at.
    Status put_dentry(Ino parent, std::string_view name, const Inode& inode);
    Status remove_dentry(Ino parent, std::string_view name);
    Status put_placement(Ino ino, const Placement& placement);
    /// A directory's entries and subdirectories have changed by so many, now.
    Status touch_directory(Ino directory, int entries, int subdirectories, std::int64_t now_ns);
    Status count_directories(int added);
    /// Inodes of files without a name; of regular files without bytes that outlive the daemon.
    Status mark_orphan(Ino ino);
    Status mark_unplaced(Ino ino);
    /// Of a file with a time to live: when to look whether it has passed.
    Status remind_of_expiry(const Inode& inode);
    Status remind(Ino ino, std::int64_t at_s);
    /// `inode` has lost its dentry: a directory goes with all that is kept of it, anything else
    /// becomes an orphan. Returns it with nlink 0 and parent 0.
    Result<Inode> bury(Inode inode, std::int64_t now_ns);
    /// Removes all that is kept of an inode, except a dentry.
    Status forget(Ino ino);

    lmdb::WriteTransaction& write() { return write_; }

  private:
    lmdb::WriteTransaction& write_;
};

}  // namespace kvfs
