#include "fs/cache/reuse_times.h"

#include <algorithm>

namespace kvfs {

ReuseTimes::ReuseTimes(std::size_t kinds) : kinds_(kinds) { learn(); }

void ReuseTimes::learn() {
    // Of a kind that was not seen much, what is known of all is believed, as if that many of it had
    // been seen.
    constexpr float kBelieved = 1024;
    // Twenty looks ago counts a third: long enough for rare kinds, short enough for a change of
    // load within a few turnovers of the tier.
    constexpr float kKept = 0.95F;

    // Before anything was seen, a file is as likely to be used in each doubling of its age: LRU.
    Kind all;
    all.reused.fill(1);
    all.gone.back() = kSlots;
    float files = 2 * kSlots;
    for (const Kind& kind : kinds_)
        for (std::size_t at = 0; at < kSlots; ++at) {
            const float unused = kind.gone[at] + kind.waiting[at];
            all.reused[at] += kind.reused[at];
            all.gone[at] += unused;
            files += kind.reused[at] + unused;
        }
    for (Kind& kind : kinds_) {
        estimate(kind, all, kBelieved / files);
        for (float& count : kind.reused) count *= kKept;
        for (float& count : kind.gone) count *= kKept;
        kind.waiting.fill(0);
    }
}

void ReuseTimes::estimate(Kind& kind, const Kind& all, float share) {
    Counts hits{}, room{};
    float unused = 0;  // so many files got to the end of the slot without a use
    for (std::size_t at = kSlots; at-- > 0;) {
        hits[at] = kind.reused[at] + share * all.reused[at];
        const float ended = hits[at] + kind.gone[at] + kind.waiting[at] + share * all.gone[at];
        const float width = at < 2 ? 0.5F : static_cast<float>(std::uint64_t{1} << (at / 2 - 1));
        room[at] = (unused + ended / 2) * width;
        unused += ended;
        float hit = 0, taken = 0, best = 0;
        for (std::size_t until = at; until < kSlots; ++until) {
            hit += hits[until];
            taken += room[until];
            best = std::max(best, hit / taken);
        }
        kind.worth[at] = best;
    }
}

}  // namespace kvfs
