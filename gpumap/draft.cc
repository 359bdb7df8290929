#include "gpumap/draft.h"

#include <utility>

namespace kvfs::gpumap {

Status Draft::begin_save() {
    MutexLock lock(mutex_);
    if (committed_ || closed_) return Error{EINVAL, "the draft is committed already"};
    ++saves_;
    return {};
}

void Draft::end_save(gm_status status) {
    {
        MutexLock lock(mutex_);
        --saves_;
        if (failed_ == GM_OK) failed_ = status;
    }
    go_on();
}

Status Draft::begin_commit() {
    MutexLock lock(mutex_);
    if (committed_ || closed_) return Error{EINVAL, "the draft is committed already"};
    committed_ = true;
    return {};
}

void Draft::give_up_commit() {
    MutexLock lock(mutex_);
    committed_ = false;
}

void Draft::commit(const JobPtr& job) {
    {
        MutexLock lock(mutex_);
        commit_ = job;
    }
    go_on();
}

void Draft::close() {
    {
        MutexLock lock(mutex_);
        closed_ = true;
    }
    go_on();
}

/// Publishes or discards, when it is time for that.
void Draft::go_on() {
    JobPtr job;
    gm_status failed = GM_OK;
    {
        MutexLock lock(mutex_);
        if (saves_ > 0 || given_back_ || (commit_ == nullptr && !closed_)) return;
        given_back_ = true;
        job = std::exchange(commit_, nullptr);
        failed = failed_;
    }
    if (job != nullptr && failed == GM_OK && scheduler_.publish(job, lease_->number)) return;
    daemon_.discard(lease_->number);
    if (job != nullptr && failed != GM_OK) scheduler_.stop(job, failed);
}

}  // namespace kvfs::gpumap
