#include "fs/mapper/session.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <span>
#include <string>
#include <utility>

#include "fs/base/crc32c.h"

namespace kvfs::mapper {

using protocol::Op;

Session::Session(Files& files, UniqueFd socket, Peer peer, const std::atomic<unsigned>& clients,
                 std::function<void()> on_request)
    : files_(files),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      clients_(clients),
      on_request_(std::move(on_request)),
      packet_(protocol::kPacketBytesMax + 1) {
    // Apart from the threads that ask through the mount, which go by their numbers.
    static std::atomic<Lineage::Client> last = Lineage::Client{1} << 32;
    peer_.caller.client = ++last;
}

void Session::disconnect() { ::shutdown(socket_.get(), SHUT_RDWR); }

/// The next packet's length; 0 when the client has hung up. Descriptors that it sends along are
/// closed by the kernel, because no room is given for them.
Result<std::size_t> Session::receive() {
    ssize_t length = 0;
    do length = ::recv(socket_.get(), packet_.data(), packet_.size(), 0);
    while (length < 0 && errno == EINTR);
    if (length < 0) return errno_error("receiving a request");
    return static_cast<std::size_t>(length);
}

bool Session::run() {
    Status status = greet();
    while (status.ok()) {
        status = wait_for_request();
        if (!status) break;
        const auto length = receive();
        if (!length || *length == 0) return false;
        if (on_request_) on_request_();
        const auto request = parse_request(std::span(packet_).first(*length));
        if (!request) {
            status = request.error();
        } else if (request->header.op == Op::bye) {
            return true;
        } else {
            status = answer(*request);
        }
    }
    if (status.error().code == EBADMSG || status.error().code == EPROTONOSUPPORT)
        spdlog::warn("mapper client {} is disconnected: it sent {}", peer_.pid,
                     status.error().what);
    disconnect();
    return false;
}

/// The first message, which alone may be of another version.
Status Session::greet() {
    const auto length = receive();
    if (!length) return length.error();
    if (*length == 0) return Error{ECONNRESET};
    const auto request = parse_request(std::span(packet_).first(*length));
    if (!request && request.error().code == EPROTONOSUPPORT) {
        protocol::Header header;
        header.op = Op::hello;
        static_cast<void>(Reply(socket_.get(), header).finish(EPROTONOSUPPORT));
    }
    if (!request) return request.error();
    if (request->header.op != Op::hello) return Error{EBADMSG, "no hello"};
    return welcome(request->header);
}

Status Session::welcome(const protocol::Header& header) {
    const Arena& arena = files_.cache().arena();
    Reply reply(socket_.get(), header);
    reply.append(protocol::Welcome{static_cast<std::uint32_t>(kChunkBytes), arena.slab_count(),
                                   arena.slab_bytes()});
    return reply.finish();
}

Status Session::answer(const Request& request) {
    switch (request.header.op) {
        case Op::lookup:
            return lookup(request);
        case Op::lease:
            return lease(request);
        case Op::draft:
            return draft(request);
        case Op::await:
            return await(request);
        case Op::set:
            return set(request);
        case Op::publish:
            return publish(request);
        case Op::stats:
            return statistics(request);
        case Op::release:
            release(request);
            return {};
        case Op::discard:
            discard(request);
            return {};
        case Op::hello:
        case Op::bye:
            break;
    }
    return Error{EBADMSG, "a second hello"};
}

Status Session::lookup(const Request& request) {
    Reply reply(socket_.get(), request.header);
    for (const std::string_view path : request.paths) reply.append(look_up(path));
    return reply.finish();
}

protocol::LookupEntry Session::look_up(std::string_view path) {
    protocol::LookupEntry entry;
    const auto refuse = [&](int code) {
        entry.status = static_cast<std::uint32_t>(code);
        return entry;
    };
    const auto found = files_.resolve(path, peer_.caller);
    if (!found) return refuse(found.error().code);
    const Inode& inode = found->inode;
    if (inode.is_directory()) return refuse(EISDIR);
    if (!inode.is_regular()) return refuse(ELOOP);
    if (!Files::permitted(inode, peer_.caller, false)) return refuse(EACCES);

    entry.inode = inode.ino;
    entry.size = inode.size;
    entry.hits = inode.hits;
    entry.mtime_ns = inode.mtime_ns;
    const auto live = files_.cache().residency(inode.ino);
    if (live && !live->sealed) return refuse(ENOENT);
    if (live && live->dram_bytes == live->size && (live->size > 0 || live->store.empty())) {
        entry.tier = protocol::Tier::dram;
    } else if (live ? !live->store.empty() : files_.names().placement(inode.ino).ok()) {
        entry.tier = protocol::Tier::ssd;
    } else {
        return refuse(ENOENT);
    }
    return entry;
}

Status Session::set(const Request& request) {
    Reply reply(socket_.get(), request.header);
    const Status set =
        files_.set_control(request.paths[0], request.paths[1], request.paths[2], peer_.caller);
    return reply.finish(set ? 0 : set.error().code);
}

Status Session::statistics(const Request& request) {
    Reply reply(socket_.get(), request.header);
    const std::string text = files_.statistics();
    reply.append(std::as_bytes(std::span(text.data(), text.size())));
    return reply.finish();
}

}  // namespace kvfs::mapper
