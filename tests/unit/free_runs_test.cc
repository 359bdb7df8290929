#include "fs/store/free_runs.h"

#include <criterion/criterion.h>

#include <map>
#include <random>
#include <vector>

using kvfs::FreeRuns;

TestSuite(free_runs, .timeout = 30);

Test(free_runs, the_shortest_run_that_fits_is_taken) {
    FreeRuns runs(100);
    cr_assert_eq(runs.take_at(10, 10), 10U);  // leaves [0,10) and [20,100)
    cr_assert_eq(runs.take_at(50, 10), 10U);  // leaves [20,50) and [60,100)

    cr_expect_eq(runs.take(8), 0U);
    cr_expect_eq(runs.take(30), 20U);
    cr_expect_eq(runs.take(10), 60U);
}

Test(free_runs, neighbours_become_one_run) {
    FreeRuns runs(30);
    cr_assert_eq(runs.take(30), 0U);
    runs.put(0, 10);
    runs.put(20, 10);
    cr_expect_eq(runs.longest(), 10U);
    runs.put(10, 10);
    cr_expect_eq(runs.longest(), 30U);
}

Test(free_runs, at_an_offset_gives_what_is_free_there_and_no_more) {
    FreeRuns runs(100);
    cr_assert_eq(runs.take_at(40, 20), 20U);
    cr_expect_eq(runs.take_at(30, 50), 10U);
    cr_expect_eq(runs.take_at(45, 5), 0U);
    cr_expect_eq(runs.take_at(100, 5), 0U);
    cr_expect_eq(runs.total(), 70U);
}

Test(free_runs, agree_with_a_bitmap_over_random_use) {
    constexpr std::size_t size = 300;
    std::mt19937 random(7);
    FreeRuns runs(size);
    std::vector<bool> is_free(size, true);
    std::map<std::size_t, std::size_t> taken;  // offset -> length
    for (int step = 0; step < 20'000; ++step) {
        const std::size_t length = 1 + random() % 20;
        if (random() % 2 == 0 && length <= runs.longest()) {
            const std::size_t at = runs.take(length);
            for (std::size_t i = at; i < at + length; ++i) {
                cr_assert(is_free[i]);
                is_free[i] = false;
            }
            taken[at] = length;
        } else if (!taken.empty()) {
            const auto it = std::next(taken.begin(), static_cast<long>(random() % taken.size()));
            runs.put(it->first, it->second);
            for (std::size_t i = it->first; i < it->first + it->second; ++i) is_free[i] = true;
            taken.erase(it);
        }
        std::size_t longest = 0, total = 0, run = 0;
        for (const bool free : is_free) {
            run = free ? run + 1 : 0;
            longest = std::max(longest, run);
            total += free;
        }
        cr_assert_eq(runs.longest(), longest);
        cr_assert_eq(runs.total(), total);
    }
}
