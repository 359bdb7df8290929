#pragma once
#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>

#include <atomic>
#include <functional>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/files/files.h"
#include "fs/fuse/backing_files.h"
#include "fs/fuse/lingering.h"
#include "fs/fuse/listing.h"

namespace kvfs::fuse {

/// Seconds for which the kernel may believe a name, a missing name, and attributes without asking.
/// Names and settled attributes are invalidated when they change behind its back; the limit on
/// missing ones bounds what a lost invalidation could cost (a file published by a mapper client
/// that the mount does not show).
inline constexpr double kEntrySeconds = 3600;
inline constexpr double kMissingSeconds = 60;
inline constexpr double kAttributeSeconds = 1;
inline constexpr double kSettledSeconds = 3600;

/// Owns what the kernel holds as a file handle number. Thread-safe.
template <typename T>
class OpenTable {
  public:
    std::uint64_t add(std::unique_ptr<T> item) {
        MutexLock lock(mutex_);
        items_.insert(item.get());
        return reinterpret_cast<std::uint64_t>(item.release());
    }
    static T& at(std::uint64_t number) { return *reinterpret_cast<T*>(number); }
    std::unique_ptr<T> take(std::uint64_t number) {
        MutexLock lock(mutex_);
        items_.erase(&at(number));
        return std::unique_ptr<T>(&at(number));
    }
    std::vector<std::unique_ptr<T>> take_all() {
        MutexLock lock(mutex_);
        std::vector<std::unique_ptr<T>> all;
        all.reserve(items_.size());
        for (T* item : items_) all.emplace_back(item);
        items_.clear();
        return all;
    }
    ~OpenTable() { take_all(); }

  private:
    Mutex mutex_;
    std::unordered_set<T*> items_ GUARDED_BY(mutex_);
};

class RingTransport;

/// What the callbacks work on: the session's user data.
struct Front {
    Files& files;
    std::function<void()> ready;
    std::function<void()> on_request;
    RingTransport* rings = nullptr;  ///< none: all goes by /dev/fuse
    int device = -1;                 ///< the session's descriptor
    OpenTable<Handle> handles{};
    BackingFiles backing_files{};
    OpenTable<Listing> listings{};
    Lingering lingering{files};
    std::atomic<unsigned> busy = 0;  ///< requests being served
};

inline Front& front_of(fuse_req_t req) { return *static_cast<Front*>(fuse_req_userdata(req)); }

/// The thread behind `req`.
inline Lineage::Client client_of(fuse_req_t req) {
    return static_cast<Lineage::Client>(fuse_req_ctx(req)->pid);
}

/// What the program behind `req` makes in `parent`: its own, or its group's directory's when that
/// has the setgid bit (how Kubernetes shares a volume). Errors: ENOENT - no such directory.
Result<Namespace::NewInode> new_inode(fuse_req_t req, fuse_ino_t parent, mode_t mode);

/// The callbacks, by what they are about.
void set_name_ops(fuse_lowlevel_ops& ops);
void set_byte_ops(fuse_lowlevel_ops& ops);
void set_directory_ops(fuse_lowlevel_ops& ops);
void set_xattr_ops(fuse_lowlevel_ops& ops);

/// `counted<op>` is `op` as libfuse wants it, counted in Front::busy.
template <auto op>
struct Counted;
template <typename... Args, void (*op)(fuse_req_t, Args...)>
struct Counted<op> {
    static void call(fuse_req_t req, Args... args) noexcept {
        Front& front = front_of(req);  // `req` is gone once it is answered
        front.busy.fetch_add(1, std::memory_order_relaxed);
        if (front.on_request) front.on_request();
        op(req, args...);
        front.busy.fetch_sub(1, std::memory_order_release);
    }
};
template <auto op>
inline constexpr auto counted = &Counted<op>::call;

}  // namespace kvfs::fuse
