#include <criterion/criterion.h>

#include "fs/cache/lru_rival.h"

using kvfs::LruRival;

namespace {

/// A tier of 100 files over so many turnovers, in which every use is after `age` and half of them
/// are hits. All files known were used within the last 200 uses: LRU has those of the last 100.
class Tier {
  public:
    explicit Tier(std::uint32_t age) : age_(age) {}
    void turn_over(int times) {
        for (int use = 0; use < 100 * times; ++use) {
            rival.reused(age_, use % 2 == 0);
            if (++now_ % 50 != 0) continue;
            for (std::uint32_t age = 0; age < 200; age += 2) rival.waiting(age, 2);
            rival.look(now_, 100);
        }
    }
    LruRival rival;

  private:
    std::uint32_t age_, now_ = 0;
};

}  // namespace

TestSuite(lru_rival, .timeout = 10);

Test(lru_rival, leads_until_the_tier_has_turned_over_eight_times) {
    Tier tier(150);

    tier.turn_over(7);
    cr_expect(tier.rival.leads());
    tier.turn_over(1);
    cr_expect_not(tier.rival.leads());
}

Test(lru_rival, leads_for_ever_longer_when_it_has_more_hits) {
    Tier tier(90);  // LRU would hit all
    int turns_not_led = 0;
    for (int turn = 0; turn < 400; ++turn) {
        tier.turn_over(1);
        turns_not_led += !tier.rival.leads();
    }

    cr_expect_lt(turns_not_led, 40, "%d", turns_not_led);
    cr_expect_gt(turns_not_led, 10, "%d", turns_not_led);
}

Test(lru_rival, does_not_lead_when_it_has_fewer_hits) {
    Tier tier(110);  // LRU would hit none
    tier.turn_over(8);
    for (int turn = 0; turn < 20; ++turn) {
        tier.turn_over(1);
        cr_expect_not(tier.rival.leads());
    }
    tier.rival.reset(0);
    cr_expect(tier.rival.leads());
}
