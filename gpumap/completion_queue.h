#pragma once
#include <deque>
#include <memory>

#include "fs/base/fd.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "gpumap.h"

namespace kvfs::gpumap {

/// Results that wait to be taken, and a descriptor that is readable while there are any. Holds what
/// jobs with GM_NOTIFY put in, however much that is; the number of jobs bounds it. Thread-safe.
class CompletionQueue {
  public:
    static Result<std::unique_ptr<CompletionQueue>> create();

    int fd() const { return event_.get(); }
    void push(const gm_result& result);
    int reap(gm_result* results, int cap);

  private:
    explicit CompletionQueue(UniqueFd event) : event_(std::move(event)) {}

    const UniqueFd event_;
    Mutex mutex_;
    std::deque<gm_result> results_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap
