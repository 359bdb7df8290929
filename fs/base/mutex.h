#pragma once
#include <condition_variable>
#include <mutex>

#include "fs/base/clock.h"

// Clang's thread-safety analysis (run by `make lint`) needs annotations that std::mutex in
// libstdc++ does not carry; g++ sees nothing here.
#if defined(__clang__)
#define KVFS_TSA(x) __attribute__((x))
#else
#define KVFS_TSA(x)
#endif
#define CAPABILITY(name) KVFS_TSA(capability(name))
#define SCOPED_CAPABILITY KVFS_TSA(scoped_lockable)
#define GUARDED_BY(mutex) KVFS_TSA(guarded_by(mutex))
#define REQUIRES(...) KVFS_TSA(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) KVFS_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) KVFS_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) KVFS_TSA(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS KVFS_TSA(no_thread_safety_analysis)

namespace kvfs {

class CAPABILITY("mutex") Mutex {
  public:
    void lock() ACQUIRE() { mutex_.lock(); }
    void unlock() RELEASE() { mutex_.unlock(); }
    std::mutex& native() { return mutex_; }

  private:
    std::mutex mutex_;
};

/// Holds a Mutex for a scope; `unlock` and `lock` allow a gap in the middle.
class SCOPED_CAPABILITY MutexLock {
  public:
    explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : lock_(mutex.native()) {}
    ~MutexLock() RELEASE() {}
    MutexLock(const MutexLock&) = delete;
    MutexLock& operator=(const MutexLock&) = delete;

    void unlock() RELEASE() { lock_.unlock(); }
    void lock() ACQUIRE() { lock_.lock(); }
    std::unique_lock<std::mutex>& native() { return lock_; }

  private:
    std::unique_lock<std::mutex> lock_;
};

/// A condition variable that waits on a MutexLock. Every wait is in a loop at its caller.
class CondVar {
  public:
    void wait(MutexLock& lock) { cv_.wait(lock.native()); }
    /// False when the deadline passed.
    bool wait_until(MutexLock& lock, Deadline deadline) {
        return cv_.wait_until(lock.native(), deadline) == std::cv_status::no_timeout;
    }
    void notify_one() { cv_.notify_one(); }
    void notify_all() { cv_.notify_all(); }

  private:
    std::condition_variable cv_;
};

}  // namespace kvfs
