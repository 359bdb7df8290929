#pragma once
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "kvfs/protocol.h"
#include "tests/unit/gpumap_fixture.h"

/// The mapper's socket, packet by packet: for clients that are not libgpumap.
namespace kvfs::tests {

using namespace protocol;

using Bytes = std::vector<std::byte>;

template <typename T>
void append(Bytes& bytes, const T& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

inline void append_path(Bytes& bytes, std::string_view path) {
    append(bytes, static_cast<std::uint16_t>(path.size()));
    const auto raw = std::as_bytes(std::span(path.data(), path.size()));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

inline Bytes packet(Op op, std::uint32_t count, const Bytes& payload, std::uint64_t number = 1) {
    Header header;
    header.op = op;
    header.count = count;
    header.request = number;
    header.bytes = static_cast<std::uint32_t>(payload.size());
    Bytes bytes;
    append(bytes, header);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

inline Bytes hello() {
    Bytes payload;
    append(payload, Hello{.chunk_bytes = kChunkBytes});
    return packet(Op::hello, 1, payload);
}

template <typename... Numbers>
Bytes numbers(Op op, Numbers... values) {
    Bytes payload;
    (append(payload, std::uint64_t{values}), ...);
    return packet(op, sizeof...(values), payload);
}

/// A socket to the daemon and what is sent over it.
class Raw {
  public:
    explicit Raw(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        must(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
             "connect");
    }
    bool send(const Bytes& bytes) {
        return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(bytes.size());
    }
    /// One packet; empty: the daemon hung up, or says nothing for `timeout_ms`.
    Bytes receive(int timeout_ms = 10'000) {
        pollfd readable{fd_.get(), POLLIN, 0};
        if (::poll(&readable, 1, timeout_ms) != 1) return {};
        Bytes bytes(kPacketBytesMax);
        ssize_t length = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
        if (length < 0 && errno == ECONNRESET)
            length = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
        bytes.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
        return bytes;
    }
    Header ask(const Bytes& request) {
        Header header;
        send(request);
        const Bytes reply = receive();
        if (reply.size() >= sizeof header) std::memcpy(&header, reply.data(), sizeof header);
        payload_.assign(
            reply.begin() + std::min<std::ptrdiff_t>(sizeof header, reply.end() - reply.begin()),
            reply.end());
        return header;
    }
    template <typename T>
    T payload(std::size_t at = 0) const {
        T value{};
        if (at + sizeof value <= payload_.size())
            std::memcpy(&value, payload_.data() + at, sizeof value);
        return value;
    }
    std::size_t payload_bytes() const { return payload_.size(); }
    /// Did the daemon hang up?
    bool ended(int timeout_ms = 10'000) {
        pollfd readable{fd_.get(), POLLIN, 0};
        char byte = 0;
        while (::poll(&readable, 1, timeout_ms) == 1) {
            if (::recv(fd_.get(), &byte, 1, 0) <= 0) return true;
        }
        return false;
    }
    int fd() const { return fd_.get(); }

  private:
    UniqueFd fd_;
    Bytes payload_;
};

/// The lease in the reply to one inode's request (behind a slab, perhaps).
inline LeaseEntry lease_in(const Raw& raw) {
    const auto first = raw.payload<LeaseEntry>();
    return first.kind == EntryKind::slab ? raw.payload<LeaseEntry>(sizeof(SlabEntry)) : first;
}

}  // namespace kvfs::tests
