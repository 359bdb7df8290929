#include <criterion/criterion.h>

#include "fs/cache/reuse_times.h"

using kvfs::ReuseTimes;

TestSuite(reuse_times, .timeout = 10);

Test(reuse_times, what_was_used_last_is_worth_most_before_anything_was_seen) {
    const ReuseTimes times(2);
    for (std::uint32_t age = 1; age < 1'000'000; age *= 2) {
        cr_expect_gt(times.worth(0, age), times.worth(0, 2 * age), "%u", age);
        cr_expect_eq(times.worth(0, age), times.worth(1, age), "%u", age);
    }
}

Test(reuse_times, a_kind_is_worth_most_shortly_before_most_of_it_are_used) {
    ReuseTimes times(1);
    for (std::uint32_t i = 0; i < 1000; ++i) times.reused(0, 1000 + i % 100);
    times.learn(1, 4);

    cr_expect_gt(times.worth(0, 900), times.worth(0, 10));
    cr_expect_gt(times.worth(0, 900), times.worth(0, 4000));
}

Test(reuse_times, a_kind_that_waits_longer_or_in_vain_is_worth_less) {
    ReuseTimes times(3);
    for (int i = 0; i < 1000; ++i) {
        times.reused(0, 100);
        times.reused(1, 1000);
        if (i % 2 == 0) times.reused(2, 100);
    }
    times.waiting(2, 5000, 500);
    times.learn(1, 4);

    cr_expect_gt(times.worth(0, 1), times.worth(1, 1));
    cr_expect_gt(times.worth(0, 1), times.worth(2, 1));
}

Test(reuse_times, what_is_used_within_a_moment_is_not_worth_more_for_that) {
    ReuseTimes times(2);
    for (int i = 0; i < 1000; ++i) {
        times.reused(0, i < 100 ? 4 : 100'000);
        times.reused(1, 1000);
    }
    times.learn(1, 4);
    cr_expect_gt(times.worth(0, 1), times.worth(1, 1));
    times.learn(500, 4);
    cr_expect_lt(times.worth(0, 1), times.worth(1, 1));
}

Test(reuse_times, a_kind_that_was_hardly_seen_is_worth_what_is_usual) {
    ReuseTimes times(2);
    for (int i = 0; i < 1000; ++i) times.reused(0, 100);
    times.reused(1, 100'000);
    times.learn(1, 1000);

    cr_expect_float_eq(times.worth(1, 1), times.worth(0, 1), times.worth(0, 1) / 20);
}

Test(reuse_times, what_was_learned_is_forgotten_little_by_little) {
    ReuseTimes times(2);
    for (int i = 0; i < 1000; ++i) times.reused(0, 100);
    times.learn(1, 4);
    const float before = times.worth(0, 1);
    for (int look = 0; look < 200; ++look) {
        for (int i = 0; i < 10; ++i) times.reused(0, 100'000);
        times.learn(1, 4);
    }
    cr_expect_lt(times.worth(0, 1), before / 10);
}
