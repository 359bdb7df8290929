#pragma once
#include <deque>
#include <functional>
#include <thread>

#include "fs/base/mutex.h"

namespace kvfs {

/// One thread that does what it is given, in order: for the calls that block and must not do so on
/// a ring's thread. Destruction does what is left first. Thread-safe.
class Worker {
  public:
    explicit Worker(const char* thread_name);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void post(std::function<void()> work) EXCLUDES(mutex_);

  private:
    void run() EXCLUDES(mutex_);

    Mutex mutex_;
    CondVar changed_;
    std::deque<std::function<void()>> queue_ GUARDED_BY(mutex_);
    bool stopping_ GUARDED_BY(mutex_) = false;
    std::thread thread_;  ///< last: it uses the members above
};

}  // namespace kvfs
