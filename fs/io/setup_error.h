#pragma once
#include <cerrno>

#include "fs/base/result.h"

namespace kvfs {

/// Why io_uring_setup failed, and what to do about it.
inline Error setup_error(int code) {
    switch (code) {
        case ENOSYS:
            return {code,
                    "this kernel has no io_uring, or a seccomp profile hides it: use Linux "
                    "5.19 or newer and allow io_uring_setup"};
        case EPERM:
            return {code,
                    "io_uring is switched off: set sysctl kernel.io_uring_disabled=0, or allow "
                    "io_uring_setup in the container's seccomp profile"};
        case ENOMEM:
            return {code, "no memory to be locked for an io_uring: raise ulimit -l"};
        default:
            return {code, "io_uring_setup"};
    }
}

}  // namespace kvfs
