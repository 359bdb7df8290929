#pragma once
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "fs/base/result.h"
#include "gpumap.h"
#include "gpumap/context.h"
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

/// The same for a call on a context, or on what was made from it. In a child of the process that
/// opened it nothing of it is touched: its threads are not there, its locks may be held for ever,
/// and its socket is the parent's.
template <typename Handle, typename Body>
gm_status guarded(const Handle* handle, Body&& body) noexcept {
    return guarded([&]() -> gm_status {
        if (handle != nullptr && context_of(*handle).inherited())
            return fail(GM_ENOTCONN,
                        "the context is that of the process before fork(): gm_open in this one");
        return std::forward<Body>(body)();
    });
}

/// The status of an Error, whose sentence becomes gm_message().
inline gm_status fail(const Error& error) {
    const gm_status status = from_errno(error.code);
    return fail(status, error.what.empty() ? gm_strerror(status) : error.what);
}

inline gm_status invalid(const char* why) { return fail(GM_EINVAL, why); }

/// Can a caller have set a struct's `size` to this? They all are multiples of 8 bytes: any other
/// number was not set, and might end in the middle of a pointer.
inline bool is_size(std::uint32_t size) { return size > 0 && size % 8 == 0; }

}  // namespace kvfs::gpumap
