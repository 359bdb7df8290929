#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvfs {

/// Learns, for kinds of files, after how long they are used again, and says what it is worth to
/// keep one that was not used for so long: hits to be expected for each unit of time that it takes
/// room, waited for as long as is best (Gittins' index; cf. LHD, Beckmann et al., NSDI 2018). Time
/// is counted in uses of files.
class ReuseTimes {
  public:
    explicit ReuseTimes(std::size_t kinds);

    /// A file was used again after `age`.
    void reused(std::size_t kind, std::uint32_t age) { ++kinds_[kind].reused[slot(age)]; }
    /// One was not for as long as we know of it.
    void gone(std::size_t kind, std::uint32_t age) { ++kinds_[kind].gone[slot(age)]; }
    /// So many have not been used for `age` up to now. Forgotten with the next learn().
    void waiting(std::size_t kind, std::uint32_t age, float count) {
        kinds_[kind].waiting[slot(age)] += count;
    }
    /// Puts all this into worth(). The older, the less it counts the next time. A use within
    /// `moment` is no reason to keep a file longer than that: worth() looks further ahead. Where
    /// fewer of a kind were seen than `few`, what is usual says more.
    void learn(std::uint32_t moment, float few);
    float worth(std::size_t kind, std::uint32_t age) const {
        const std::size_t at = slot(age);
        const Counts& worth = kinds_[kind].worth;
        const float part =
            static_cast<float>(age - start(at)) / static_cast<float>(start(at + 1) - start(at));
        return worth[at] + part * (worth[std::min(at + 1, kSlots - 1)] - worth[at]);
    }

  private:
    static constexpr std::size_t kSlots = 64;  ///< of ages: two for each power of two

    using Counts = std::array<float, kSlots>;
    struct Kind {
        Counts reused{}, gone{}, waiting{}, worth{};
    };

    static std::size_t slot(std::uint32_t age) {
        const auto bits = static_cast<unsigned>(std::bit_width(age | 1));
        return 2 * (bits - 1) + (bits < 2 ? 0 : (age >> (bits - 2)) & 1);
    }
    /// The least age in it. Of slot 1 none is.
    static std::uint64_t start(std::size_t slot) {
        return slot < 2 ? slot : (2 + slot % 2) * (std::uint64_t{1} << (slot / 2 - 1));
    }
    /// Of each slot, how many of a kind got there.
    static Counts reached(const Kind& kind);
    static void estimate(Kind& kind, const Counts& usual, std::size_t least, float few);

    std::vector<Kind> kinds_;
};

}  // namespace kvfs
