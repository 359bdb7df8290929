#pragma once
#include <cerrno>

namespace kvfs {

/// Whether a call on a FUSE mount failed because its daemon has died: ENOTCONN, or ECONNABORTED
/// while that comes about. Asked over io_uring in that instant, the kernel may say ECANCELED or
/// EFAULT.
inline bool tells_of_death(int code) {
    return code == ENOTCONN || code == ECONNABORTED || code == ECANCELED || code == EFAULT;
}

}  // namespace kvfs
