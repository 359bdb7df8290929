#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "fs/base/result.h"
#include "tools/verb.h"

namespace kvfs {

/// A mounted kvfs, as the kernel's table of mounts shows it.
struct Mount {
    std::string path;  ///< where its root is mounted; "" when only a part of it is visible here
};

/// The kvfs that `path` lies in.
/// Errors: ENOENT, EACCES, ... - `path` cannot be looked at; ENOTTY - it lies in no kvfs;
/// ENOTCONN - in one whose daemon is gone.
Result<Mount> find_mount(const std::string& path);

/// The daemon's statistics, through the mount. Errors: as find_mount; EBADMSG - not JSON.
Result<Json> mount_statistics(const std::string& path);
/// The same through the daemon's socket, for one that runs with --no-mount.
Result<Json> socket_statistics(const std::string& socket_path);

/// A running daemon: by its mount or, for one without, by its socket.
class Daemon {
  public:
    /// Errors: as find_mount.
    static Result<Daemon> at_mount(const std::string& path);
    static Daemon at_socket(const std::string& path) { return {"", path}; }

    /// Errors: as mount_statistics and socket_statistics.
    Result<Json> statistics() const;
    /// Sets the root's extended attribute user.kvfs.`key`. Errors: the daemon's own sentence where
    /// it has one; EPERM, EACCES - only root and the daemon's user may.
    Status set(const std::string& key, const std::string& value) const;

  private:
    Daemon(std::string mount, std::string socket)
        : mount_(std::move(mount)), socket_(std::move(socket)) {}

    std::string mount_;
    std::string socket_;
};

/// Value of the extended attribute `name` of `path` itself (of a symlink, not of its target).
/// Errors: ENODATA - there is none; ENOENT; ENOTSUP.
Result<std::string> read_xattr(const std::string& path, const char* name);

/// The number behind `key`, 0 when the document has none: older daemons have fewer counters.
std::uint64_t number_of(const Json& document, std::string_view key);

}  // namespace kvfs
