#pragma once
#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <memory>
#include <utility>

namespace kvfs {

/// At most `kMax` things, to which more may come while others go through them without a lock; none
/// goes before all do. Who goes through them sees those that were there when it began.
template <typename T, std::size_t kMax>
class GrowingList {
  public:
    using Iterator = const std::unique_ptr<T>*;

    Iterator begin() const { return things_.data(); }
    Iterator end() const { return begin() + size(); }
    std::size_t size() const { return count_.load(std::memory_order_acquire); }

    /// By one thread at a time. Requires: fewer than kMax.
    void push_back(std::unique_ptr<T> thing) {
        const std::size_t count = size();
        assert(count < kMax);
        things_[count] = std::move(thing);
        count_.store(count + 1, std::memory_order_release);
    }
    /// Nobody else looks any more, but what is about to go may still look at itself: a thing is in
    /// the list until it is gone.
    void clear() {
        for (std::size_t left = size(); left > 0; --left) {
            delete things_[left - 1].get();
            static_cast<void>(things_[left - 1].release());
        }
        count_ = 0;
    }

  private:
    std::array<std::unique_ptr<T>, kMax> things_;
    std::atomic<std::size_t> count_ = 0;
};

}  // namespace kvfs
