#include "fs/mapper/listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <utility>

namespace kvfs::mapper {
namespace {

constexpr int kBacklog = 128;

Result<UniqueFd> seqpacket_socket() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error("socket");
    return fd;
}

/// Two daemons that start at once must not both find the same dead socket and replace it.
Result<UniqueFd> lock_directory_of(const std::string& path) {
    std::string directory = std::filesystem::path(path).parent_path();
    if (directory.empty()) directory.push_back('.');  // g++ 12 warns of = "."
    UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return errno_error("the directory of the socket, " + directory);
    if (::flock(fd.get(), LOCK_EX) != 0) return errno_error("flock of " + directory);
    return fd;
}

Status remove_if_stale(const std::string& path, const sockaddr_un& address) {
    auto probe = seqpacket_socket();
    if (!probe) return probe.error();
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(probe->get(), generic, sizeof address) == 0 || errno == EAGAIN)
        return Error{EBUSY, "another daemon listens at " + path +
                                "; stop it, or choose another path with --socket"};
    if (errno == ENOENT) return {};
    if (errno != ECONNREFUSED) return errno_error("the socket " + path);
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
        return Error{EEXIST, path + " is in the way: it is not a socket"};
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return errno_error("removing the socket that a dead daemon left, " + path);
    return {};
}

}  // namespace

Result<Listener> Listener::listen(const std::string& path, unsigned mode) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return Error{ENAMETOOLONG, "the socket's path " + path + " must have 1 to 107 bytes"};
    std::memcpy(address.sun_path, path.data(), path.size());

    auto lock = lock_directory_of(path);
    if (!lock) return lock.error();
    if (Status removed = remove_if_stale(path, address); !removed) return removed.error();
    auto socket = seqpacket_socket();
    if (!socket) return socket.error();
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(socket->get(), generic, sizeof address) != 0)
        return errno_error("binding the socket " + path);
    Listener listener(std::move(*socket), path);
    struct stat status {};
    if (::chmod(path.c_str(), mode) != 0 || ::lstat(path.c_str(), &status) != 0 ||
        ::listen(listener.fd(), kBacklog) != 0)
        return errno_error("the socket " + path);
    listener.device_ = status.st_dev;
    listener.inode_ = status.st_ino;
    return listener;
}

Listener::~Listener() {
    if (!socket_) return;
    struct stat status {};
    if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
}

}  // namespace kvfs::mapper
