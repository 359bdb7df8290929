#include "fs/cache/recency_list.h"

#include <criterion/criterion.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

using kvfs::ObjectId;
using kvfs::RecencyList;

using Ids = std::vector<ObjectId>;

TestSuite(recency_list, .timeout = 60);

Test(recency_list, the_oldest_are_those_put_or_touched_longest_ago) {
    RecencyList list;
    for (const ObjectId id : {1, 2, 3, 4}) list.put(id);
    list.touch(1);
    list.put(3);

    cr_expect(list.oldest(3) == (Ids{2, 4, 1}));
    cr_expect(list.oldest(9) == (Ids{2, 4, 1, 3}));
    cr_expect_eq(list.size(), 4U);
}

Test(recency_list, what_is_not_in_it_can_be_touched_and_removed) {
    RecencyList list;
    list.touch(1);
    list.remove(1);
    cr_expect(list.oldest(1).empty());

    list.put(1);
    list.touch(2);
    list.remove(2);
    cr_expect(list.oldest(2) == (Ids{1}));
}

Test(recency_list, numbers_that_differ_in_their_upper_half_alone_are_different) {
    RecencyList list;
    list.put(7);
    list.put(7 | ObjectId{1} << 32);
    list.put(7 | ObjectId{1} << 63);
    list.remove(7 | ObjectId{1} << 32);

    cr_expect(list.oldest(9) == (Ids{7, 7 | ObjectId{1} << 63}));
}

Test(recency_list, agrees_with_a_plain_vector_over_random_use) {
    const char* given = std::getenv("KVFS_SEED");
    const unsigned long seed = given == nullptr ? std::random_device{}() : std::stoul(given);
    std::mt19937_64 random(seed);
    RecencyList list;
    Ids plain;
    for (int step = 0; step < 50'000; ++step) {
        // Grows, and shrinks, and grows again.
        const bool growing = step / 5000 % 2 == 0;
        const ObjectId id = random() % 1000 << random() % 2 * 40;
        const auto found = std::find(plain.begin(), plain.end(), id);
        const bool there = found != plain.end();
        if (there) plain.erase(found);
        switch (random() % (growing ? 4 : 8)) {
            case 0:
            case 1:
                list.put(id);
                plain.push_back(id);
                break;
            case 2:
                list.touch(id);
                if (there) plain.push_back(id);
                break;
            default:
                list.remove(id);
                break;
        }
        const std::size_t count = step % 100 == 0 ? plain.size() + 1 : 3;
        const auto end = plain.begin() + static_cast<long>(std::min(count, plain.size()));
        cr_assert_eq(list.size(), plain.size(), "step %d: make unit KVFS_SEED=%lu", step, seed);
        cr_assert(list.oldest(count) == Ids(plain.begin(), end), "step %d: make unit KVFS_SEED=%lu",
                  step, seed);
    }
}

#if !defined(__SANITIZE_ADDRESS__)  // which has an allocator of its own
Test(recency_list, a_number_takes_at_most_25_bytes_and_its_memory_is_used_again) {
    constexpr ObjectId kCount = 1'000'000;
    RecencyList list;
    const std::size_t before = ::mallinfo2().uordblks;
    for (ObjectId id = 1; id <= kCount; ++id) list.put(id << 8);
    const std::size_t full = ::mallinfo2().uordblks - before;
    cr_expect_leq(full, 25 * kCount, "%zu bytes", full);

    for (ObjectId id = 1; id <= kCount; ++id) list.remove(id << 8);
    for (ObjectId id = 1; id <= kCount; ++id) list.put(id);
    const std::size_t again = ::mallinfo2().uordblks - before;
    cr_expect_leq(again, full + kCount / 100, "%zu bytes", again);
}
#endif
