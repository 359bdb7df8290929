#pragma once
#include <memory>
#include <string>

#include "fs/io/ring.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// Objects as files of one directory on a local file system, read and written by io_uring with
/// O_DIRECT:
///
///     DIR/kvfs.json              format version and the store's uid
///     DIR/lock                   flock'ed by the daemon that uses the directory
///     DIR/draining               there while the store is being drained
///     DIR/objects/hh/hh/<id>     exactly the file's bytes; <id>: 16 hex digits; hh/hh: the two
///                                bytes before its last one, so that 256 files share a directory
///     DIR/tmp/<0 to 63>/         being written, or to be unlinked; emptied at start
///
/// An object's label is its xattr user.kvfs (JSON; an administrator can read it with getfattr). One
/// that is too long for an xattr is a file beside the object, <id>.<its CRC32C>, that the xattr
/// names.
///
/// Readers may outlive the store, but must then not be destroyed in a `done`. Destruction of the
/// store waits for puts and reads under way, hence is never in a `done` either.
class SsdStore final : public ObjectStore {
  public:
    struct Options {
        std::string directory;
        /// 0: 95 % of what the file system had free when the store was first used, or has free now.
        std::uint64_t quota_bytes = 0;
        std::size_t request_bytes = 512 << 10;  ///< what the device is asked for at a time
        std::uint64_t window_bytes = 6 << 20;   ///< see window_bytes()
        /// Opens what is there and changes nothing of itself: tmp/ keeps what lies in it. For who
        /// looks at a store that no daemon uses.
        bool as_found = false;
    };

    /// Opens or makes the store. Errors, each a sentence with the directory and the way out: EACCES
    /// / EROFS - cannot be written; EBUSY - another daemon uses it; ENOTSUP - the file system has
    /// no O_DIRECT or no user xattrs; EINVAL - the directory is of another format version; ENOSPC.
    /// `as_found`: ENOENT - no kvfsd has used it yet.
    static Result<std::unique_ptr<SsdStore>> open(const Options& options);
    ~SsdStore() override;

    std::string name() const override;
    std::uint64_t uid() const override;
    void put(ObjectId id, const ObjectLabel& label, std::vector<std::span<const std::byte>> pieces,
             std::function<void(Status)> done) override;
    Result<std::unique_ptr<ObjectReader>> open(ObjectId id) override;
    Result<std::unique_ptr<ObjectFile>> open_in_place(ObjectId id) override;
    void sync(ObjectId id, std::function<void(std::int64_t)> done) override;
    void sync_all(std::function<void(std::int64_t)> done) override;
    Status relabel(ObjectId id, const ObjectLabel& label) override;
    Status remove(ObjectId id) override;
    Status scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) override;
    Status present() override;
    bool draining() const override;
    Status set_draining(bool on) override;
    Result<ObjectExtent> extent(ObjectId id) override;
    Result<std::vector<std::string>> leftovers() override;
    std::uint64_t capacity() const override;
    std::uint64_t window_bytes() const override;

    /// The ring behind the store, for registering memory that transfers will use.
    Ring& ring();

  private:
    class Impl;
    explicit SsdStore(std::unique_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace kvfs
