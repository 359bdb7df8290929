#include "gpumap/connection.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "fs/base/crc32c.h"
#include "gpumap/gate.h"

namespace kvfs::gpumap {

using protocol::Header;
using protocol::kPacketBytesMax;
using protocol::kPacketFdsMax;
using protocol::Op;

namespace {

std::vector<std::byte> packet_of(Op op, std::uint64_t number, std::uint32_t count,
                                 std::span<const std::byte> payload) {
    Header header;
    header.op = op;
    header.request = number;
    header.count = count;
    header.bytes = static_cast<std::uint32_t>(payload.size());
    assert(sizeof header + payload.size() <= kPacketBytesMax);
    std::vector<std::byte> packet(sizeof header + payload.size());
    std::memcpy(packet.data(), &header, sizeof header);
    if (!payload.empty())
        std::memcpy(packet.data() + sizeof header, payload.data(), payload.size());
    return packet;
}

std::vector<UniqueFd> descriptors_in(msghdr& message) {
    std::vector<UniqueFd> fds;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
         part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
    return fds;
}

Result<UniqueFd> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return Error{ENAMETOOLONG, "the socket's path '" + path + "' must have 1 to 107 bytes"};
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket) return errno_error("socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return socket;
    if (errno == ENOENT || errno == ECONNREFUSED)
        return Error{ECONNREFUSED,
                     "no kvfsd listens at " + path + ": start it, or name its socket"};
    return errno_error("connecting to " + path);
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path,
                                                     std::chrono::milliseconds timeout) {
    auto socket = connect_to(path);
    if (!socket) return socket.error();
    return over(std::move(*socket), path, timeout);
}

Result<std::unique_ptr<Connection>> Connection::over(UniqueFd socket, std::string path,
                                                     std::chrono::milliseconds timeout) {
    UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return errno_error("eventfd");
    std::unique_ptr<Connection> connection(
        new Connection(std::move(socket), std::move(wake), std::move(path), timeout));
    if (Status greeted = connection->greet(); !greeted) return greeted.error();
    return connection;
}

Connection::Connection(UniqueFd socket, UniqueFd wake, std::string path,
                       std::chrono::milliseconds timeout)
    : socket_(std::move(socket)),
      wake_(std::move(wake)),
      path_(std::move(path)),
      timeout_(timeout),
      progress_(Clock::now()),
      packet_(kPacketBytesMax) {}

Connection::~Connection() {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
    if (!said_bye_ || lost_) return;
    notify(Op::bye, 0, {});
    // A daemon that does not read for this long learns of the end from the process's end.
    constexpr int kFarewellMs = 1000;
    MutexLock lock(mutex_);
    pollfd writable{socket_.get(), POLLOUT, 0};
    while (!outgoing_.empty() && ::poll(&writable, 1, kFarewellMs) == 1) flush();
}

/// The first exchange; nobody else uses the socket yet.
Status Connection::greet() {
    const protocol::Hello hello{.chunk_bytes = kChunkBytes};
    const auto packet = packet_of(Op::hello, 0, 1, std::as_bytes(std::span(&hello, 1)));
    if (::send(socket_.get(), packet.data(), packet.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE &&
        errno != ECONNRESET)
        return errno_error("greeting the daemon at " + path_);
    pollfd readable{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(timeout_.count()));
    if (ready == 0) return Error{ETIMEDOUT, "the daemon at " + path_ + " does not answer"};
    ssize_t length = ::recv(socket_.get(), packet_.data(), packet_.size(), 0);
    // A daemon that turns clients away does not wait for their greeting; what it said comes next.
    if (length < 0 && errno == ECONNRESET)
        length = ::recv(socket_.get(), packet_.data(), packet_.size(), 0);
    Header header;
    if (length < static_cast<ssize_t>(sizeof header))
        return Error{ECONNREFUSED, "the daemon at " + path_ + " hung up"};
    std::memcpy(&header, packet_.data(), sizeof header);
    if (header.magic != protocol::kMagic || header.op != Op::hello)
        return Error{EPROTONOSUPPORT, "what listens at " + path_ + " is no kvfsd"};
    if (header.status == EAGAIN)
        return Error{EAGAIN, "the daemon at " + path_ + " has as many clients as it takes"};
    if (header.version != protocol::kVersion || header.status == EPROTONOSUPPORT)
        return Error{EPROTONOSUPPORT, "the daemon at " + path_ + " speaks version " +
                                          std::to_string(header.version) +
                                          " of the protocol, this library version " +
                                          std::to_string(protocol::kVersion) +
                                          ": install both from one release"};
    if (header.status != 0)
        return Error{static_cast<int>(header.status), "the daemon at " + path_ + " refuses"};
    if (length != static_cast<ssize_t>(sizeof header + sizeof welcome_))
        return Error{EPROTONOSUPPORT, "the daemon at " + path_ + " greets with too few bytes"};
    std::memcpy(&welcome_, packet_.data() + sizeof header, sizeof welcome_);
    if (welcome_.chunk_bytes != kChunkBytes)
        return Error{EPROTONOSUPPORT, "the daemon at " + path_ + " checksums other chunks"};
    return {};
}

void Connection::start(Ticker ticker) {
    ticker_ = std::move(ticker);
    thread_ = std::thread([this] { serve(); });
    ::pthread_setname_np(thread_.native_handle(), "gpumap-socket");
}

void Connection::wake() { ::eventfd_write(wake_.get(), 1); }

void Connection::request(Op op, std::uint32_t count, std::span<const std::byte> payload,
                         Done done) {
    {
        MutexLock lock(mutex_);
        if (!lost_) {
            if (waiting_.empty()) progress_ = Clock::now();
            const std::uint64_t number = next_number_++;
            waiting_.push_back({number, std::move(done)});
            outgoing_.push_back(packet_of(op, number, count, payload));
            if (outgoing_.size() == 1) flush();
            return;
        }
    }
    done(Answer{.status = ENOTCONN, .payload = {}, .fds = {}});
}

void Connection::notify(Op op, std::uint32_t count, std::span<const std::byte> payload) {
    MutexLock lock(mutex_);
    if (lost_) return;
    outgoing_.push_back(packet_of(op, 0, count, payload));
    if (outgoing_.size() == 1) flush();
}

Answer Connection::call(Op op, std::uint32_t count, std::span<const std::byte> payload) {
    Answer answer;
    Gate answered;
    request(op, count, payload, [&](Answer its_answer) {
        answer = std::move(its_answer);
        answered.open();
    });
    answered.wait();
    return answer;
}

std::string Connection::reason() const {
    MutexLock lock(mutex_);
    return reason_;
}

/// Sends what the socket takes. An error is left to the receiving side, which sees it too.
void Connection::flush() {
    while (!outgoing_.empty()) {
        const auto& packet = outgoing_.front();
        const ssize_t sent =
            ::send(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            wake();
            return;
        }
        outgoing_.pop_front();
    }
}

int Connection::poll_timeout_ms(Deadline next_tick) {
    // Also with nothing to wait for: a request does not wake this thread, and from now on its time
    // runs. So a silent daemon is given up after twice the timeout at the latest.
    Deadline next = std::min(next_tick, Clock::now() + timeout_);
    {
        MutexLock lock(mutex_);
        if (!waiting_.empty()) next = std::min(next, progress_ + timeout_);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

void Connection::serve() {
    Deadline next_tick = Deadline::max();
    while (!stopping_) {
        bool full = false;
        {
            MutexLock lock(mutex_);
            full = !outgoing_.empty();
        }
        const auto socket_events = static_cast<short>(full ? POLLIN | POLLOUT : POLLIN);
        // A lost connection stays readable for ever.
        std::array<pollfd, 2> watched{
            {{wake_.get(), POLLIN, 0}, {lost_ ? -1 : socket_.get(), socket_events, 0}}};
        ::poll(watched.data(), watched.size(), poll_timeout_ms(next_tick));
        if (watched[0].revents != 0) {
            eventfd_t ignored = 0;
            ::eventfd_read(wake_.get(), &ignored);
        }
        if ((watched[1].revents & POLLOUT) != 0) {
            MutexLock lock(mutex_);
            flush();
        }
        if ((watched[1].revents & ~POLLOUT) != 0) {
            if (Status received = receive_all(); !received) lose(received.error().message());
        }
        bool silent = false;
        {
            MutexLock lock(mutex_);
            silent = !waiting_.empty() && Clock::now() >= progress_ + timeout_;
        }
        if (silent) lose("it has not answered for " + std::to_string(timeout_.count()) + " ms");
        next_tick = ticker_();
    }
    lose("the context is closed");
}

Status Connection::receive_all() {
    for (;;) {
        const auto received = receive_packet();
        if (!received) return received.error();
        if (!*received) return {};
    }
}

/// False: there is none now.
Result<bool> Connection::receive_packet() {
    iovec piece{packet_.data(), packet_.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kPacketFdsMax * sizeof(int))> control;
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t length = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (length < 0) return errno_error();
    if (length == 0) return Error{ECONNRESET, "it hung up"};
    auto fds = descriptors_in(message);
    if ((message.msg_flags & MSG_CTRUNC) != 0)
        return Error{EMFILE, "this process can open no more files: raise ulimit -n"};
    if ((message.msg_flags & MSG_TRUNC) != 0) return Error{EPROTO, "it sent too long a packet"};
    const Status taken =
        take_packet(std::span(packet_).first(static_cast<std::size_t>(length)), std::move(fds));
    if (!taken) return taken.error();
    return true;
}

Status Connection::take_packet(std::span<const std::byte> packet, std::vector<UniqueFd> fds) {
    Header header;
    if (packet.size() < sizeof header) return Error{EPROTO, "it sent too short a packet"};
    std::memcpy(&header, packet.data(), sizeof header);
    if (header.magic != protocol::kMagic || header.version != protocol::kVersion ||
        header.bytes != packet.size() - sizeof header)
        return Error{EPROTO, "it sent what is no reply"};
    const auto payload = packet.subspan(sizeof header);
    answer_.payload.insert(answer_.payload.end(), payload.begin(), payload.end());
    std::move(fds.begin(), fds.end(), std::back_inserter(answer_.fds));
    answer_.status = static_cast<int>(header.status);

    MutexLock lock(mutex_);
    progress_ = Clock::now();
    const auto asked = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& one) {
        return one.number == header.request;
    });
    if (asked == waiting_.end()) return Error{EPROTO, "it answered what was not asked"};
    if ((header.flags & protocol::kMore) != 0) return {};
    const Done done = std::move(asked->done);
    waiting_.erase(asked);
    lock.unlock();
    done(std::exchange(answer_, {}));
    return {};
}

void Connection::lose(const std::string& why) {
    std::deque<Waiting> waiting;
    {
        MutexLock lock(mutex_);
        if (!lost_ && !stopping_)
            reason_ = "the daemon at " + path_ + " is lost (" + why +
                      "): gm_close, then gm_open once it runs again";
        if (!stopping_ || !said_bye_) lost_ = true;
        waiting.swap(waiting_);
        if (lost_) outgoing_.clear();
    }
    for (const Waiting& one : waiting) one.done({.status = ENOTCONN, .payload = {}, .fds = {}});
}

}  // namespace kvfs::gpumap
