#pragma once
#include "fs/base/mutex.h"

namespace kvfs::gpumap {

/// Closed until open() is called, then open for ever. Thread-safe.
class Gate {
  public:
    void open() {
        MutexLock lock(mutex_);
        is_open_ = true;
        opened_.notify_all();
    }
    void wait() {
        MutexLock lock(mutex_);
        while (!is_open_) opened_.wait(lock);
    }

  private:
    Mutex mutex_;
    CondVar opened_;
    bool is_open_ GUARDED_BY(mutex_) = false;
};

}  // namespace kvfs::gpumap
