#pragma once
#include <deque>
#include <string>
#include <thread>
#include <utility>

#include "fs/base/mutex.h"
#include "fs/files/files.h"

namespace kvfs {

/// Tells the listener of changes from a thread of its own: telling the kernel waits for the
/// directory's lock, which a request that waits for us may hold.
class Files::Notifier {
  public:
    Notifier() : thread_([this] { run(); }) {}
    ~Notifier() {
        {
            const MutexLock lock(mutex_);
            stopping_ = true;
        }
        cv_.notify_all();
        thread_.join();
    }

    void set_listener(Listener listener) {
        MutexLock lock(mutex_);
        listener_ = std::move(listener);
        while (telling_) idle_cv_.wait(lock);  // nobody hears of it after it was unset
    }

    void changed(Change change) {
        {
            const MutexLock lock(mutex_);
            if (!listener_) return;
            queue_.push_back(std::move(change));
        }
        cv_.notify_all();
    }

  private:
    void run() {
        MutexLock lock(mutex_);
        for (;;) {
            while (queue_.empty() && !stopping_) cv_.wait(lock);
            if (stopping_) return;
            const Change change = std::move(queue_.front());
            queue_.pop_front();
            const Listener listener = listener_;
            if (!listener) continue;
            telling_ = true;
            lock.unlock();
            listener(change);
            lock.lock();
            telling_ = false;
            idle_cv_.notify_all();
        }
    }

    Mutex mutex_;
    CondVar cv_;
    CondVar idle_cv_;
    Listener listener_ GUARDED_BY(mutex_);
    std::deque<Change> queue_ GUARDED_BY(mutex_);
    bool telling_ GUARDED_BY(mutex_) = false;
    bool stopping_ GUARDED_BY(mutex_) = false;
    std::thread thread_;
};

}  // namespace kvfs
