#include "fs/cache/file_lists.h"

#include <criterion/criterion.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

using kvfs::FileLists;
using kvfs::ObjectId;

using Ids = std::vector<ObjectId>;

namespace {

struct NoFacts {};
using Lists = FileLists<NoFacts>;

Ids ids_of(const Lists& lists, Lists::Index list = 0) {
    Ids ids;
    for (auto at = lists.oldest(list); at != Lists::kNone; at = lists.newer(at))
        ids.push_back(lists.id(at));
    return ids;
}

}  // namespace

TestSuite(file_lists, .timeout = 60);

Test(file_lists, a_file_can_be_made_the_youngest_and_be_put_on_either_side_of_another_one) {
    Lists lists;
    for (const ObjectId id : {1, 2, 3, 4}) lists.add(id);
    lists.make_youngest(lists.find(1));
    lists.put_behind(lists.find(3), lists.find(2));
    lists.put_ahead(lists.find(3), lists.find(4));
    lists.put_behind(lists.find(4), lists.find(2));

    cr_expect(ids_of(lists) == (Ids{4, 2, 3, 1}));
}

Test(file_lists, a_file_moves_between_lists) {
    Lists lists(2);
    lists.add(1);
    lists.add(2, 1);
    lists.make_youngest(lists.find(1), 1);

    cr_expect(ids_of(lists, 0).empty());
    cr_expect(ids_of(lists, 1) == (Ids{2, 1}));
    cr_expect_eq(lists.size(), 2U);
}

Test(file_lists, numbers_that_differ_in_their_upper_half_alone_are_different) {
    Lists lists;
    lists.add(7);
    lists.add(7 | ObjectId{1} << 32);
    lists.erase(lists.find(7));

    cr_expect_eq(lists.find(7), Lists::kNone);
    cr_expect(ids_of(lists) == (Ids{7 | ObjectId{1} << 32}));
}

Test(file_lists, the_slots_hold_each_file_once) {
    Lists lists(3);
    for (ObjectId id = 1; id <= 100; ++id) lists.add(id, id % 3);
    for (ObjectId id = 1; id <= 100; id += 2) lists.erase(lists.find(id));

    Ids seen;
    for (std::size_t slot = 0; slot < lists.slots(); ++slot)
        if (const auto at = lists.in_slot(slot); at != Lists::kNone) seen.push_back(lists.id(at));
    std::sort(seen.begin(), seen.end());
    cr_assert_eq(seen.size(), 50U);
    for (std::size_t i = 0; i < seen.size(); ++i) cr_expect_eq(seen[i], 2 * (i + 1));
}

Test(file_lists, agrees_with_a_plain_vector_over_random_use) {
    const char* given = std::getenv("KVFS_SEED");
    const unsigned long seed = given == nullptr ? std::random_device{}() : std::stoul(given);
    std::mt19937_64 random(seed);
    Lists lists;
    Ids plain;
    for (int step = 0; step < 50'000; ++step) {
        // Grows, and shrinks, and grows again.
        const bool growing = step / 5000 % 2 == 0;
        const ObjectId id = (1 + random() % 1000) << random() % 2 * 40;
        const auto found = std::find(plain.begin(), plain.end(), id);
        const bool there = found != plain.end();
        if (there) plain.erase(found);
        const auto at = lists.find(id);
        cr_assert_eq(at != Lists::kNone, there, "step %d: make unit KVFS_SEED=%lu", step, seed);
        if (random() % (growing ? 4 : 8) < 3) {
            if (there) lists.make_youngest(at);
            if (!there) lists.add(id);
            plain.push_back(id);
        } else if (there) {
            lists.erase(at);
        }
        if (step % 100 == 0)
            cr_assert(ids_of(lists) == plain, "step %d: make unit KVFS_SEED=%lu", step, seed);
    }
}

#if !defined(__SANITIZE_ADDRESS__)  // which has an allocator of its own
Test(file_lists, memory_of_files_that_are_gone_is_used_again) {
    constexpr ObjectId kCount = 100'000;
    Lists lists;
    const std::size_t before = ::mallinfo2().uordblks;
    for (ObjectId id = 1; id <= kCount; ++id) lists.add(id << 8);
    const std::size_t full = ::mallinfo2().uordblks - before;
    for (ObjectId id = 1; id <= kCount; ++id) lists.erase(lists.find(id << 8));
    for (ObjectId id = 1; id <= kCount; ++id) lists.add(id);
    const std::size_t again = ::mallinfo2().uordblks - before;
    cr_expect_leq(again, full + kCount / 100, "%zu bytes", again);
}
#endif
