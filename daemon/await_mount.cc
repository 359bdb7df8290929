#include "daemon/await_mount.h"

#include <sys/vfs.h>

#include <future>
#include <memory>
#include <thread>

namespace kvfs {
namespace {

constexpr long kFuseMagic = 0x65735546;  // FUSE_SUPER_MAGIC; not in every linux/magic.h

Status ask(const std::string& path) {
    struct statfs figures {};
    if (::statfs(path.c_str(), &figures) != 0)
        return errno_error("the mount on " + path + " does not answer");
    if (figures.f_type != kFuseMagic)
        return Error{EIO, path + " is not the file system that was just mounted"};
    return {};
}

}  // namespace

Status await_mount(const std::string& path, std::chrono::milliseconds timeout) {
    auto promise = std::make_shared<std::promise<Status>>();
    auto answer = promise->get_future();
    // On a thread of its own because a request that FUSE does not answer cannot be interrupted.
    std::thread([promise, path] { promise->set_value(ask(path)); }).detach();
    if (answer.wait_for(timeout) == std::future_status::ready) return answer.get();
    return Error{ETIMEDOUT, "the mount on " + path + " does not answer"};
}

}  // namespace kvfs
