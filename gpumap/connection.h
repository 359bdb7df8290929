#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/fd.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "kvfs/protocol.h"

namespace kvfs::gpumap {

/// The daemon's answer to one request, put together from its packets.
struct Answer {
    int status = 0;  ///< errno; ENOTCONN: there will be none, the connection is lost
    std::vector<std::byte> payload;
    std::vector<UniqueFd> fds;
};

/// The socket to the daemon, and the thread that receives from it. Requests are sent on the
/// caller's thread, or by the receiving thread while the socket is full; no call waits for the
/// daemon, except call() and open().
///
/// A connection is lost when the daemon hangs up, breaks the protocol, or lets a request wait for
/// longer than the timeout while nothing else comes either. What waits then is answered ENOTCONN,
/// and so is all that comes later. Thread-safe.
class Connection {
  public:
    /// Called once, on the receiving thread; on the caller's when the connection is lost already.
    using Done = std::function<void(Answer)>;

    /// Connects and says hello. Errors: ECONNREFUSED, ENOENT - no daemon; EACCES; EAGAIN - it has
    /// its most clients; EPROTONOSUPPORT - another version; ETIMEDOUT; ENAMETOOLONG.
    static Result<std::unique_ptr<Connection>> open(const std::string& path,
                                                    std::chrono::milliseconds timeout);
    /// Says hello over a socket that is connected. For tests, and what open() does.
    static Result<std::unique_ptr<Connection>> over(UniqueFd socket, std::string path,
                                                    std::chrono::milliseconds timeout);
    /// Says bye when `bye()` was called before. Never in a Done.
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    const protocol::Welcome& welcome() const { return welcome_; }

    /// Called on the receiving thread, at the time that it last returned (and after wake());
    /// returns when it wants to be called next. Set once, before the first request.
    using Ticker = std::function<Deadline()>;
    void start(Ticker ticker);
    void wake();

    /// Requires: sizeof(Header) + payload.size() <= kPacketBytesMax; an operation that is answered.
    void request(protocol::Op op, std::uint32_t count, std::span<const std::byte> payload,
                 Done done);
    /// An operation that is not answered. Lost with the connection.
    void notify(protocol::Op op, std::uint32_t count, std::span<const std::byte> payload);
    /// Sends a request and waits for its answer. Never in a Done.
    Answer call(protocol::Op op, std::uint32_t count, std::span<const std::byte> payload);

    /// From now on nothing of the daemon's is used: the end of the connection may give all back.
    void bye() { said_bye_ = true; }

    bool connected() const { return !lost_; }
    /// Why the connection is lost and what to do; "" while it is not.
    std::string reason() const;

  private:
    struct Waiting {
        std::uint64_t number;
        Done done;
    };

    Connection(UniqueFd socket, UniqueFd wake, std::string path, std::chrono::milliseconds timeout);
    Status greet();
    void serve();
    int poll_timeout_ms(Deadline next_tick);
    void flush() REQUIRES(mutex_);
    Status receive_all();
    Result<bool> receive_packet();
    Status take_packet(std::span<const std::byte> packet, std::vector<UniqueFd> fds);
    void lose(const std::string& why);

    const UniqueFd socket_;
    const UniqueFd wake_;
    const std::string path_;
    const std::chrono::milliseconds timeout_;
    protocol::Welcome welcome_;
    std::atomic<bool> lost_ = false;
    std::atomic<bool> said_bye_ = false;
    std::atomic<bool> stopping_ = false;
    Ticker ticker_;

    mutable Mutex mutex_;
    std::uint64_t next_number_ GUARDED_BY(mutex_) = 1;
    std::deque<Waiting> waiting_ GUARDED_BY(mutex_);  ///< mostly in the order of their answers
    std::deque<std::vector<std::byte>> outgoing_ GUARDED_BY(mutex_);  ///< while the socket is full
    Deadline progress_ GUARDED_BY(mutex_);  ///< when something last came, or began to wait
    std::string reason_ GUARDED_BY(mutex_);

    std::vector<std::byte> packet_;  ///< the receiving thread's
    Answer answer_;                  ///< its first packets
    std::thread thread_;
};

}  // namespace kvfs::gpumap
