#include "daemon/mount_point.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <sstream>
#include <thread>

#include "fs/base/log.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

namespace kvfs {
namespace {

/// A path as /proc/self/mountinfo has it: blanks and the like as \040.
std::string unescaped(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            plain += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

/// The type of the topmost file system mounted at exactly `path`, or "".
std::string mounted_type(const std::string& path) {
    std::ifstream file("/proc/self/mountinfo");
    std::string type;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string word;
        for (int i = 0; i < 5; ++i) words >> word;
        if (unescaped(word) != path) continue;
        while (words >> word && word != "-") {
        }
        words >> type;
    }
    return type;
}

Status unmount_dead(const std::string& path) {
    if (::umount2(path.c_str(), MNT_DETACH) == 0) return {};
    // Ordinary users need the set-uid program.
    std::string words[] = {"fusermount3", "-u", "-z", "--", path};
    char* arguments[] = {words[0].data(), words[1].data(), words[2].data(),
                         words[3].data(), words[4].data(), nullptr};
    pid_t pid = 0;
    int state = 0;
    if (::posix_spawnp(&pid, arguments[0], nullptr, nullptr, arguments, environ) == 0 &&
        ::waitpid(pid, &state, 0) == pid && state == 0)
        return {};
    return Error{EBUSY, "mount point " + path +
                            " has a dead mount on it that cannot be cleared; run umount -l " +
                            path};
}

/// What a file system says when asked for its figures: an errno value, ETIMEDOUT when it says
/// nothing.
struct Answer {
    int code = 0;
    struct statfs figures {};
};

Answer ask(const std::string& path, std::chrono::milliseconds timeout) {
    auto promise = std::make_shared<std::promise<Answer>>();
    auto answer = promise->get_future();
    // On a thread of its own because a request that FUSE does not answer cannot be interrupted.
    std::thread([promise, path] {
        Answer given;
        if (::statfs(path.c_str(), &given.figures) != 0) given.code = errno;
        promise->set_value(given);
    }).detach();
    if (answer.wait_for(timeout) != std::future_status::ready) return {ETIMEDOUT, {}};
    return answer.get();
}

std::string without_symlinks(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code error;
    fs::path resolved = fs::canonical(path, error);
    if (!error) return resolved.string();
    resolved = fs::canonical(fs::path(path).parent_path(), error);  // the last part may be dead
    return error ? path : (resolved / fs::path(path).filename()).string();
}

}  // namespace

Result<std::string> prepare_mount_point(const std::string& given) {
    const std::string path = without_symlinks(given);
    constexpr std::chrono::seconds patience{5};
    Answer answer = ask(path, patience);
    // More than one dead mount can lie on top of another, but not without end.
    for (int tries = 0; answer.code == ENOTCONN && tries < 16; ++tries) {
        if (auto cleared = unmount_dead(path); !cleared) return cleared.error();
        spdlog::warn("cleared the mount that a kvfsd which did not end well left on {}", path);
        answer = ask(path, patience);
    }
    if (answer.code == ENOENT)
        return Error{ENOENT, "mount point " + path + " does not exist; make it with mkdir -p"};
    if (answer.code == 0 && mounted_type(path) == "fuse.kvfs")
        return Error{EBUSY, "mount point " + path +
                                " has a running kvfs on it; unmount that (umount " + path +
                                ") or choose another"};
    struct stat attributes {};
    if (answer.code == 0 && ::stat(path.c_str(), &attributes) != 0) answer.code = errno;
    if (answer.code != 0) return Error{answer.code, "mount point " + path};
    if (!S_ISDIR(attributes.st_mode))
        return Error{ENOTDIR, "mount point " + path + " is not a directory; give one that is"};
    if (::access("/dev/fuse", R_OK | W_OK) != 0)
        return Error{ENODEV,
                     "/dev/fuse cannot be used; load the module (modprobe fuse), give the "
                     "container the device, or serve without a mount (--no-mount)"};
    return path;
}

Status await_mount(const std::string& path, std::chrono::milliseconds timeout) {
    const Answer answer = ask(path, timeout);
    if (answer.code != 0) return Error{answer.code, "the mount on " + path + " does not answer"};
    if (answer.figures.f_type != FUSE_SUPER_MAGIC)
        return Error{EIO, path + " is not the file system just mounted"};
    return {};
}

}  // namespace kvfs
