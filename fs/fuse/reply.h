#pragma once
#include <sys/stat.h>

#include <exception>
#include <new>
#include <string>
#include <type_traits>

#include "fs/base/log.h"
#include "fs/fuse/front.h"

// The one place where a Result becomes an answer to the kernel. No lock of kvfs is held here: an
// answer is a system call, and may take as long as copying its bytes does.

namespace kvfs::fuse {

/// What `compute` returns; an exception becomes an Error. Answers are given outside of it, so that
/// a request is never answered twice.
template <typename Compute>
std::invoke_result_t<Compute> checked(const char* operation, Compute&& compute) noexcept {
    try {
        return compute();
    } catch (const std::bad_alloc&) {
        return Error{ENOMEM};
    } catch (const std::exception& e) {
        spdlog::error("{}: {}", operation, e.what());
        return Error{EIO};
    }
}

/// For requests about an inode the kernel found by name a while ago: told ESTALE, it looks the name
/// up again and then gives the program ENOENT, or the file that has the name now.
template <typename T>
Result<T> stale_if_gone(Result<T> result) {
    if (!result.ok() && result.error().code == ENOENT) return Error{ESTALE};
    return result;
}

struct stat to_stat(const Attributes& attributes);
/// Seconds.
inline double lifetime_of(const Attributes& attributes) {
    return attributes.settled ? kSettledSeconds : kAttributeSeconds;
}
fuse_entry_param to_entry(const Attributes& attributes);

/// Told when the kernel has no use for the answer any more (the program was killed): what the
/// request opened must then be released again.
[[nodiscard]] inline bool unwanted(int reply_result) { return reply_result == -ENOENT; }

inline void reply_error(fuse_req_t req, const Error& error) {
    if (!error.what.empty()) spdlog::warn("{}", error.message());
    fuse_reply_err(req, error.code == 0 ? EIO : error.code);
}
inline void reply(fuse_req_t req, const Status& status) {
    if (status.ok()) {
        fuse_reply_err(req, 0);
    } else {
        reply_error(req, status.error());
    }
}
inline void reply_entry(fuse_req_t req, const Result<Attributes>& attributes) {
    if (!attributes.ok()) return reply_error(req, attributes.error());
    const fuse_entry_param entry = to_entry(*attributes);
    fuse_reply_entry(req, &entry);
}
inline void reply_attributes(fuse_req_t req, const Result<Attributes>& attributes) {
    if (!attributes.ok()) return reply_error(req, attributes.error());
    const struct stat st = to_stat(*attributes);
    fuse_reply_attr(req, &st, lifetime_of(*attributes));
}

}  // namespace kvfs::fuse
