#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/result.h"
#include "gpumap/connection.h"
#include "gpumap/slabs.h"
#include "kvfs/protocol.h"

namespace kvfs::gpumap {

/// The bytes of a file (or of a draft), and where to get at them. They stay there until the lease
/// is given back (Daemon::release, discard, publish); this object's destruction alone gives nothing
/// back.
struct FileLease {
    std::uint64_t number = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;

    /// In DRAM: pieces in file order, which make up `size`.
    struct Segment {
        std::uint64_t file_off = 0;
        std::byte* memory = nullptr;
        std::uint64_t length = 0;
        std::shared_ptr<const Slab> slab;
    };
    std::vector<Segment> segments;
    bool filling = false;  ///< their bytes are still coming, front to back: Daemon::await

    /// On SSD: an O_DIRECT descriptor, and the CRC32C of every chunk (or none).
    UniqueFd file;
    std::vector<std::uint32_t> chunk_crcs;

    bool on_ssd() const { return static_cast<bool>(file); }
};

/// One lease of several that were asked for: the lease, or why not (errno).
struct LeaseAnswer {
    std::uint64_t inode = 0;
    int status = 0;
    std::shared_ptr<const FileLease> lease;
};

/// Takes the records of a reply to lease or draft apart; maps the slabs in it. Nothing in the reply
/// is trusted to be well-formed. Errors: EPROTO, and those of Slabs::add.
Result<std::vector<LeaseAnswer>> parse_leases(Answer answer, Slabs& slabs);

/// What the daemon does for its clients, in calls. Requests of any length are split into packets
/// and sent without waiting in between. Thread-safe.
class Daemon {
  public:
    /// Both must outlive this.
    Daemon(Connection& connection, Slabs& slabs) : connection_(connection), slabs_(slabs) {}

    using Lookups = std::vector<protocol::LookupEntry>;
    /// In the order of `paths`. Waits. Errors: ENOTCONN; ENAMETOOLONG - one is over 4096 bytes.
    Result<Lookups> look_up(std::span<const std::string_view> paths);
    /// The same without waiting; `done` gets one for each path, `status` ENOTCONN when lost.
    /// Requires: no path over 4096 bytes.
    void look_up(std::span<const std::string_view> paths, std::function<void(Lookups)> done);

    /// `done` is called once or more, on the receiving thread (the caller's, when the connection is
    /// lost), until every inode has its answer.
    void lease(std::span<const std::uint64_t> inodes,
               std::function<void(std::vector<LeaseAnswer>)> done);
    /// `done` gets how many bytes from the front of a lease that is `filling` are in place, at
    /// least `bytes`, or an errno value: EBADMSG - corrupt, EIO, ETIMEDOUT, ENOTCONN; ENOENT - it
    /// was given back. One at a time for a lease. Called as that of lease().
    void await(std::uint64_t lease, std::uint64_t bytes,
               std::function<void(int, std::uint64_t)> done);
    void release(std::span<const protocol::Release> releases);

    /// Sets the attribute user.kvfs.`key` of `path`. Waits. Errors: the daemon's.
    Status set(std::string_view path, std::string_view key, std::string_view value);

    /// Room for a new file; the lease is for writing. `parent` is the path of the file before it in
    /// its prompt, if there is one. Waits. Errors: the daemon's.
    Result<std::shared_ptr<const FileLease>> draft(std::string_view path, std::string_view parent,
                                                   std::uint64_t size, std::uint32_t mode,
                                                   bool make_directories);
    /// `done` gets an errno value, 0: the file is there. The lease is given back either way.
    void publish(std::uint64_t lease, std::function<void(int)> done);
    void discard(std::uint64_t lease);

    /// JSON. Waits.
    Result<std::string> statistics();

  private:
    Connection& connection_;
    Slabs& slabs_;
};

}  // namespace kvfs::gpumap
