#pragma once
#include <atomic>
#include <unordered_map>

#include "fs/base/mutex.h"
#include "fs/names/inode.h"

namespace kvfs::fuse {

/// Files that the kernel reads and writes for programs without asking us (FUSE passthrough). It
/// wants one registration for all handles of an inode. Thread-safe.
class BackingFiles {
  public:
    /// `device`: the session's descriptor, when the kernel has said at the start that it does such
    /// a thing.
    void offer(int device) { device_ = device; }
    /// Until the kernel refuses one.
    bool offered() const { return device_.load(std::memory_order_relaxed) >= 0; }

    /// The number to answer an open of `ino` with, for one handle more; 0: the kernel refuses.
    int add(Ino ino, int fd);
    /// One handle less.
    void remove(Ino ino);

  private:
    struct Registered {
        int id = 0;
        unsigned handles = 0;
    };
    std::atomic<int> device_ = -1;
    Mutex mutex_;
    std::unordered_map<Ino, Registered> registered_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::fuse
