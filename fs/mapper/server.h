#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "fs/base/result.h"
#include "fs/files/files.h"

namespace kvfs {

/// The mapper's front: a Unix socket at which libgpumap's clients lease the bytes of files and
/// publish new ones (protocol: kvfs/protocol.h). A file's owner and mode decide who may have it;
/// the socket itself lets everybody in, unless its directory does not.
///
/// Threads: one that accepts and that watches processes, and one for each client, so that a request
/// which has to wait holds up only its own client.
class MapperServer {
  public:
    struct Options {
        std::string socket_path;     ///< its directory must exist
        unsigned clients_max = 256;  ///< connected, or gone while their process still holds leases
        unsigned mode = 0666;        ///< of the socket
        std::chrono::seconds send_timeout{30};  ///< a client that does not read is disconnected
        std::function<void()> on_request{};     ///< called for every request, on its thread
    };

    /// Listens, and serves from now on. A socket file that nobody listens at any more is replaced.
    /// `files` must outlive the server.
    /// Errors: EBUSY - another daemon listens there; ENAMETOOLONG - more than 107 bytes; others as
    /// bind(2).
    static Result<std::unique_ptr<MapperServer>> start(Files& files, Options options);

    /// Disconnects the clients, drops their leases and removes the socket. Waits for requests that
    /// are being answered, at most Cache::io_timeout().
    ~MapperServer();
    MapperServer(const MapperServer&) = delete;
    MapperServer& operator=(const MapperServer&) = delete;

    /// Clients that are connected now.
    unsigned clients() const;

  private:
    class Impl;
    explicit MapperServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace kvfs
