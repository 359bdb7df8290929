#include "fs/fuse/mountpoint.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <sstream>
#include <thread>

#include "fs/base/dead_mount.h"
#include "fs/base/log.h"

extern char** environ;

namespace kvfs::fuse {
namespace {

/// The kernel writes blanks and backslashes in mountinfo as \ooo.
std::string unescape(const std::string& field) {
    std::string plain;
    for (std::size_t i = 0; i < field.size(); ++i) {
        if (field[i] == '\\' && i + 3 < field.size()) {
            plain.push_back(static_cast<char>(std::stoi(field.substr(i + 1, 3), nullptr, 8)));
            i += 3;
        } else {
            plain.push_back(field[i]);
        }
    }
    return plain;
}

/// Type of the file system mounted topmost on `path`; empty when it is no mount point.
std::string mounted_type(const std::string& path) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string type;
    for (std::string line; std::getline(mounts, line);) {
        // 36 35 98:0 /root /mount/point options... - type source superoptions
        std::istringstream fields(line);
        std::string field;
        for (int i = 0; i < 5; ++i) fields >> field;
        if (unescape(field) != path) continue;
        while (fields >> field && field != "-") {
        }
        fields >> type;
    }
    return type;
}

/// Whether the daemon behind the mount on `path` is gone. Attributes may still come out of the
/// kernel's memory; figures of the file system never do. Asked on a thread of its own, because a
/// daemon that is there but stuck does not answer at all.
bool is_dead(const std::string& path) {
    auto answer = std::make_shared<std::promise<bool>>();
    auto dead = answer->get_future();
    std::thread([answer, path] {
        struct statvfs figures {};
        const bool failed = ::statvfs(path.c_str(), &figures) != 0;
        answer->set_value(failed && tells_of_death(errno));
    }).detach();
    return dead.wait_for(std::chrono::seconds(5)) == std::future_status::ready && dead.get();
}

/// For those who may not umount(2): the set-uid program that may.
bool run_fusermount_unmount(const std::string& path) {
    std::array<const char*, 6> arguments = {"fusermount3", "-u", "-z", "--", path.c_str(), nullptr};
    pid_t pid = 0;
    if (::posix_spawnp(&pid, arguments[0], nullptr, nullptr,
                       const_cast<char* const*>(arguments.data()), environ) != 0) {
        return false;
    }
    int status = 0;
    return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Status unmount_dead(const std::string& path) {
    if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0 ||
        run_fusermount_unmount(path)) {
        spdlog::warn("{}: unmounted what an earlier daemon had left mounted", path);
        return {};
    }
    return Error{EBUSY, path +
                            ": is mounted, but its daemon is dead, and it cannot be unmounted; " +
                            "run `umount -l " + path + "` as root"};
}

/// Looks at the mount point. A dead mount is known by its statfs only: the kernel may still
/// remember its root's attributes.
int look_at(const std::string& path, struct stat& st) {
    struct statfs figures {};
    if (::statfs(path.c_str(), &figures) != 0 || ::stat(path.c_str(), &st) != 0) return errno;
    return 0;
}

/// realpath fails on a dead mount: resolve what is above it, and leave the last component.
std::string absolute(const std::string& path) {
    std::array<char, PATH_MAX> resolved{};
    if (::realpath(path.c_str(), resolved.data()) != nullptr) return resolved.data();
    std::string trimmed = path;
    while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
    const std::size_t slash = trimmed.rfind('/');
    const std::string above = slash == std::string::npos ? "." : trimmed.substr(0, slash + 1);
    if (::realpath(above.c_str(), resolved.data()) == nullptr) return trimmed;
    const std::string base = resolved.data();
    return (base == "/" ? "" : base) + "/" + trimmed.substr(slash + 1);
}

}  // namespace

bool kvfs_is_mounted_on(const std::string& path) { return mounted_type(path) == "fuse.kvfs"; }

Result<std::string> prepare_mountpoint(const std::string& mountpoint) {
    if (mountpoint.empty()) return Error{ENOENT, "no mount point given"};
    struct stat st {};
    int failed = look_at(mountpoint, st);
    std::string path = absolute(mountpoint);
    const bool dead =
        kvfs_is_mounted_on(path) ? tells_of_death(failed) || is_dead(path) : failed == ENOTCONN;
    if (dead) {
        const Status unmounted = unmount_dead(path);
        if (!unmounted.ok()) return unmounted.error();
        failed = look_at(mountpoint, st);
        path = absolute(mountpoint);
    }
    if (failed == ENOENT) {
        return Error{ENOENT,
                     "mount point " + mountpoint + ": make it first (mkdir -p " + mountpoint + ")"};
    }
    if (failed != 0) return Error{failed, "mount point " + mountpoint};
    if (!S_ISDIR(st.st_mode)) {
        return Error{ENOTDIR, "mount point " + mountpoint + ": must be a directory"};
    }
    if (kvfs_is_mounted_on(path)) {
        return Error{EBUSY, "mount point " + mountpoint + ": a kvfs is mounted there already; " +
                                "unmount it first (umount " + mountpoint +
                                ") or take another directory"};
    }
    return path;
}

}  // namespace kvfs::fuse
