#include "fs/mapper/reply.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <utility>

namespace kvfs::mapper {

using protocol::kPacketBytesMax;
using protocol::kPacketFdsMax;

Reply::Reply(int socket, const protocol::Header& request) : socket_(socket) {
    header_.op = request.op;
    header_.request = request.request;
    header_.count = request.count;
    packet_.resize(sizeof header_);
}

void Reply::append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        if (packet_.size() == kPacketBytesMax) send(protocol::kMore);
        const auto part = bytes.first(std::min(bytes.size(), kPacketBytesMax - packet_.size()));
        packet_.insert(packet_.end(), part.begin(), part.end());
        bytes = bytes.subspan(part.size());
    }
}

void Reply::attach(int fd) {
    if (fds_.size() == kPacketFdsMax) send(protocol::kMore);
    fds_.push_back(fd);
}

void Reply::attach(UniqueFd fd) {
    attach(fd.get());
    owned_.push_back(std::move(fd));
}

Status Reply::finish(int status) {
    assert(status == 0 || packet_.size() == sizeof header_);
    header_.status = static_cast<std::uint32_t>(status);
    send(0);
    return status_;
}

void Reply::send(std::uint32_t flags) {
    header_.flags = flags;
    header_.bytes = static_cast<std::uint32_t>(packet_.size() - sizeof header_);
    std::memcpy(packet_.data(), &header_, sizeof header_);
    iovec piece{packet_.data(), packet_.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kPacketFdsMax * sizeof(int))> control{};
    if (!fds_.empty()) {
        const std::size_t bytes = fds_.size() * sizeof(int);
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(bytes);
        cmsghdr* rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(bytes);
        std::memcpy(CMSG_DATA(rights), fds_.data(), bytes);
    }
    ssize_t sent = 0;
    // After a failure nothing more is sent: the client would take the rest for something else.
    if (status_.ok()) {
        do sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        if (sent < 0) status_ = errno_error("sending a reply");
    }
    packet_.resize(sizeof header_);
    fds_.clear();
    owned_.clear();
}

}  // namespace kvfs::mapper
