#pragma once
#include <cstdint>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"

namespace kvfs {

/// The end of a store's transfer, waited for no longer than the I/O timeout. What the transfer uses
/// must outlive the waiter, who may give up: it belongs beside this, in something that both hold.
class Awaited {
  public:
    /// Bytes, or a negative errno.
    void finish(std::int64_t result) {
        const MutexLock lock(mutex_);
        finished_ = true;
        result_ = result;
        done_.notify_all();
    }

    /// Errors: the transfer's; ETIMEDOUT.
    Result<std::uint64_t> wait(Deadline until, const char* doing) {
        MutexLock lock(mutex_);
        while (!finished_)
            if (!done_.wait_until(lock, until) && !finished_)
                return Error{ETIMEDOUT, std::string(doing) +
                                            ": no answer from the store within the I/O timeout"};
        if (result_ < 0) return Error{static_cast<int>(-result_), doing};
        return static_cast<std::uint64_t>(result_);
    }

  private:
    Mutex mutex_;
    CondVar done_;
    bool finished_ GUARDED_BY(mutex_) = false;
    std::int64_t result_ GUARDED_BY(mutex_) = 0;
};

}  // namespace kvfs
