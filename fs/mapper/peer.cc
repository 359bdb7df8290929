#include "fs/mapper/peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <string>

#ifndef SO_PEERPIDFD  // Linux 6.5
#define SO_PEERPIDFD 77
#endif

namespace kvfs::mapper {
namespace {

Result<std::vector<std::uint32_t>> groups_of(int socket) {
    static_assert(sizeof(gid_t) == sizeof(std::uint32_t));
    std::vector<std::uint32_t> groups(64);
    for (;;) {
        socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
        const int code = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes);
        if (code != 0 && errno == ERANGE && bytes > groups.size() * sizeof(gid_t)) {
            groups.resize(bytes / sizeof(gid_t));
            continue;
        }
        if (code != 0) return errno_error("the groups of a client");
        groups.resize(bytes / sizeof(gid_t));
        return groups;
    }
}

/// The socket's own pidfd cannot be mistaken for that of a process which got the number later.
Result<UniqueFd> process_of(int socket, pid_t pid) {
    int fd = -1;
    socklen_t bytes = sizeof fd;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &bytes) == 0) return UniqueFd(fd);
    if (errno != ENOPROTOOPT || pid == 0) return Error{ESRCH, "a client that cannot be watched"};
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process) return errno_error("pidfd_open of process " + std::to_string(pid));
    return process;
}

}  // namespace

Result<Peer> peer_of(int socket) {
    ucred credentials{};
    socklen_t bytes = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return errno_error("the credentials of a client");
    auto groups = groups_of(socket);
    if (!groups) return groups.error();
    auto process = process_of(socket, credentials.pid);
    if (!process) return process.error();
    return Peer{credentials.pid,
                {credentials.uid, credentials.gid, std::move(*groups)},
                std::move(*process)};
}

bool has_ended(int pidfd) {
    pollfd watched{pidfd, POLLIN, 0};
    return ::poll(&watched, 1, 0) == 1;
}

}  // namespace kvfs::mapper
