#include "fs/store/worker.h"

#include <pthread.h>

#include <utility>

namespace kvfs {

Worker::Worker(const char* thread_name) : thread_([this] { run(); }) {
    ::pthread_setname_np(thread_.native_handle(), thread_name);
}

Worker::~Worker() {
    {
        MutexLock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Worker::post(std::function<void()> work) {
    {
        MutexLock lock(mutex_);
        queue_.push_back(std::move(work));
    }
    changed_.notify_one();
}

void Worker::run() {
    MutexLock lock(mutex_);
    for (;;) {
        while (queue_.empty() && !stopping_) changed_.wait(lock);
        if (queue_.empty()) return;
        const std::function<void()> work = std::exchange(queue_.front(), nullptr);
        queue_.pop_front();
        lock.unlock();
        work();
        lock.lock();
    }
}

}  // namespace kvfs
