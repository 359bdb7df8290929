#pragma once
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "fs/base/result.h"
#include "gpumap.h"
#include "gpumap/status.h"

namespace kvfs::gpumap {

/// Runs `body`, which gives a gm_status; no exception leaves it.
template <typename Body>
gm_status guarded(Body&& body) noexcept {
    try {
        return std::forward<Body>(body)();
    } catch (const std::bad_alloc&) {
        return GM_ENOMEM;
    } catch (const std::exception& error) {
        try {
            return fail(GM_EIO, error.what());
        } catch (...) {
            return GM_EIO;
        }
    }
}

/// The status of an Error, whose sentence becomes gm_message().
inline gm_status fail(const Error& error) {
    const gm_status status = from_errno(error.code);
    return fail(status, error.what.empty() ? gm_strerror(status) : error.what);
}

inline gm_status invalid(const char* why) { return fail(GM_EINVAL, why); }

}  // namespace kvfs::gpumap
