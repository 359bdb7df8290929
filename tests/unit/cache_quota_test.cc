// Quotas of volumes, as the cache keeps them.
#include <criterion/criterion.h>

#include "tests/support/cache_fixture.h"
#include "tests/support/mounted.h"

using namespace kvfs;
using namespace kvfs::tests;

namespace {

constexpr std::uint64_t kMiB = CacheFixture::kMiB;
constexpr VolumeId kVolume = 7, kOther = 8;  // write_file's own, and another

CacheFixture& fixture() {
    static CacheFixture made;
    return made;
}

std::uint64_t used(VolumeId volume) { return fixture().cache->volumes().used(volume); }

/// Files `first` to `last` of a MiB each, in a store, and free to leave it: the queue to it, where
/// they were when they were synced, has let go of them.
void store_files(CacheFixture& on, ObjectId first, ObjectId last, VolumeId volume = kVolume) {
    for (ObjectId id = first; id <= last; ++id) {
        on.write_file(id, kMiB, volume);
        cr_assert(on.cache->sync(*on.cache->acquire(id)).ok());
        cr_assert(eventually([&] { return on.cache->live(id).use_count() <= 2; }));
    }
}
void store_files(ObjectId first, ObjectId last) { store_files(fixture(), first, last); }

int write_code(ObjectId id, std::size_t length, VolumeId volume = kVolume) {
    auto& on = fixture();
    ObjectPtr object = on.cache->add(id, volume, {});
    cr_assert(on.cache->opened(*object, true).ok());
    const Status written = on.cache->write(object, 0, on.bytes(id, length));
    on.cache->closed(std::move(object), {.writes = true});
    return written ? 0 : written.error().code;
}

}  // namespace

TestSuite(cache_quota, .timeout = 60);

Test(cache_quota, what_goes_beyond_the_hard_quota_takes_the_place_of_the_volumes_oldest_files) {
    auto& on = fixture();
    on.write_file(100, kMiB, kOther);
    on.cache->set_quota(kVolume, {.hard = 4 * kMiB});
    store_files(1, 4);
    ObjectPtr first = *on.cache->acquire(1);
    cr_assert(on.cache->opened(*first, false).ok());
    on.cache->closed(std::move(first), {});

    store_files(5, 6);

    cr_expect_eq(used(kVolume), 4 * kMiB);
    cr_expect(on.catalog.lost(2) && on.catalog.lost(3));
    cr_expect_not(on.catalog.lost(1), "it was used since");
    cr_expect(on.intact(1, kMiB) && on.intact(6, kMiB));
    cr_expect(on.intact(100, kMiB), "others are not touched");
}

Test(cache_quota, files_that_were_there_before_the_quota_make_room_too) {
    auto& on = fixture();
    store_files(1, 20);  // more than DRAM holds
    on.cache->set_quota(kVolume, {.hard = 5 * kMiB});
    on.store_file(21, kMiB);
    cr_expect(eventually([] { return used(kVolume) <= 5 * kMiB; }));
    cr_expect(on.catalog.lost(1) && !on.catalog.lost(21));
    // The writer and the evictor may each take the last file that has to go.
    cr_expect(used(kVolume) >= 4 * kMiB, "and no more than had to");
}

Test(cache_quota, a_quota_that_is_taken_away_or_raised_gives_room_at_once) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = kMiB});
    cr_expect_eq(write_code(1, 2 * kMiB), EDQUOT);
    on.cache->set_quota(kVolume, {.hard = 2 * kMiB});
    cr_expect_eq(write_code(2, 2 * kMiB), 0);
    on.cache->set_quota(kVolume, {});
    cr_expect_eq(write_code(3, 2 * kMiB), 0);
    cr_expect_eq(used(kVolume), 4 * kMiB);
}

Test(cache_quota, a_file_larger_than_the_quota_drives_nothing_out) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = 2 * kMiB});
    store_files(1, 2);
    cr_expect_eq(write_code(3, 3 * kMiB), EDQUOT);
    cr_expect_eq(used(kVolume), 2 * kMiB);
    cr_expect(on.intact(1, kMiB) && on.intact(2, kMiB));
}

Test(cache_quota, pinned_and_open_files_stay_and_then_a_write_is_refused) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = 2 * kMiB});
    store_files(1, 2);
    on.pin(1);
    ObjectPtr open = *on.cache->acquire(2);
    cr_assert(on.cache->opened(*open, false).ok());
    cr_expect_eq(write_code(3, 1), EDQUOT);
    cr_expect_eq(write_code(4, 1, kOther), 0, "another volume may");
    cr_expect_eq(used(kVolume), 2 * kMiB);
    on.cache->closed(std::move(open), {});
    cr_expect_eq(write_code(5, 1), 0);
    cr_expect(on.catalog.lost(2) && !on.catalog.lost(1));
}

Test(cache_quota, what_is_leased_stays) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = kMiB});
    store_files(1, 1);
    {
        const auto lease = on.cache->lease(*on.cache->acquire(1));
        cr_assert(lease.ok() && lease->content != nullptr);
        cr_expect_eq(write_code(2, 1), EDQUOT);
    }
    cr_expect_eq(write_code(3, 1), 0);
    cr_expect(on.catalog.lost(1));
}

Test(cache_quota, a_file_that_is_on_its_way_to_a_store_is_waited_for) {
    static CacheFixture on(1ULL << 30, std::chrono::seconds(3));
    on.cache->set_quota(kVolume, {.hard = kMiB});
    on.store->hang_puts();
    on.write_file(1, kMiB);
    cr_assert(eventually([&] {
        ObjectPtr object = on.cache->live(1);
        const MutexLock lock(object->mutex);
        return object->spilling;
    }));
    ObjectPtr second = on.cache->add(2, kVolume, {});
    cr_assert(on.cache->opened(*second, true).ok());
    const Status refused = on.cache->write(second, 0, on.bytes(2, kMiB));
    cr_expect_eq(refused.error().code, ETIMEDOUT);
    on.store->release();
    cr_expect(on.cache->write(second, 0, on.bytes(2, kMiB)).ok());
    cr_expect(on.catalog.lost(1));
}

Test(cache_quota, a_draft_counts_before_it_is_a_file) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = 3 * kMiB});
    store_files(1, 2);
    {
        const auto draft = on.cache->draft(kVolume, 2 * kMiB);
        cr_assert(draft.ok());
        cr_expect_eq(used(kVolume), 3 * kMiB);
        cr_expect(on.catalog.lost(1));
        cr_expect_eq(on.cache->draft(kVolume, 4 * kMiB).error().code, EDQUOT);
    }
    cr_expect_eq(used(kVolume), kMiB);
    auto draft = on.cache->draft(kVolume, 2 * kMiB);
    cr_assert(draft.ok());
    static_cast<void>(on.cache->adopt(3, kVolume, {}, *std::move(draft)));
    cr_expect_eq(used(kVolume), 3 * kMiB);
}

Test(cache_quota, beyond_the_soft_quota_files_leave_a_full_tier_first_and_within_it_no_more) {
    static CacheFixture on(10 * kMiB);
    store_files(on, 1, 4, kOther);
    on.cache->set_quota(kVolume, {.soft = 2 * kMiB});
    store_files(on, 11, 14);
    store_files(on, 5, 8, kOther);
    cr_expect(on.catalog.wait_lost(11) && on.catalog.wait_lost(12));
    cr_expect_not(on.catalog.lost(13), "the volume is within its quota again");
    cr_expect_not(on.catalog.lost(14));
}

Test(cache_quota, what_an_added_store_holds_counts_and_can_go) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = 3 * kMiB});
    store_files(1, 1);
    for (const ObjectId id : {21, 22, 23})
        cr_assert(
            on.catalog.save_object(id, {.volume = kVolume, .store_uid = 2, .size = kMiB}).ok());
    ObjectRecord unlinked = *on.catalog.find_object(23);
    unlinked.unlinked = true;
    cr_assert(on.catalog.save_object(23, unlinked).ok());

    on.cache->add_store(std::make_unique<MemoryStore>(64 * kMiB, 2),
                        {{21, kMiB, kVolume}, {22, kMiB, kVolume}, {23, kMiB, kVolume}});

    cr_expect(on.cache->unlinked(23));  // who unlinks it gets to the cache only now
    cr_expect_eq(used(kVolume), 3 * kMiB);
    on.store_file(2, kMiB);
    cr_expect_eq(used(kVolume), 3 * kMiB);
    cr_expect(on.catalog.lost(21), "of the store that has most of them, the oldest");
    cr_expect(on.intact(1, kMiB) && !on.catalog.lost(22));
}

Test(cache_quota, what_a_rename_brings_counts_and_makes_the_volumes_own_files_go) {
    auto& on = fixture();
    on.cache->set_quota(kVolume, {.hard = 2 * kMiB});
    store_files(1, 2);
    on.write_file(3, kMiB, kOther);
    cr_assert(on.cache->sync(*on.cache->acquire(3)).ok());
    const ObjectPtr object = *on.cache->acquire(3);
    cr_expect(on.cache->renamed(3, kVolume).ok());
    cr_expect_eq(used(kOther), 0);
    cr_expect(eventually([] { return used(kVolume) == 2 * kMiB; }));
    cr_expect(on.catalog.lost(1));
}
