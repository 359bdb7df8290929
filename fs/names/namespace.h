#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/names/inode.h"

namespace kvfs {

/// The mount's names and attributes, in LMDB. Seven tables:
///
///     dentries    parent inode (8 bytes, big endian) + name  ->  inode, type
///     inodes      inode                                      ->  attributes
///     xattrs      inode (big endian) + name                  ->  value; no name: a symlink's
///     target placements  inode                                      ->  Placement of a sealed file
///     orphans     inode of a file that has no name           ->  nothing
///     unplaced    inode of a file that has no placement      ->  nothing
///     meta        format version, number of directories
///
/// and beside them a text file `state`: boot id, clean mark, first inode number not yet used.
///
/// Reading is done on the caller's thread against LMDB's snapshot, without a lock. Every change is
/// one transaction, visible to all once the call returns. The database is not synced by a change:
/// it survives the daemon's death (page cache), but a power loss only when closed clean before.
///
/// Nothing is loaded at start and nothing is kept in the heap. Permissions are not checked here.
/// Thread-safe. Errors are those of POSIX for the call, decided here (ENOENT, EEXIST, ENOTDIR,
/// ENOTEMPTY, EISDIR; for a name: ENAMETOOLONG - over 255 bytes, EINVAL - "." or "..", a '/' or a
/// NUL, ENOENT - empty), and for every change ENOSPC - the map or the disk under it is full, EROFS
/// - after close_clean(); EIO when LMDB fails.
///
/// A process must not fork and go on in the child with a Namespace that is open: daemonize first.
class Namespace {
  public:
    struct Options {
        std::string directory;  ///< made when missing
        std::uint64_t map_bytes = 256ULL
                                  << 30;  ///< address space for the database, at most this large;
                                          ///< data.mdb is a sparse file of that length
        std::string boot_id{};            ///< for tests; empty: the running kernel's
        /// Opens what is there, changes nothing, and refuses every change with EROFS. Errors:
        /// ENOENT - no database; EBADMSG - it cannot be trusted, the sentence says why.
        bool read_only = false;
        bool start_over = false;  ///< sets the database aside, whatever it is
    };

    /// Opens the database, or starts an empty one where there is none.
    ///
    /// A database that cannot be trusted is set aside as data.mdb.lost (replacing an older one),
    /// and an empty one is started, with needs_rebuild(): the machine went down while it was in use
    /// (another boot id, no clean mark), or it is damaged, or of a newer format. Inode numbers go
    /// on above all that were ever handed out. Errors: EBUSY - open elsewhere; others as open(2),
    /// ftruncate(2), mmap(2); all with a sentence that names the directory.
    static Result<std::unique_ptr<Namespace>> open(const Options& options);
    /// Leaves no clean mark: as if the daemon had died.
    ~Namespace();

    /// Whether the names are lost and to be filled in from the objects, by recover(). Stays so,
    /// over restarts, until finish_rebuild(): a rebuild that was cut short is done again.
    bool needs_rebuild() const;
    Status finish_rebuild();

    /// Errors: ENOENT, ENOTDIR.
    Result<Inode> lookup(Ino parent, std::string_view name) const;
    /// Orphans too. Errors: ENOENT.
    Result<Inode> get(Ino ino) const;

    struct NewInode {
        std::uint32_t mode = 0;  ///< with the type bits: S_IFREG, S_IFDIR or S_IFLNK
        std::uint32_t uid = 0;
        std::uint32_t gid = 0;
        std::string symlink_target{};
        Ino chain_parent = 0;
    };
    /// Errors: EEXIST, ENOENT (no such parent; empty symlink target), ENOTDIR, EINVAL (another
    /// type), ENAMETOOLONG (also a symlink target over 4095 bytes).
    Result<Inode> create(Ino parent, std::string_view name, const NewInode& what);

    /// Removes a file's or symlink's name. The inode stays as an orphan (nlink 0, parent 0) until
    /// erase(): its bytes may still be open. Returns the orphan. Errors: ENOENT, EISDIR.
    Result<Inode> unlink(Ino parent, std::string_view name);
    /// Removes an empty directory, at once. Returns what was removed, with nlink 0 and parent 0.
    /// Errors: ENOENT, ENOTEMPTY, ENOTDIR.
    Result<Inode> rmdir(Ino parent, std::string_view name);

    enum class RenameFlag { replace, no_replace, exchange };
    struct Renamed {
        Inode moved;
        std::optional<Inode> replaced;   ///< a file: now an orphan; a directory: gone
        std::optional<Inode> exchanged;  ///< with `exchange`: the other one, at its new place
        bool volume_changed = false;     ///< of `moved`, or of `exchanged`; a directory's quotas
                                         ///< do not go with it
    };
    /// Atomic, also over an existing target; xattrs travel with the inode. Errors: as rename(2) -
    /// ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL (a directory into itself); EXDEV when a
    /// non-empty directory would change its volume: what is below it stays where it is, so mv
    /// copies.
    Result<Renamed> rename(Ino parent, std::string_view name, Ino new_parent,
                           std::string_view new_name, RenameFlag flag);

    /// A regular file that has no name yet: an orphan until give_name(), and of volume 0 until
    /// then. Errors: EINVAL - another type.
    Result<Inode> create_unnamed(const NewInode& what);
    /// The orphan `ino` gets a name, replacing at once what had it. Errors: ENOENT, ENOTDIR; EISDIR
    /// - a directory has the name; EINVAL - the inode has a name.
    Result<Renamed> give_name(Ino ino, Ino parent, std::string_view name);
    /// Removes a file by its number, with its name when it has one, and forgets it. Returns what it
    /// was. Errors: ENOENT; EISDIR.
    Result<Inode> remove(Ino ino);

    /// Forgets an orphan: attributes, xattrs, placement. Absent is fine. Errors: EINVAL - it has a
    /// name.
    Status erase(Ino ino);
    /// What a daemon that died left unfinished: orphans, and files without a placement. For
    /// start-up.
    Result<std::vector<Inode>> unsettled() const;

    /// Errors: ENOENT; EINVAL - not a symlink.
    Result<std::string> symlink_target(Ino ino) const;

    /// What to change; unset stays. ctime becomes now. Errors: ENOENT; EISDIR, EINVAL - the size of
    /// a directory, of a symlink; EPERM - a quota of what is no volume; EINVAL - a soft quota above
    /// the hard one.
    struct Change {
        std::optional<std::uint32_t> mode{};  ///< permission bits only
        std::optional<std::uint32_t> uid{};
        std::optional<std::uint32_t> gid{};
        std::optional<std::uint64_t> size{};
        std::optional<std::int64_t> atime_ns{};
        std::optional<std::int64_t> mtime_ns{};
        std::optional<bool> pinned{};
        std::optional<bool> scratch{};
        std::optional<std::uint32_t> ttl_s{};
        std::optional<Priority> priority{};
        std::optional<Ino> chain_parent{};
        std::optional<std::uint64_t> soft_quota{};
        std::optional<std::uint64_t> hard_quota{};
    };
    Result<Inode> change(Ino ino, const Change& change);

    /// Files that have not been used for the time that they were given (Inode::ttl_s), at most
    /// `most`, the longest due first. Each is told again some seconds later while it is there. To
    /// be asked every second or so: what it costs depends on what is due, not on how many files
    /// there are.
    Result<std::vector<Inode>> expired(std::int64_t now_ns, std::size_t most);

    /// Uses of files since the last call, in few transactions: hits are added, atime is the later
    /// one. Does not touch ctime. Inodes that are gone are skipped.
    struct Use {
        Ino ino = 0;
        std::int64_t atime_ns = 0;
        std::uint64_t hits = 0;
    };
    Status record_uses(const std::vector<Use>& uses);

    /// One directory entry. Its name is where the next listing goes on: pass it as `after`.
    struct Entry {
        std::string_view name;  ///< valid during the call
        Ino ino = 0;
        std::uint32_t type = 0;  ///< S_IFREG, S_IFDIR or S_IFLNK
    };
    /// Calls `visit` for the entries of `directory` in name order that come after `after` (empty:
    /// from the start), until it returns false. A name that exists during the whole listing is seen
    /// exactly once, however many calls it takes; in one call all is seen as it was at its start.
    /// `.` and `..` are not listed. Errors: ENOTDIR, ENOENT.
    Status list(Ino directory, std::string_view after,
                const std::function<bool(const Entry&)>& visit) const;

    /// Path from the root without leading slash ("" for the root). Errors: ENOENT - gone or
    /// orphaned.
    Result<std::string> path(Ino ino) const;

    /// xattrs, any name the caller allows. `create_only` / `replace_only`: as XATTR_CREATE /
    /// _REPLACE (EEXIST, ENODATA). Setting and removing change ctime. Errors: ENOENT - no such
    /// inode; ENODATA; ERANGE - no name, or one over 255 bytes; E2BIG - value over 64 KiB.
    enum class XattrMode { any, create_only, replace_only };
    Status set_xattr(Ino ino, std::string_view name, std::string_view value, XattrMode mode);
    Result<std::string> xattr(Ino ino, std::string_view name) const;
    Result<std::vector<std::string>> xattrs(Ino ino) const;
    Status remove_xattr(Ino ino, std::string_view name);

    /// Errors: ENOENT - no record.
    Result<Placement> placement(Ino ino) const;
    /// Stores the record, and the inode's size with it; nullopt removes the record. ENOENT when the
    /// inode is gone. Errors: EINVAL - not a regular file.
    Status set_placement(Ino ino, const std::optional<Placement>& placement);
    /// Every file that a store has, from inode `from` on, orphans too, in inode order; stops when
    /// `visit` returns false. Damaged records are passed over: see check(). Not one snapshot: what
    /// changes meanwhile is seen before or after its change.
    Status scan_placements(const std::function<bool(const Inode&, const Placement&)>& visit,
                           Ino from = kRootIno) const;

    /// Recreates a file from what its object says of itself: missing directories on the way are
    /// made with the file's owner and mode 0700, so that a rebuild never widens access. The inode
    /// number is kept, and numbers handed out later are above it. Once more is fine. Errors: EEXIST
    /// - the path is another's, or the inode has another path; ENOTDIR - a file is in the way;
    /// EINVAL, ENAMETOOLONG, ENOENT - no such path can be; EINVAL - the root's number, or not a
    /// regular file's mode.
    struct Recovered {
        Ino ino = 0;
        std::string path;
        std::uint32_t mode = 0;
        std::uint32_t uid = 0;
        std::uint32_t gid = 0;
        std::int64_t mtime_ns = 0;
        Placement placement;
    };
    Status recover(const Recovered& file);

    /// Something in the tables that is not in accord with the rest. No change leaves such a thing
    /// behind; a bug or a bad disk may.
    struct Fault {
        enum class Kind {
            unfinished,    ///< a file without a name, or without a record of its bytes: what
                           ///< unsettled() tells of, and no damage
            astray,        ///< an entry that leads nowhere, or to an inode that is elsewhere
            unlisted,      ///< an inode that no entry leads to
            wrong_counts,  ///< a directory: entries, subdirectories
            wrong_total,   ///< number of directories
            wrong_volume,  ///< of an inode: not the top-level directory that it is below
            wrong_target,  ///< a symlink: without target, or not as long as that
            stray,         ///< a record, xattr or mark of an inode that is not there
            damaged,       ///< attributes or record do not decode
        };
        Kind kind;
        Ino ino = 0;
        Ino parent = 0;                                 ///< of the entry
        std::string name{};                             ///< of the entry
        std::uint64_t entries = 0, subdirectories = 0;  ///< as they should be; wrong_total: all
        std::uint64_t volume = 0;                       ///< as it should be
    };
    /// Looks through all tables. For fsck: nothing else may use the namespace meanwhile. Errors:
    /// EIO - the database cannot be read.
    Result<std::vector<Fault>> check() const;
    /// Makes one that check() has found good: what leads nowhere goes, what is nowhere gets its
    /// entry back or goes, counts are set. That may bring others to light, so check again.
    Status mend(const Fault& fault);

    struct Counts {
        std::uint64_t files = 0;          ///< that have a name; symlinks are among them
        std::uint64_t directories = 0;    ///< with the root
        std::uint64_t bytes_on_disk = 0;  ///< of the database itself
    };
    Counts counts() const;

    /// Writes every change so far to disk, so that little is left for close_clean(). Blocks on the
    /// disk.
    Status sync();
    /// sync(), and a mark that the next start may trust the database whatever the boot id. No
    /// change is possible from then on (EROFS); reading is.
    Status close_clean();

  private:
    class Impl;
    explicit Namespace(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace kvfs
