#include "fs/cache/cache.h"

#include <criterion/criterion.h>

#include <atomic>
#include <optional>
#include <thread>

#include "fs/base/crc32c.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/mounted.h"

using kvfs::Arena;
using kvfs::Cache;
using kvfs::Clock;
using kvfs::Content;
using kvfs::deadline_after;
using kvfs::kChunkBytes;
using kvfs::ObjectId;
using kvfs::ObjectPtr;
using kvfs::Room;
using kvfs::tests::CacheFixture;
using kvfs::tests::eventually;
using kvfs::tests::Faults;

namespace {

constexpr std::size_t kMiB = CacheFixture::kMiB;
constexpr std::size_t kOdd = 3 * kMiB / 2 + 123;  // two chunks, no multiple of anything

CacheFixture& fixture() {
    static CacheFixture only;  // the runner gives each test a process of its own
    return only;
}

int read_error(CacheFixture& on, ObjectId id) {
    int error = 0;
    static_cast<void>(on.read_file(id, kMiB, &error));
    return error;
}

}  // namespace

TestSuite(cache, .timeout = 60);

Test(cache, a_file_reads_back_while_it_is_written_and_after) {
    auto& on = fixture();
    const ObjectPtr object = on.cache->add(1, 7, {});
    cr_assert(on.cache->opened(*object, true).ok());
    cr_assert(on.cache->write(object, 0, CacheFixture::bytes(1, kOdd)).ok());
    cr_expect(on.intact(1, kOdd));

    cr_expect_not(on.cache->closed(object, {.writes = true}));

    cr_expect(on.intact(1, kOdd));
    cr_expect(on.cache->residency(1)->sealed);
}

Test(cache, a_gap_reads_as_zeros_though_the_memory_held_other_bytes) {
    auto& on = fixture();
    on.store_file(1, 3 * kMiB);
    cr_expect(on.cache->unlinked(1));  // its memory is dirty and free
    const ObjectPtr object = on.cache->add(2, 7, {});
    cr_assert(on.cache->opened(*object, true).ok());

    cr_assert(on.cache->write(object, 2 * kMiB, CacheFixture::bytes(2, 1)).ok());

    const auto all = on.read_file(2, 3 * kMiB);
    cr_assert_eq(all.size(), 2 * kMiB + 1);
    for (std::size_t i = 0; i < 2 * kMiB; ++i) cr_assert_eq(all[i], std::byte{0}, "at %zu", i);
}

Test(cache, a_sealed_file_goes_to_the_store_by_itself_and_comes_back_from_there) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    on.push_out(1);

    cr_expect_eq(on.resident(1), 0);
    cr_expect(on.intact(1, kOdd));
    cr_expect_eq(on.resident(1), kOdd);
    cr_expect_eq(on.cache->counters().fills, 1);
}

Test(cache, readers_of_one_cold_file_share_one_fill) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    on.push_out(1);
    on.store->hang();
    std::atomic<int> good = 0;
    std::vector<std::thread> readers;

    for (int i = 0; i < 4; ++i) readers.emplace_back([&] { good += on.intact(1, kOdd) ? 1 : 0; });
    cr_expect(on.store->wait_for_pending(2, deadline_after(std::chrono::seconds(10))));
    on.store->release();
    for (auto& reader : readers) reader.join();

    cr_expect_eq(good, 4);
    cr_expect_eq(on.cache->counters().fills, 1);
}

Test(cache, a_fill_asks_for_a_few_chunks_at_a_time) {
    CacheFixture on(1ULL << 30, std::chrono::seconds(10), 64 * kMiB);
    on.store_file(1, 16 * kMiB);
    on.push_out(1);
    on.store->hang();
    std::thread reader([&] { cr_expect(on.intact(1, 16 * kMiB)); });
    constexpr unsigned kAtATime = 6;
    cr_expect(on.store->wait_for_pending(kAtATime, deadline_after(std::chrono::seconds(10))));
    // All are asked for before the reader waits for the first: no more come while that hangs.
    cr_expect_not(
        on.store->wait_for_pending(kAtATime + 1, deadline_after(std::chrono::milliseconds(50))));
    on.store->release();
    reader.join();
    cr_expect_eq(on.cache->counters().fills, 1);
}

Test(cache, who_waits_for_a_chunk_says_which) {
    Room room;
    auto arena = Arena::create({.bytes = 16 << 20});
    cr_assert(arena.ok());
    auto memory = (*arena)->allocate(1, 4 * kChunkBytes);
    cr_assert(memory.ok());
    Content content(std::move(*memory), 4 * kChunkBytes, room);
    content.start_fill(4);
    std::thread reader([&] {
        const auto until = deadline_after(std::chrono::seconds(10));
        cr_expect(content.wait(2 * kChunkBytes + 5, 10, until).ok());
    });
    while (content.wanted() != std::optional<std::size_t>(2)) std::this_thread::yield();
    content.landed(2);
    reader.join();
    cr_expect(!content.wanted().has_value());
}

Test(cache, a_bad_chunk_is_an_error_inside_and_the_file_is_lost) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    on.push_out(1);
    on.store->set_faults(Faults{.read_flips_a_bit = 1});

    cr_expect_eq(read_error(on, 1), EIO);

    cr_expect(on.catalog.wait_lost(1));
    cr_expect_geq(on.cache->counters().checksum_errors, 1);
    const int after = read_error(on, 1);
    cr_expect(after == ENOENT || after == EIO, "%d", after);
}

Test(cache, a_file_that_cannot_be_read_gives_an_error_and_is_gone) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    on.push_out(1);
    on.store->set_faults(Faults{.read_fails = 1});
    cr_expect_eq(read_error(on, 1), EIO);

    on.store->set_faults(Faults{});

    cr_expect(on.catalog.wait_lost(1));
    cr_expect_eq(read_error(on, 1), ENOENT);
}

Test(cache, a_reader_of_a_store_that_hangs_gets_a_timeout) {
    static CacheFixture on(1ULL << 30, std::chrono::milliseconds(300));
    on.store_file(1, kMiB);
    on.push_out(1);
    on.store->hang();

    const auto before = Clock::now();
    cr_expect_eq(read_error(on, 1), ETIMEDOUT);

    cr_expect_lt((Clock::now() - before) / std::chrono::milliseconds(1), 5000);
    on.store->release();
    cr_expect(on.intact(1, kMiB));
}

Test(cache, more_than_dram_can_be_written_and_all_of_it_is_there) {
    auto& on = fixture();
    constexpr ObjectId kFiles = 64;  // four times DRAM
    for (ObjectId id = 1; id <= kFiles; ++id) on.write_file(id, kMiB);

    for (ObjectId id = 1; id <= kFiles; ++id) cr_expect(on.intact(id, kMiB), "file %zu", id);
    cr_expect_gt(on.cache->counters().dram_evictions, 0);
    cr_expect_leq(on.cache->arena().used(), on.cache->arena().capacity());
}

Test(cache, when_the_store_is_full_the_file_used_longest_ago_is_lost) {
    static CacheFixture on(32 * kMiB);
    for (ObjectId id = 1; id <= 24; ++id) on.store_file(id, kMiB);
    cr_assert(on.intact(1, kMiB));
    cr_assert(on.cache->opened(**on.cache->acquire(1), false).ok());
    cr_expect_not(on.cache->closed(*on.cache->acquire(1), {}));

    for (ObjectId id = 25; id <= 48; ++id) on.store_file(id, kMiB);

    cr_expect(on.catalog.lost(2));
    cr_expect_eq(read_error(on, 2), ENOENT);
    cr_expect(on.intact(48, kMiB));
    cr_expect_leq(on.cache->usage().at(1).used, 32 * kMiB);
    cr_expect_gt(on.cache->counters().store_evictions, 0);
}

Test(cache, what_is_open_or_pinned_is_never_lost_for_want_of_room) {
    static CacheFixture on(32 * kMiB);
    on.store_file(1, kMiB);
    on.store_file(2, kMiB);
    const ObjectPtr open = *on.cache->acquire(1);
    cr_assert(on.cache->opened(*open, false).ok());
    const ObjectPtr pinned = *on.cache->acquire(2);
    on.cache->set_pinned(2, true);

    for (ObjectId id = 3; id <= 80; ++id) on.store_file(id, kMiB);

    cr_expect(on.intact(1, kMiB));
    cr_expect(on.intact(2, kMiB));
}

Test(cache, a_view_keeps_its_bytes_through_eviction_unlinking_and_reuse) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    const auto view = on.cache->read(*on.cache->acquire(1), 0, kOdd);
    cr_assert(view.ok());

    cr_expect(on.cache->unlinked(1));
    for (ObjectId id = 2; id <= 40; ++id) on.store_file(id, kMiB);

    std::vector<std::byte> all;
    for (const auto& span : view->spans) all.insert(all.end(), span.begin(), span.end());
    cr_expect(all == CacheFixture::bytes(1, kOdd));
}

Test(cache, a_lease_is_on_dram_when_the_bytes_are_there_and_else_on_the_store) {
    auto& on = fixture();
    on.store_file(1, kOdd);
    const auto hot = on.cache->lease(*on.cache->acquire(1));
    cr_assert(hot.ok());
    cr_expect(hot->content != nullptr);

    on.store_file(2, kOdd);
    on.push_out(2);
    const auto cold = on.cache->lease(*on.cache->acquire(2));
    cr_assert(cold.ok());
    cr_expect(cold->content == nullptr);
    cr_expect(cold->reader != nullptr);
    cr_expect_eq(cold->chunk_crcs.size(), 2);
    cr_expect(on.resident(1) > 0, "what is leased from DRAM stays there");
}

Test(cache, a_file_that_is_being_written_is_not_leased) {
    auto& on = fixture();
    const ObjectPtr object = on.cache->add(1, 7, {});
    cr_assert(on.cache->opened(*object, true).ok());
    cr_assert(on.cache->write(object, 0, CacheFixture::bytes(1, kMiB)).ok());

    cr_expect_eq(on.cache->lease(object).error().code, ENOENT);

    cr_expect_not(on.cache->closed(object, {.writes = true}));
    cr_expect(on.cache->lease(object).ok());
}

Test(cache, what_a_sync_has_sealed_is_not_leased_before_its_writer_closes) {
    auto& on = fixture();
    const ObjectPtr object = on.cache->add(1, 7, {});
    cr_assert(on.cache->opened(*object, true).ok());
    cr_assert(on.cache->write(object, 0, CacheFixture::bytes(1, kMiB)).ok());
    cr_assert(on.cache->sync(object).ok());

    cr_expect_eq(on.cache->lease(object).error().code, ENOENT);

    cr_expect_not(on.cache->closed(object, {.writes = true}));
    cr_expect(on.cache->lease(object).ok());
}

Test(cache, writers_are_slowed_while_the_store_is_slow_and_never_refused) {
    auto& on = fixture();
    on.store->set_faults(Faults{.delay_max = std::chrono::milliseconds(20)});

    for (ObjectId id = 1; id <= 48; ++id) on.write_file(id, kMiB);

    cr_expect_gt(on.cache->counters().writer_waits, 0);
    for (ObjectId id = 1; id <= 48; ++id) cr_expect(on.intact(id, kMiB), "file %zu", id);
}

Test(cache, with_a_store_that_takes_nothing_the_oldest_files_are_dropped_from_dram) {
    auto& on = fixture();
    on.store->set_faults(Faults{.put_fails = 1});

    for (ObjectId id = 1; id <= 40; ++id) on.write_file(id, kMiB);

    cr_expect(on.catalog.lost(1));
    cr_expect(on.intact(40, kMiB));
    cr_expect(on.cache->usage().at(1).degraded);
    cr_expect_gt(on.cache->counters().store_errors, 0);
}

Test(cache, uses_are_told_to_the_catalog_once) {
    auto& on = fixture();
    on.store_file(1, kMiB);
    for (int i = 0; i < 3; ++i) {
        cr_assert(on.cache->opened(**on.cache->acquire(1), false).ok());
        cr_expect_not(on.cache->closed(*on.cache->acquire(1), {}));
    }
    cr_expect_eq(on.cache->pending_use(1).hits, 3);

    on.cache->flush_uses();
    on.cache->flush_uses();

    cr_expect_eq(on.catalog.hits(1), 3);
    cr_expect_eq(on.cache->pending_use(1).hits, 0);
}

Test(cache, a_file_that_was_unlinked_while_open_goes_with_its_last_handle) {
    auto& on = fixture();
    on.store_file(1, kMiB);
    const ObjectPtr object = *on.cache->acquire(1);
    cr_assert(on.cache->opened(*object, false).ok());

    cr_expect_not(on.cache->unlinked(1));
    cr_expect(on.intact(1, kMiB));

    cr_expect(on.cache->closed(object, {}));
    cr_expect_eq(on.cache->usage().at(1).used, 0);
    // The spiller may hold the bytes for a moment after the spill is told to be over.
    const auto until = deadline_after(std::chrono::seconds(10));
    while (on.cache->arena().used() != 0 && Clock::now() < until) std::this_thread::yield();
    cr_expect_eq(on.cache->arena().used(), 0);
}

Test(cache, bytes_move_to_the_memory_of_the_volume_that_a_file_moves_to) {
    auto& on = fixture();
    on.store->hang();  // so that the only copy is the one in DRAM
    on.write_file(1, kOdd, 7);
    on.write_file(2, kOdd, 8);
    on.store->release();
    cr_expect(on.cache->sync(*on.cache->acquire(1)).ok());

    cr_expect(on.cache->renamed(1, 8).ok());
    cr_expect(on.cache->renamed(2, 7).ok());

    cr_expect(on.intact(1, kOdd));
    cr_expect(on.intact(2, kOdd));
}

Test(cache, stopping_spills_what_is_sealed) {
    auto& on = fixture();
    for (ObjectId id = 1; id <= 12; ++id) on.write_file(id, kMiB);

    on.cache->stop();

    for (ObjectId id = 1; id <= 12; ++id)
        cr_expect(on.catalog.find_object(id).ok(), "file %zu", id);
}

Test(cache, an_object_that_was_renamed_while_it_was_spilled_is_labelled_anew) {
    auto& on = fixture();
    on.catalog.name(1, "new.tmp");
    on.store->hang();
    on.write_file(1, kMiB);
    cr_assert(on.store->wait_for_pending(1, deadline_after(std::chrono::seconds(10))));

    on.catalog.name(1, "new");
    cr_expect(on.cache->renamed(1, 7).ok());
    on.store->release();
    on.store_file(2, kMiB);  // the store works in order: what concerns the first is done

    std::string path;
    cr_assert(on.store
                  ->scan([&](ObjectId id, const kvfs::ObjectLabel& label) {
                      if (id == 1) path = label.path;
                      return true;
                  })
                  .ok());
    cr_expect_str_eq(path.c_str(), "new");
}

namespace {

std::size_t objects_in_store(CacheFixture& on) {
    std::size_t found = 0;
    cr_assert(on.store
                  ->scan([&](ObjectId, const kvfs::ObjectLabel&) {
                      ++found;
                      return true;
                  })
                  .ok());
    return found;
}

}  // namespace

Test(cache, an_empty_file_is_its_record_and_costs_no_store_anything) {
    auto& on = fixture();
    on.store->hang();  // nothing waits for it

    on.write_file(1, 0);

    cr_assert(on.catalog.find_object(1).ok());
    cr_expect_eq(on.catalog.find_object(1)->store_uid, 0);
    cr_expect_null(on.cache->live(1).get());
    cr_expect_eq(on.store->pending(), 0);
    cr_expect_eq(on.cache->usage().at(1).files, 0);
    cr_expect(on.intact(1, 0), "its record brings it back");
    on.store->release();
    on.store_file(2, kMiB);  // the store works in order
    cr_expect_eq(objects_in_store(on), 1);
}

Test(cache, room_that_was_reserved_for_a_file_goes_when_it_is_closed_empty) {
    auto& on = fixture();
    ObjectPtr object = on.cache->add(1, 7, {});
    cr_assert(on.cache->opened(*object, true).ok());
    cr_assert(on.cache->allocate(object, 0, kMiB, true).ok());
    cr_assert_gt(on.cache->arena().used(), 0);

    cr_expect_not(on.cache->closed(std::move(object), {.writes = true}));

    cr_expect_eq(on.cache->arena().used(), 0);
    cr_expect_eq(on.cache->usage().at(0).files, 0);
    cr_expect_null(on.cache->live(1).get());
    cr_expect(on.catalog.find_object(1).ok());
}

Test(cache, a_sync_gives_an_empty_file_an_object) {
    auto& on = fixture();
    on.write_file(1, 0);
    const ObjectPtr object = *on.cache->acquire(1);
    cr_assert(on.cache->opened(*object, false).ok());

    cr_expect(on.cache->sync(object).ok());
    cr_expect(on.cache->sync(object).ok(), "once more is fine");

    cr_expect_eq(objects_in_store(on), 1);
    cr_expect_eq(on.catalog.find_object(1)->store_uid, on.store->uid());
    cr_expect_eq(on.cache->usage().at(1).files, 1);
    cr_expect(on.cache->unlinked(1) || on.cache->closed(object, {}));
    cr_expect_eq(objects_in_store(on), 0);
    cr_expect_eq(on.cache->usage().at(1).files, 0);
}

Test(cache, an_empty_file_that_is_written_to_has_no_record_until_a_store_has_it) {
    auto& on = fixture();
    on.write_file(1, 0);
    const ObjectPtr object = *on.cache->acquire(1);
    cr_assert(on.cache->opened(*object, true).ok());

    cr_assert(on.cache->write(object, 0, CacheFixture::bytes(1, kOdd)).ok());

    cr_expect_not(on.catalog.find_object(1).ok());
    cr_expect_not(on.cache->closed(object, {.writes = true}));
    cr_expect(on.cache->sync(object).ok());
    cr_expect_eq(on.catalog.find_object(1)->size, kOdd);
    cr_expect(on.intact(1, kOdd));
}

Test(cache, a_file_that_is_truncated_to_nothing_leaves_its_store) {
    auto& on = fixture();
    on.store_file(1, kOdd);

    {
        const ObjectPtr object = *on.cache->acquire(1);
        cr_assert(on.cache->opened(*object, true).ok());
        cr_assert(on.cache->truncate(object, 0).ok());
        cr_expect_not(on.catalog.find_object(1).ok());
        cr_expect_not(on.cache->closed(object, {.writes = true}));
    }

    cr_expect_eq(on.catalog.find_object(1)->store_uid, 0);
    cr_expect_eq(objects_in_store(on), 0);
    cr_expect_eq(on.cache->usage().at(1).used, 0);
}

Test(cache, an_empty_file_that_could_not_be_saved_is_saved_later) {
    auto& on = fixture();
    on.catalog.fail_saves(true);
    on.write_file(1, 0);
    cr_expect(on.cache->live(1) != nullptr, "nothing else knows of it");

    on.catalog.fail_saves(false);
    on.cache->flush_uses();

    cr_expect(on.catalog.find_object(1).ok());
    cr_expect_null(on.cache->live(1).get());
}
