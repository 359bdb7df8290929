#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// Names an object in every store: the inode number of the file whose bytes it holds. Never reused.
using ObjectId = std::uint64_t;

/// What an object says of itself, enough to rebuild the namespace from the objects alone.
struct ObjectLabel {
    std::string path{};  ///< in the mount, without leading slash, at the time of writing
    std::uint64_t size = 0;
    std::uint32_t mode = 0;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::int64_t mtime_ns = 0;
    std::vector<std::uint32_t>
        chunk_crcs{};  ///< CRC32C of every kChunkBytes; empty: not checksummed
};

/// How much an object is, as its store sees it.
struct ObjectExtent {
    std::uint64_t size = 0;
    std::uint64_t held_bytes = 0;  ///< fewer than `size` where it has holes
    std::int64_t mtime_ns = 0;
};

/// An object that is open for reading; the bytes stay readable while it lives, also after the
/// object was removed or replaced.
class ObjectReader {
  public:
    virtual ~ObjectReader() = default;

    /// Reads object bytes [offset, offset + into.size()). What `into` holds beyond the object's end
    /// afterwards is undefined. Requires: offset, into.data() and into.size() multiples of 4096
    /// (O_DIRECT). `done` runs once, on a thread of the store, and must not block: bytes read or
    /// negative errno. `this` and `into` must stay until then; `done` may destroy the reader.
    virtual void read(std::uint64_t offset, std::span<std::byte> into,
                      std::function<void(std::int64_t)> done) = 0;

    /// A read-only O_DIRECT descriptor that other processes may read the object through, or -1 when
    /// the store has no such thing. Owned by the reader.
    virtual int direct_fd() const { return -1; }
};

/// An object that is rewritten in place: what is behind a scratch file. read() is as of any object.
class ObjectFile : public ObjectReader {
  public:
    using Extent = ObjectExtent;

    /// Writes all of `from`, or fails: `done` as of read(). Any offset, length and memory; fastest,
    /// past the page cache, where all three are multiples of 4096.
    virtual void write(std::uint64_t offset, std::span<const std::byte> from,
                       std::function<void(std::int64_t)> done) = 0;
    /// These wait for the file system.
    virtual Status truncate(std::uint64_t size) = 0;
    /// Room for [offset, offset + length) that later writes find; the size grows unless
    /// `keep_size`.
    virtual Status allocate(std::uint64_t offset, std::uint64_t length, bool keep_size) = 0;

    virtual Result<Extent> extent() const = 0;

    /// A descriptor, for reading and writing, that the kernel may serve programs through without
    /// asking us again; -1 when there is no such thing. Owned by this.
    virtual int backing_fd() const { return -1; }
};

/// A tier below DRAM: keeps whole objects under their id. All stores pass tests/contract.
///
/// An object appears whole under its id or not at all, and is then immutable; put replaces, also
/// while readers read the old one. Thread-safe. Errors are errno values: ENOENT - no such object;
/// EIO, ESTALE, ... - the store failed (the caller degrades it); ENOSPC - no room.
class ObjectStore {
  public:
    virtual ~ObjectStore() = default;

    /// How people name the store: "ssd:/var/lib/kvfs".
    virtual std::string name() const = 0;
    /// Identifies the store over restarts and reorderings of the command line: made once, at
    /// random, when the store was first used.
    virtual std::uint64_t uid() const = 0;

    /// Writes the object `id` from `pieces`, which hold label.size bytes in order, and labels it.
    /// Every piece is 4096-aligned and, except the last, a multiple of 4096 long; the bytes between
    /// the last piece's end and its next multiple of 4096 are readable (arena extents are such
    /// memory). `pieces`' memory must stay until `done` has run, once, on a thread of the store.
    virtual void put(ObjectId id, const ObjectLabel& label,
                     std::vector<std::span<const std::byte>> pieces,
                     std::function<void(Status)> done) = 0;

    /// Errors: ENOENT.
    virtual Result<std::unique_ptr<ObjectReader>> open(ObjectId id) = 0;

    /// Opens `id` for reading and writing in place, creating it empty when absent. Errors: ENOTSUP
    /// - this store has only whole objects.
    virtual Result<std::unique_ptr<ObjectFile>> open_in_place(ObjectId id) {
        static_cast<void>(id);
        return Error{ENOTSUP, name() + " has no files that can be written in place"};
    }

    /// All that was done to the object so far survives a power loss when `done` runs: once, on any
    /// thread, with 0 or a negative errno (-ENOENT: no such object).
    virtual void sync(ObjectId id, std::function<void(std::int64_t)> done) = 0;

    /// The same of every object, and of labels: what a rename has changed.
    virtual void sync_all(std::function<void(std::int64_t)> done) = 0;

    /// Relabels the object (a scratch file's size, a changed mode). Errors: ENOENT.
    virtual Status relabel(ObjectId id, const ObjectLabel& label) = 0;

    /// Removes the object. Absent is fine. Its bytes come back soon after the last reader has gone.
    virtual Status remove(ObjectId id) = 0;

    /// Calls `visit` for every object; stops when it returns false. For start-up repair and fsck,
    /// not for the data path. An object whose label cannot be read is given with an empty path.
    virtual Status scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) = 0;

    /// Whether the store is where it was: not the health of its device, but that it has not gone
    /// as a whole. Errors: ENOENT, with a sentence - it has; what the file system says.
    virtual Status present() { return {}; }

    /// Whether it is being emptied: what set_draining() was told last, by an earlier daemon too.
    virtual bool draining() const = 0;
    /// Errors: it is not remembered.
    virtual Status set_draining(bool on) = 0;

    /// Errors: ENOENT.
    virtual Result<ObjectExtent> extent(ObjectId id) = 0;

    /// What lies in the store and is of no object: left by a put that was cut short, or by others.
    /// Each by its path. Requires: no put is under way. For fsck.
    virtual Result<std::vector<std::string>> leftovers() { return std::vector<std::string>{}; }

    /// The most bytes the store may hold: its quota, or what its device has.
    virtual std::uint64_t capacity() const = 0;
    /// Bytes of reads under way that keep its device busy.
    virtual std::uint64_t window_bytes() const { return 6 << 20; }
    /// Bytes an object of `size` bytes takes there.
    virtual std::uint64_t footprint(std::uint64_t size) const {
        return (size + 4095) / 4096 * 4096;
    }
};

}  // namespace kvfs
