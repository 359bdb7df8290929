#include "gpumap/status.h"

#include <cerrno>
#include <utility>

namespace kvfs::gpumap {
namespace {

std::string& thread_message() {
    thread_local std::string message;
    return message;
}

}  // namespace

gm_status from_errno(int code) {
    switch (code) {
        case 0:
            return GM_OK;
        case ENOENT:
        case ENOTDIR:  // part of the path is a file: what is asked for is not there
            return GM_ENOENT;
        case EINVAL:
        case EISDIR:
        case ELOOP:
        case ENAMETOOLONG:
            return GM_EINVAL;
        case EACCES:
        case EPERM:
            return GM_EACCES;
        case EAGAIN:
        case EBUSY:
        case EMFILE:
        case ENFILE:
            return GM_EAGAIN;
        case ETIMEDOUT:
            return GM_ETIMEDOUT;
        case ENOSPC:
        case EFBIG:
        case EDQUOT:
            return GM_ENOSPC;
        case ENOMEM:
            return GM_ENOMEM;
        case ESTALE:
            return GM_ESTALE;
        case ENOTSUP:
        case ENOSYS:
        case EPROTONOSUPPORT:
            return GM_ENOTSUP;
        case ENODEV:
            return GM_EDEVICE;
        case ENOTCONN:
        case ECONNREFUSED:
        case ECONNRESET:
        case EPIPE:
            return GM_ENOTCONN;
        default:
            return GM_EIO;
    }
}

void set_message(std::string message) { thread_message() = std::move(message); }

const char* message() { return thread_message().c_str(); }

}  // namespace kvfs::gpumap
