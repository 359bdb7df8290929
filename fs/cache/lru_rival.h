#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace kvfs {

/// Counts what LRU would have hit in a tier of the same room, beside what the tier's own policy
/// does, and says whose order to go by: where uses do not follow what was learned, LRU's is not
/// beaten, and its hits are to be had. Time is counted in uses of files.
///
/// Under LRU a file is in the tier as long as fewer files than fit were used since: its age at its
/// next use tells.
class LruRival {
  public:
    /// A file was used again after `age`; `hit`: it was in the tier.
    void reused(std::uint32_t age, bool hit) {
        own_hits_ += hit;
        lru_hits_ += age < lru_age_;
    }
    /// So many files, in the tier or gone, have not been used for `age`.
    void waiting(std::uint32_t age, float count) { ages_.emplace_back(age, count); }
    /// To be called with the waiting() of all that are known, or of a sample. `files` are in the
    /// tier.
    void look(std::uint32_t now, std::size_t files) {
        std::ranges::sort(ages_);
        auto room = static_cast<float>(files);
        lru_age_ = std::numeric_limits<std::uint32_t>::max();
        for (const auto& [age, count] : ages_)
            if ((room -= count) <= 0) {
                lru_age_ = age;
                break;
            }
        ages_.clear();
        if (now - begun_ >= kTurnovers * files) judge(now);
    }
    /// There is nothing to compare yet, or not any more: LRU leads until there is.
    void reset(std::uint32_t now) {
        state_ = State::leads;
        left_ = rest_;
        ages_.clear();
        begin(now);
    }
    bool leads() const { return state_ == State::leads; }

  private:
    /// A look at hits takes as many uses as this many times the tier's files: it has been filled
    /// anew by then.
    static constexpr std::size_t kTurnovers = 1;
    /// Looks for which LRU leads after one that the other lost, and so many times more after each
    /// further one. At first more: with less to learn from, what was learned loses to LRU.
    static constexpr unsigned kLonger = 2, kRestMax = 64;

    /// After LRU has led for so long, the other has one look's time to fill the tier its way, and
    /// is then watched.
    enum class State : std::uint8_t { watches, leads, lets_try };

    void begin(std::uint32_t now) {
        begun_ = now;
        own_hits_ = lru_hits_ = 0;
    }
    void judge(std::uint32_t now) {
        switch (state_) {
            case State::watches:
                if (lru_hits_ > own_hits_) {
                    state_ = State::leads;
                    left_ = rest_;
                    rest_ = std::min(kLonger * rest_, kRestMax);
                } else {
                    rest_ = std::max(rest_ / kLonger, 1U);
                }
                break;
            case State::leads:
                if (--left_ == 0) state_ = State::lets_try;
                break;
            case State::lets_try:
                state_ = State::watches;
                break;
        }
        begin(now);
    }

    State state_ = State::leads;
    unsigned rest_ = 4, left_ = 8;  ///< looks
    std::uint32_t begun_ = 0;
    std::uint32_t lru_age_ = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t own_hits_ = 0, lru_hits_ = 0;
    std::vector<std::pair<std::uint32_t, float>> ages_;
};

}  // namespace kvfs
