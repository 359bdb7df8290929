#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/result.h"
#include "fs/files/files.h"
#include "fs/mapper/access.h"
#include "fs/mapper/peer.h"
#include "fs/mapper/reply.h"
#include "fs/mapper/request.h"
#include "kvfs/protocol.h"

namespace kvfs::mapper {

/// What one client holds: leases and drafts under the numbers that it knows them by. As long as
/// this lives, their bytes stay where they are.
using Holdings = std::unordered_map<std::uint64_t, std::variant<Lease, Files::Draft>>;

/// One client's connection: reads its requests and answers them, in order, on the thread that calls
/// run(). A request may wait (a draft for room, a lease for another's fill to begin) up to
/// Cache::io_timeout(). What is awaited of a fill holds up nothing.
///
/// A client that is alone reads by itself what is only in a store. Where there are several, they
/// may well want the same (the ranks of a model do), and the bytes are brought into DRAM for all.
///
/// Nothing that the client sends is trusted, except that a client which says bye or releases a
/// lease no longer reads there: it would only read another file of a volume whose memory it has
/// anyway.
class Session {
  public:
    /// `socket` is a blocking SEQPACKET socket with a send timeout. `files` must outlive this.
    /// `on_request`, if any, is called for every request. `clients` says how many are connected.
    Session(Files& files, UniqueFd socket, Peer peer, const std::atomic<unsigned>& clients,
            std::function<void()> on_request);

    /// Serves until the client has said bye, hung up or broken the rules, or disconnect() was
    /// called. Returns whether it said bye. Once.
    bool run();

    /// Makes run() return soon. From any thread, while this lives.
    void disconnect();

    const Peer& peer() const { return peer_; }
    /// After run(): what the client had not given back, and how to know when its process has ended.
    Holdings take_holdings() { return std::move(holdings_); }
    UniqueFd take_process() { return std::move(peer_.process); }

  private:
    Result<std::size_t> receive();
    Status greet();
    Status answer(const Request& request);

    Status welcome(const protocol::Header& header);
    Status lookup(const Request& request);
    Status lease(const Request& request);
    Status draft(const Request& request);
    Status await(const Request& request);
    Status set(const Request& request);
    Status publish(const Request& request);
    Status statistics(const Request& request);
    void release(const Request& request);
    void discard(const Request& request);

    protocol::LookupEntry look_up(std::string_view path);
    struct Leased {
        Lease lease;
        std::int64_t mtime_ns = 0;
    };
    Result<Leased> take_lease(Access& access, Ino ino);
    Status tell_news();
    /// Appends what the client needs to know, and holds it from then on. Errors: nothing is held.
    Status grant(Access& access, Reply& reply, Ino ino, Leased leased);
    Status listen(Content& content);
    Status grant_draft(Reply& reply, Files::Draft draft);
    Status send_slabs(Access& access, Reply& reply, const Content& content, VolumeId volume,
                      bool write);

    Files& files_;
    const UniqueFd socket_;
    Peer peer_;
    const std::atomic<unsigned>& clients_;
    const std::function<void()> on_request_;
    std::vector<std::byte> packet_;

    std::uint64_t next_lease_ = 1;
    Holdings holdings_;
    std::uint32_t file_leases_ = 0;  ///< of holdings_
    std::uint32_t drafts_ = 0;
    /// By lease: what the client awaits of fills, and the descriptor (an eventfd, or none yet) that
    /// tells of their news. It is shared with the fills, which may outlive this.
    struct Awaited {
        protocol::Header request;
        std::uint64_t bytes = 0;
        Deadline until;
    };
    std::optional<Result<std::uint64_t>> landed(std::uint64_t lease, const Awaited& awaited) const;
    Status wait_for_request();
    std::map<std::uint64_t, Awaited> awaited_;
    std::shared_ptr<const UniqueFd> news_;
    /// Slabs that the client has: of which generation, and whether for writing.
    struct Given {
        std::uint64_t generation = 0;
        bool writable = false;
    };
    std::unordered_map<std::uint32_t, Given> given_;
};

}  // namespace kvfs::mapper
