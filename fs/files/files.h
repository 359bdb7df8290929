#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/cache/cache.h"
#include "fs/files/lineage.h"
#include "fs/names/namespace.h"

namespace kvfs {

/// Who asks, for requests that the kernel has not checked (mapper clients). FUSE requests are
/// checked by the kernel (default_permissions).
struct Caller {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::vector<std::uint32_t> groups{};  ///< supplementary
    Lineage::Client client = Lineage::kNobody;
};

/// What stat shows of a name.
struct Attributes {
    Inode inode;  ///< with the live size and times of a file that is being written
    std::uint64_t blocks =
        0;  ///< 512-byte units that this host holds, in DRAM or on SSD, counted once
    /// They stay so until a request through the mount changes them, or the listener is told.
    bool settled = false;
};

/// One open of one file. Made by Files, used by one front; the file's bytes stay until it is
/// released.
struct Handle {
    Handle(Ino its_ino, ObjectPtr its_object, bool for_writing)
        : ino(its_ino), object(std::move(its_object)), writes(for_writing) {}

    const Ino ino;
    ObjectPtr object;
    const bool writes;
    std::atomic<bool> closing = false;  ///< a descriptor of it was closed after the last write
    /// The kernel knows that the access time is a new one: there was a read, or it is a new file.
    std::atomic<bool> use_is_known = false;
    /// Set: the kernel reads and writes this file for the program, and does not ask us.
    std::shared_ptr<ObjectFile> backing{};
};

/// What both fronts - the FUSE mount and the mapper socket - do with a name: the one place where
/// names (Namespace) and bytes (Cache) meet. Everything that concerns names alone (lookup of
/// symlinks' targets, listing) is asked of names() directly.
///
/// Thread-safe. Blocking calls end within Cache::Options::io_timeout (ETIMEDOUT).
class Files final : private Catalog {
  public:
    /// `cache` must not be used by anyone else; it learns of its catalog here. Cleans up what a
    /// daemon that died left: unlinked files, files that never were sealed.
    static Result<std::unique_ptr<Files>> open(Namespace& names, Cache& cache);
    ~Files() override;

    Namespace& names() { return names_; }
    Cache& cache() { return cache_; }

    // --- names
    // -------------------------------------------------------------------------------------
    Result<Attributes> lookup(Ino parent, std::string_view name,
                              Lineage::Client client = Lineage::kNobody);
    Result<Attributes> attributes(Ino ino);
    Result<Attributes> change(Ino ino, const Namespace::Change& change);  ///< size: truncates
    Result<Attributes> make(Ino parent, std::string_view name, const Namespace::NewInode& what);
    Status unlink(Ino parent, std::string_view name);
    Status rmdir(Ino parent, std::string_view name);
    Status rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                  Namespace::RenameFlag flag);

    /// xattrs: user.* and, as far as the kernel lets them through, others are stored; user.kvfs.*
    /// are the file's controls (pin, ttl, priority; scratch, of directories; evict and prefetch,
    /// which are done when they are set) and its state (tier, hits, resident, crc32c: read only).
    /// On a volume: quota.soft and quota.hard, in bytes, and usage, read only.
    /// On the root: user.kvfs.stats, the daemon's statistics as JSON, user.kvfs.socket, and those
    /// of control_stores(). `uid` is who asks.
    /// Errors: as Namespace; EPERM - a read-only user.kvfs.*; ENOTSUP - an unknown one; EINVAL - a
    /// value that does not parse; evict, prefetch: as Cache::drop, leave_dram and prefetch.
    Status set_xattr(Ino ino, std::string_view name, std::string_view value,
                     Namespace::XattrMode mode, std::uint32_t uid);
    Result<std::string> xattr(Ino ino, std::string_view name);
    Result<std::vector<std::string>> xattrs(Ino ino);
    Status remove_xattr(Ino ino, std::string_view name, std::uint32_t uid);

    /// Makes a store, which Cache::may_add(), of what people write for one: "DIR[,size=SIZE]...".
    /// Errors: a sentence.
    using StoreMaker = std::function<Result<std::unique_ptr<ObjectStore>>(std::string_view spec)>;
    /// Set once, before serving. Without, no store can be added.
    void set_store_maker(StoreMaker maker) { store_maker_ = std::move(maker); }

    /// Drops files that have not been used for their time to live, as many as can be in a moment.
    /// To be called every second or so, by one thread.
    void drop_expired();

    // --- bytes
    // -------------------------------------------------------------------------------------
    struct OpenFlags {
        bool write = false;
        bool truncate = false;
        bool backing = false;  ///< the front can have the kernel serve Handle::backing
        Lineage::Client client = Lineage::kNobody;
    };
    /// Errors: ENOENT, ESTALE - gone (the kernel then looks the name up again); EISDIR; EIO.
    Result<std::unique_ptr<Handle>> open(Ino ino, OpenFlags flags);
    /// make() of a regular file and open() of it, for writing whatever was asked: it is new.
    /// Errors: EEXIST.
    struct Created {
        Attributes attributes;
        std::unique_ptr<Handle> handle;
    };
    Result<Created> create(Ino parent, std::string_view name, Namespace::NewInode what,
                           bool backing = false, Lineage::Client client = Lineage::kNobody);
    /// After all the kernel does not: forget Handle::backing.
    void not_backed(Handle& handle);
    /// A program closes a descriptor: release() is on its way, if there is no other. Mapper clients
    /// that ask for the file wait for it.
    void closing(Handle& handle);
    /// Closes; the last writer's release seals the file.
    void release(std::unique_ptr<Handle> handle);

    /// File bytes [offset, offset + length), whole; fewer only at the end of the file. The view
    /// pins them. Errors: EIO - checksum or device; ETIMEDOUT.
    Result<ReadView> read(Handle& handle, std::uint64_t offset, std::size_t length);
    /// All of `bytes` or an error. Errors: EBADF, EFBIG, ENOSPC - nothing left to evict; ETIMEDOUT.
    Status write(Handle& handle, std::uint64_t offset, std::span<const std::byte> bytes);
    /// fallocate mode 0 (`keep_size`: FALLOC_FL_KEEP_SIZE). Errors: as write.
    Status allocate(Handle& handle, std::uint64_t offset, std::uint64_t length, bool keep_size);
    /// Returns when the file's bytes and its record are on SSD. Errors: EIO, ETIMEDOUT.
    Status sync(Handle& handle);
    /// Makes all that is on SSD, and its names, survive a power loss. Errors: EIO, ETIMEDOUT.
    Status sync_names();

    struct Capacity {
        std::uint64_t bytes = 0;  ///< what the cache may hold: the tiers' quotas
        std::uint64_t bytes_used = 0;
        std::uint64_t files = 0;
    };
    Capacity capacity() const;

    /// The daemon's statistics, JSON (see kvfs-stats in kvfs(1)).
    std::string statistics() const;
    /// Shown as user.kvfs.socket and in the statistics. Set once, before serving.
    void set_socket_path(std::string path) { socket_path_ = std::move(path); }

    /// What changed other than by a request through the mount.
    struct Change {
        Ino parent = 0;      ///< of the name that appeared or went; or 0
        std::string name{};  ///< it was evicted, or published or unlinked by a mapper client
        Ino ino = 0;         ///< whose attributes changed: it was used, or lost its name; or 0
    };
    /// Called on an internal thread, with no lock held: the front drops what the kernel remembers.
    /// Uses are told within a second or two. Set once, before serving; nullptr to stop.
    using Listener = std::function<void(const Change&)>;
    void set_listener(Listener listener);

    // --- for the mapper's front
    // --------------------------------------------------------------------
    /// Walks `path` (relative to the mount's root, "." and empty components ignored, ".." and
    /// symlinks refused with EINVAL / ELOOP) with the caller's permissions. Errors: ENOENT,
    /// ENOTDIR, EACCES.
    Result<Attributes> resolve(std::string_view path, const Caller& caller);
    /// May `caller` read (write: write) `inode` by its mode?
    static bool permitted(const Inode& inode, const Caller& caller, bool write);

    /// The bytes of a sealed file, for reading them without the mount: where they are now, and that
    /// they stay. Counts as a hit.
    /// Errors: ENOENT - gone, or not sealed yet; EISDIR; and those of Cache::lease.
    Result<Lease> lease(Ino ino, Fill fill = Fill::running);

    /// As set_xattr() of user.kvfs.`key`. Errors, too: as resolve(); EACCES - the caller may not
    /// write it.
    Status set_control(std::string_view path, std::string_view key, std::string_view value,
                       const Caller& caller);

    /// Room in DRAM for a file that does not exist yet, to be filled by a mapper client.
    struct Draft {
        Ino parent = 0;
        std::string name;
        Namespace::NewInode what;
        VolumeId volume = 0;
        Ino chain_parent = 0;  ///< the file before it in its prompt; 0: none that is known
        std::shared_ptr<Content> content;
    };
    /// `parent_path` is of the file before it in its prompt; what is no file that the caller may
    /// read is none. Errors: ENOENT / EACCES - the directory; EFBIG - more than one file may have
    /// in DRAM (Cache::file_bytes_max); ENOSPC; ETIMEDOUT.
    Result<Draft> draft(std::string_view path, std::uint64_t size, std::uint32_t mode,
                        const Caller& caller, std::string_view parent_path = {});
    /// The draft becomes the file of its name, replacing an older one, sealed, at once and whole.
    Result<Attributes> publish(Draft draft);
    /// Directories of `path`'s parent, made as needed with mode 0755. Errors: EACCES, ENOTDIR.
    Status make_directories(std::string_view path, const Caller& caller);

  private:
    class Notifier;
    Files(Namespace& names, Cache& cache);

    // Catalog: what the cache asks of and tells the namespace.
    Result<ObjectRecord> find_object(ObjectId id) override;
    Status save_object(ObjectId id, const ObjectRecord& record) override;
    Status unsave_object(ObjectId id) override;
    ObjectLabel label_object(ObjectId id, const ObjectRecord& record) override;
    void lose_object(ObjectId id) override;
    Result<std::vector<ObjectId>> stored_objects(ObjectId from, std::size_t count) override;
    void record_uses(const std::vector<ObjectUse>& uses) override;

    static VolumeQuota quota_of(const Inode& volume) {
        return {volume.soft_quota, volume.hard_quota};
    }
    void goes_on(Handle& handle);
    std::size_t longest_guess() const;
    static Standing standing_of(const Inode& inode);
    Status clean_up();
    using Held = std::deque<Cache::StoredFile>;
    std::map<std::uint64_t, Held> held_by_stores(std::uint64_t wanted) const;
    void recall_quotas();
    void recall();
    bool in_place(const Inode& inode) const;
    void born_scratch(const Handle& handle);
    Attributes describe(Inode inode) const;
    Attributes describe(Inode inode, const std::optional<Cache::Residency>& live) const;
    void used_unseen(Ino ino);
    /// The file of that name, made live; or null.
    ObjectPtr live_file(Ino parent, std::string_view name);
    /// `moved` has another name, perhaps in another volume.
    void was_moved(const Inode& moved);
    /// Bytes and record of an inode without a name go, now or with its last handle.
    void drop(const Inode& orphan);
    Result<Ino> parent_named(const Inode& inode, std::string_view path);
    Status act(Ino ino, std::string_view key, std::string_view value);
    Result<std::string> state_xattr(const Inode& inode, std::string_view key);
    /// Errors: EPERM, and those of the change, as a sentence.
    Status control_stores(std::string_view key, std::string_view value, std::uint32_t uid);
    Status add_store(std::string_view spec);
    Status stop_draining();
    std::string directories_of_stores(bool drained_only) const;
    std::string tier_of(Ino ino, std::uint64_t* dram_bytes) const;
    /// The directory that the last component of `path` is in, and that component.
    struct Place {
        Inode directory;
        std::string name;
    };
    Result<Place> walk(std::string_view path, const Caller& caller);
    Ino readable_file(std::string_view path, const Caller& caller);

    Namespace& names_;
    Cache& cache_;
    /// By inode: whether utimensat or the last write's time is later must not depend on which of
    /// them reaches the record first.
    std::array<Mutex, 64> times_mutexes_;
    Mutex unseen_mutex_;
    /// Used since record_uses() in a way that the kernel does not see.
    std::unordered_set<Ino> unseen_uses_ GUARDED_BY(unseen_mutex_);
    Lineage lineage_;
    const Clock::time_point started_ = Clock::now();
    std::string socket_path_;
    StoreMaker store_maker_;
    Mutex adding_mutex_;  ///< one store at a time
    /// Shared by who takes a file from one volume to another, and held alone while what volumes
    /// hold in a new store is read from the records and counted.
    std::shared_mutex volumes_mutex_;
    /// The last change to the stores that was not made, and why.
    struct Refused {
        std::string key, value, why;
    };
    mutable Mutex refused_mutex_;
    std::optional<Refused> refused_ GUARDED_BY(refused_mutex_);
    std::unique_ptr<Notifier> notifier_;
};

}  // namespace kvfs
