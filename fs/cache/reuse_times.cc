#include "fs/cache/reuse_times.h"

#include <algorithm>

namespace kvfs {

ReuseTimes::ReuseTimes(std::size_t kinds) : kinds_(kinds) { learn(1, 1); }

void ReuseTimes::learn(std::uint32_t moment, float few) {
    // Twenty looks ago counts a third: long enough for rare kinds, short enough for a change of
    // load within a few turnovers of the tier.
    constexpr float kKept = 0.95F;

    // What part of those that got to a slot is used in it, usually. Before anything was seen, the
    // same in each: LRU.
    Counts usual, all;
    usual.fill(0.1F);
    all.fill(1);
    for (const Kind& kind : kinds_) {
        const Counts reach = reached(kind);
        for (std::size_t at = 0; at < kSlots; ++at) {
            usual[at] += kind.reused[at];
            all[at] += reach[at];
        }
    }
    for (std::size_t at = 0; at < kSlots; ++at) usual[at] = std::min(usual[at] / all[at], 1.0F);
    for (Kind& kind : kinds_) {
        estimate(kind, usual, slot(moment), few);
        for (float& count : kind.reused) count *= kKept;
        for (float& count : kind.gone) count *= kKept;
        kind.waiting.fill(0);
    }
}

ReuseTimes::Counts ReuseTimes::reached(const Kind& kind) {
    Counts reach;
    float later = 0;
    for (std::size_t at = kSlots; at-- > 0;) {
        const float unused = kind.gone[at] + kind.waiting[at];
        reach[at] = later + kind.reused[at] + unused / 2;
        later += kind.reused[at] + unused;
    }
    return reach;
}

void ReuseTimes::estimate(Kind& kind, const Counts& usual, std::size_t least, float few) {
    const Counts reach = reached(kind);
    Counts used, width;  // which part of those that get to a slot; how long it is
    for (std::size_t at = 0; at < kSlots; ++at) {
        used[at] = (kind.reused[at] + few * usual[at]) / (reach[at] + few);
        width[at] = at < 2 ? 0.5F : static_cast<float>(std::uint64_t{1} << (at / 2 - 1));
    }
    for (std::size_t at = 0; at < kSlots; ++at) {
        float left = 1, hits = 0, room = 0, best_hits = 0, best_room = 1;
        for (std::size_t until = at; until < kSlots && left > 0.001F; ++until) {
            const float now = left * used[until];
            hits += now;
            room += (left - now / 2) * width[until];
            left -= now;
            if (until <= least || hits * best_room > best_hits * room)
                best_hits = hits, best_room = room;
            if (reach[until] == 0 && until > least) break;  // nobody has got there
        }
        kind.worth[at] = best_hits / best_room;
    }
}

}  // namespace kvfs
