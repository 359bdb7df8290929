#include "gpumap/completion_queue.h"

#include <sys/eventfd.h>

#include <utility>

namespace kvfs::gpumap {

Result<std::unique_ptr<CompletionQueue>> CompletionQueue::create() {
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return errno_error("eventfd");
    return std::unique_ptr<CompletionQueue>(new CompletionQueue(std::move(event)));
}

void CompletionQueue::push(const gm_result& result) {
    MutexLock lock(mutex_);
    results_.push_back(result);
    if (results_.size() == 1) ::eventfd_write(event_.get(), 1);
}

int CompletionQueue::reap(gm_result* results, int cap) {
    MutexLock lock(mutex_);
    int count = 0;
    for (; count < cap && !results_.empty(); ++count) {
        results[count] = results_.front();
        results_.pop_front();
    }
    if (count > 0 && results_.empty()) {
        eventfd_t ignored = 0;
        ::eventfd_read(event_.get(), &ignored);
    }
    return count;
}

}  // namespace kvfs::gpumap
