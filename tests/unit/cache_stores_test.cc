// Several stores under one cache: in proportion, one that fails, one that goes, one that is
// drained.
#include <criterion/criterion.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/support/cache_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;

namespace {

constexpr std::uint64_t kMiB = CacheFixture::kMiB;
constexpr std::size_t kOdd = 300'001;

/// Static, so that a failed assertion leaves nothing running.
CacheFixture& stores_of(std::vector<std::uint64_t> sizes, Cache::Options options = {}) {
    static CacheFixture on(sizes, options);
    return on;
}

bool eventually(const std::function<bool()>& holds) {
    const Deadline until = deadline_after(std::chrono::seconds(20));
    while (!holds()) {
        if (Clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

Cache::TierUsage tier(const CacheFixture& on, std::size_t store) {
    return on.cache->usage().at(store + 1);
}

/// Writes files 1..count and puts them out of DRAM, so that their stores alone have them.
void fill(CacheFixture& on, ObjectId count, std::size_t length) {
    for (ObjectId id = 1; id <= count; ++id) on.store_file(id, length);
    for (ObjectId id = 1; id <= count; ++id) on.push_out(id);
}

std::vector<ObjectId> files_in(CacheFixture& on, std::size_t store, ObjectId count) {
    std::vector<ObjectId> found;
    for (ObjectId id = 1; id <= count; ++id)
        if (const auto record = on.catalog.find_object(id);
            record && record->store_uid == store + 1)
            found.push_back(id);
    return found;
}

}  // namespace

TestSuite(cache_stores, .timeout = 120);

Test(cache_stores, fill_in_proportion_to_their_sizes) {
    auto& on = stores_of({32 * kMiB, 96 * kMiB});
    for (ObjectId id = 1; id <= 200; ++id) on.store_file(id, 256 << 10);
    cr_expect_eq(tier(on, 0).files, 50);
    cr_expect_eq(tier(on, 1).files, 150);
}

Test(cache_stores, a_slow_one_does_not_hold_up_the_other) {
    auto& on = stores_of({1024 * kMiB, 64 * kMiB});
    on.stores[0]->hang();
    for (ObjectId id = 1; id <= 40; ++id) on.write_file(id, 64 << 10);
    cr_expect(eventually([&] { return tier(on, 1).files == 36; }), "%lu",
              static_cast<unsigned long>(tier(on, 1).files));
    on.stores[0]->release();
    cr_expect(eventually([&] { return tier(on, 0).files == 4; }));
}

Test(cache_stores, one_that_vanishes_costs_its_files_and_no_others) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    fill(on, 12, kOdd);
    const auto lost = files_in(on, 0, 12);
    const auto kept = files_in(on, 1, 12);
    cr_assert(!lost.empty() && !kept.empty());

    on.stores[0]->vanish();

    for (const ObjectId id : lost) {
        int error = 0;
        on.read_file(id, kOdd, &error);
        cr_expect(error == EIO || error == ENOENT, "%d", error);
        cr_expect(on.catalog.wait_lost(id));
        on.read_file(id, kOdd, &error);
        cr_expect_eq(error, ENOENT);
    }
    for (const ObjectId id : kept) cr_expect(on.intact(id, kOdd));
    cr_expect(eventually([&] { return tier(on, 0).degraded; }));
    cr_expect(tier(on, 0).degraded_reason.find("the store is gone") != std::string::npos, "%s",
              tier(on, 0).degraded_reason.c_str());
    cr_expect_not(tier(on, 1).degraded);
    const std::uint64_t before = tier(on, 1).files;
    on.store_file(1000, kOdd);
    cr_expect_eq(tier(on, 1).files, before + 1);
}

Test(cache_stores, one_that_nobody_asks_is_seen_to_have_vanished) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    on.stores[1]->vanish();
    cr_expect(eventually([&] { return tier(on, 1).degraded; }));
}

Test(cache_stores, a_device_that_fails_costs_the_files_that_are_read) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    fill(on, 12, kOdd);
    const auto bad = files_in(on, 0, 12);
    cr_assert_geq(bad.size(), 2);
    on.stores[0]->set_faults({.read_fails = 1});
    int error = 0;
    on.read_file(bad[0], kOdd, &error);
    cr_expect_eq(error, EIO);
    cr_expect(on.catalog.wait_lost(bad[0]));
    cr_expect(tier(on, 0).degraded_reason.find("reading object") != std::string::npos);
    on.stores[0]->set_faults({});
    cr_expect(on.intact(bad[1], kOdd));
}

// ---- draining
// -------------------------------------------------------------------------------------

Test(cache_stores, a_drained_one_ends_up_empty_and_nothing_is_lost) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    fill(on, 40, kOdd);
    cr_assert_gt(tier(on, 0).files, 10);

    cr_assert(on.cache->drain(tier(on, 0).name, true).ok());

    cr_expect(eventually([&] { return tier(on, 0).files == 0; }));
    cr_expect_eq(tier(on, 0).used, 0);
    cr_expect(tier(on, 0).draining);
    for (ObjectId id = 1; id <= 40; ++id) {
        cr_expect(on.intact(id, kOdd), "file %lu", static_cast<unsigned long>(id));
        cr_expect_eq(on.stores[0]->extent(id).error().code, ENOENT);
    }
    for (ObjectId id = 2000; id < 2010; ++id) on.store_file(id, kOdd);
    cr_expect_eq(tier(on, 0).files, 0, "something new came");
    cr_assert(on.cache->drain(tier(on, 0).name, false).ok());
    on.store_file(3000, kOdd);
    cr_expect_eq(tier(on, 0).files, 1);
}

Test(cache_stores, what_does_not_fit_elsewhere_goes_coldest_first_and_pinned_ones_stay) {
    auto& on = stores_of({32 * kMiB, 32 * kMiB});
    constexpr ObjectId kFiles = 52;
    for (ObjectId id = 1; id <= kFiles; ++id) on.store_file(id, kMiB);
    const auto there = files_in(on, 0, kFiles);
    cr_assert_gt(there.size(), 20);
    const ObjectId coldest = there.front(), hottest = there.back();
    const ObjectId pinned = there[1];
    on.pin(pinned);

    cr_assert(on.cache->drain(tier(on, 0).name, true).ok());

    cr_expect(eventually([&] { return tier(on, 0).files == 0; }));
    cr_expect(on.catalog.lost(coldest));
    cr_expect_not(on.catalog.lost(pinned));
    cr_expect(on.intact(pinned, kMiB));
    cr_expect_not(on.catalog.lost(hottest));
    cr_expect(on.intact(hottest, kMiB));
    std::size_t kept = 0;
    for (const ObjectId id : there) kept += on.catalog.lost(id) ? 0 : 1;
    cr_expect_geq(kept, there.size() / 2 - 2, "more than half of it was to stay: %zu of %zu", kept,
                  there.size());
}

Test(cache_stores, the_only_one_cannot_be_drained_and_an_unknown_one_is_refused) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    cr_expect_eq(on.cache->drain("ssd:/nowhere", true).error().code, ENOENT);
    cr_assert(on.cache->drain(tier(on, 0).name, true).ok());
    cr_expect_eq(on.cache->drain(tier(on, 1).name, true).error().code, EBUSY);
}

Test(cache_stores, a_move_that_draining_was_stopped_under_goes_elsewhere_all_the_same) {
    auto& on = stores_of({1024 * kMiB, 32 * kMiB});
    for (const ObjectId id : {1, 2}) on.store_file(id, kMiB);
    cr_assert_eq(on.catalog.find_object(1)->store_uid, 1);
    cr_assert_eq(on.catalog.find_object(2)->store_uid, 2);
    on.stores[0]->hang();
    cr_assert(on.cache->drain(tier(on, 0).name, true).ok());
    cr_assert(eventually([&] { return on.stores[0]->pending() == 1; }), "nothing is moved");
    cr_assert(on.cache->drain(tier(on, 0).name, false).ok());  // now it would be the first choice

    on.stores[0]->release();

    cr_assert(eventually([&] { return on.cache->counters().drained_bytes > 0; }));
    cr_expect_eq(on.catalog.find_object(1)->store_uid, 2);
    cr_expect(on.stores[1]->extent(1).ok());
    cr_expect(on.intact(1, kMiB));
}

Test(cache_stores, a_damaged_file_is_dropped_and_not_moved) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    fill(on, 8, kOdd);
    const auto there = files_in(on, 0, 8);
    on.stores[0]->set_faults({.read_flips_a_bit = 1});

    cr_assert(on.cache->drain(tier(on, 0).name, true).ok());

    cr_expect(eventually([&] { return tier(on, 0).files == 0; }));
    for (const ObjectId id : there) cr_expect(on.catalog.lost(id));
}

Test(cache_stores, readers_and_writers_go_on_while_one_is_drained) {
    auto& on = stores_of({64 * kMiB, 64 * kMiB});
    constexpr ObjectId kFiles = 60;
    fill(on, kFiles, kOdd);
    std::atomic<bool> over = false;
    std::atomic<unsigned> wrong = 0;
    std::vector<std::thread> readers;
    for (unsigned reader = 0; reader < 3; ++reader)
        readers.emplace_back([&, reader] {
            for (ObjectId id = 1 + reader; !over; id = id % kFiles + 1)
                if (!on.intact(id, kOdd)) ++wrong;
        });
    readers.emplace_back([&] {  // as mapper clients: what is not in DRAM is read from its store
        for (ObjectId id = 1; !over; id = id % kFiles + 1) {
            const auto object = on.cache->acquire(id);
            if (!object.ok() || !on.cache->lease(*object).ok()) ++wrong;
        }
    });
    for (int round = 0; round < 10; ++round) {
        const std::size_t store = round % 2;
        cr_expect(on.cache->drain(tier(on, store).name, true).ok());
        cr_expect(eventually([&] { return tier(on, store).files == 0; }));
        cr_expect(on.cache->drain(tier(on, store).name, false).ok());
    }
    over = true;
    for (auto& thread : readers) thread.join();
    cr_expect_eq(wrong.load(), 0);
}

// ---- adding
// --------------------------------------------------------------------------------------

namespace {

std::unique_ptr<MemoryStore> another(std::uint64_t bytes, std::uint64_t uid) {
    return std::make_unique<MemoryStore>(bytes, uid);
}

}  // namespace

Test(cache_stores, one_that_is_added_takes_its_part_of_new_files) {
    auto& on = stores_of({64 * kMiB});
    for (ObjectId id = 1; id <= 20; ++id) on.store_file(id, kMiB);
    on.cache->add_store(another(64 * kMiB, 2), {});
    for (ObjectId id = 21; id <= 60; ++id) on.store_file(id, kMiB);
    cr_expect_eq(tier(on, 1).files, 30);
    for (ObjectId id = 1; id <= 60; ++id) cr_expect(on.intact(id, kMiB));
    cr_expect_eq(on.cache->may_add(*another(kMiB, 2)).error().code, EEXIST);
}

Test(cache_stores, there_is_a_most_that_can_be_added) {
    auto& on = stores_of({64 * kMiB});
    for (std::uint64_t uid = 2; uid <= Cache::kStoresMax; ++uid)
        on.cache->add_store(another(kMiB, uid), {});
    cr_expect_eq(on.cache->may_add(*another(kMiB, 1000)).error().code, E2BIG);
}

Test(cache_stores, what_an_added_one_held_is_counted_unless_it_is_gone) {
    auto& on = stores_of({64 * kMiB});
    const ObjectId here = 1, deleted = 2, unlinked = 3;
    for (const ObjectId id : {here, unlinked})
        cr_assert(on.catalog.save_object(id, {.store_uid = 2, .size = kMiB}).ok());
    ObjectRecord record = *on.catalog.find_object(unlinked);
    record.unlinked = true;
    cr_assert(on.catalog.save_object(unlinked, record).ok());

    on.cache->add_store(another(64 * kMiB, 2), {{here, kMiB}, {deleted, kMiB}, {unlinked, kMiB}});

    cr_expect_eq(tier(on, 1).files, 1);
    cr_expect_eq(tier(on, 1).used, kMiB);
    cr_expect(on.cache->unlinked(unlinked));  // who unlinks it gets to the cache only now
    cr_expect_eq(tier(on, 1).files, 1);
    cr_expect_eq(tier(on, 1).used, kMiB);
}

Test(cache_stores, writers_and_readers_go_on_while_stores_are_added) {
    auto& on = stores_of({8 * kMiB});
    std::atomic<bool> over = false;
    std::atomic<ObjectId> next = 1;
    std::atomic<unsigned> wrong = 0;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < 2; ++writer)
        threads.emplace_back([&] {
            while (!over) on.store_file(next++, kOdd);
        });
    threads.emplace_back([&] {
        for (ObjectId id = 1; !over; id = id % next + 1) {
            const auto bytes = on.read_file(id, kOdd);
            if (!bytes.empty() && bytes != CacheFixture::bytes(id, kOdd)) ++wrong;
        }
    });
    for (std::uint64_t uid = 2; uid <= 20; ++uid) {
        const ObjectId seen = next;
        on.cache->add_store(another(2 * kMiB, uid), {});
        cr_expect(on.cache->drain(tier(on, uid % 2).name, uid % 4 < 2).ok());
        cr_expect(eventually([&] { return next > seen + 10; }), "writers stand still");
    }
    over = true;
    for (auto& thread : threads) thread.join();
    cr_expect_eq(wrong.load(), 0);
    cr_expect_gt(on.cache->counters().store_evictions.load(), 0);
}

// ---- the scrub
// ------------------------------------------------------------------------------------

namespace {

Cache::Options scrubbing(std::uint64_t rate) {
    return {.scrub_bytes_per_s = rate, .scrub_round = std::chrono::milliseconds(50)};
}

}  // namespace

Test(cache_stores, the_scrub_finds_a_damaged_file_that_nobody_reads) {
    auto& on = stores_of({64 * kMiB}, scrubbing(1ULL << 30));
    fill(on, 5, kOdd);
    on.stores[0]->set_faults({.read_flips_a_bit = 1});
    for (ObjectId id = 1; id <= 5; ++id) cr_expect(on.catalog.wait_lost(id));
    on.stores[0]->set_faults({});
    cr_expect_geq(on.cache->counters().scrub_errors, 5);
    cr_expect_geq(on.cache->counters().checksum_errors, 5);
}

Test(cache_stores, the_scrub_goes_through_all_again_and_again_and_harms_none) {
    auto& on = stores_of({64 * kMiB}, scrubbing(1ULL << 30));
    fill(on, 5, 2 * kMiB + 5);
    const std::uint64_t rounds = on.cache->counters().scrub_rounds;
    const std::uint64_t bytes = on.cache->counters().scrubbed_bytes;
    cr_expect(eventually([&] { return on.cache->counters().scrub_rounds >= rounds + 3; }));
    cr_expect_geq(on.cache->counters().scrubbed_bytes, bytes + 2 * 5 * (2 * kMiB + 5));
    cr_expect_eq(on.cache->counters().scrub_errors, 0);
    for (ObjectId id = 1; id <= 5; ++id) cr_expect(on.intact(id, 2 * kMiB + 5));
}

Test(cache_stores, the_scrub_reads_no_more_than_its_rate) {
    constexpr std::uint64_t kRate = 8 * kMiB;
    const auto start = Clock::now();
    auto& on = stores_of({64 * kMiB}, scrubbing(kRate));
    for (ObjectId id = 1; id <= 8; ++id) on.store_file(id, kMiB);
    cr_expect(eventually([&] { return on.cache->counters().scrubbed_bytes >= 6 * kMiB; }));
    // However late this looks: the time has passed, the bytes may be fewer.
    const std::uint64_t scrubbed = on.cache->counters().scrubbed_bytes;
    const std::chrono::duration<double> passed = Clock::now() - start;
    cr_expect_leq(static_cast<double>(scrubbed),
                  passed.count() * static_cast<double>(kRate) + static_cast<double>(kMiB));
}

Test(cache_stores, a_file_that_is_rewritten_while_it_is_scrubbed_is_not_taken_for_damaged) {
    auto& on = stores_of({64 * kMiB}, scrubbing(1ULL << 30));
    on.store_file(1, kOdd);
    on.stores[0]->hang();
    on.stores[0]->set_faults({.read_flips_a_bit = 1});
    cr_assert(eventually([&] { return on.stores[0]->pending() == 1; }), "it is not scrubbed");
    const ObjectRecord record = *on.catalog.find_object(1);
    cr_assert(on.catalog.unsave_object(1).ok());  // as who truncates it does

    on.stores[0]->set_faults({});
    on.stores[0]->release();

    const std::uint64_t rounds = on.cache->counters().scrub_rounds;
    cr_assert(eventually([&] { return on.cache->counters().scrub_rounds >= rounds + 2; }));
    cr_assert(on.catalog.save_object(1, record).ok());
    cr_assert(eventually([&] { return on.cache->counters().scrubbed_bytes >= 3 * kOdd; }));
    cr_expect_eq(on.cache->counters().scrub_errors, 0);
    cr_expect_not(on.catalog.lost(1));
}
