// Room: who waits for it, and what is told to give some.
#include <criterion/criterion.h>

#include <algorithm>

#include "tests/support/cache_fixture.h"
#include "tests/support/mounted.h"

using namespace kvfs;
using namespace kvfs::tests;

namespace {

constexpr std::uint64_t kMiB = CacheFixture::kMiB;

CacheFixture& fixture() {
    static CacheFixture made;
    return made;
}

}  // namespace

TestSuite(cache_room, .timeout = 60);

Test(cache_room, who_reads_does_not_queue_with_writers) {
    auto& on = fixture();
    on.store_file(1, 2 * kMiB);
    on.push_out(1);
    on.store->hang_puts();
    for (ObjectId id = 10; id < 25; ++id) on.write_file(id, kMiB);  // one MiB is left
    const auto fills = on.cache->counters().fills.load();

    cr_expect(on.intact(1, 2 * kMiB));
    cr_expect_eq(on.cache->counters().fills, fills, "past DRAM");

    on.store->release();
    on.store_file(50, kMiB);
    cr_expect(on.intact(1, 2 * kMiB));
}

Test(cache_room, what_is_prefetched_comes_into_DRAM_once) {
    auto& on = fixture();
    on.store_file(1, 2 * kMiB);
    cr_assert(eventually([&] { return on.cache->leave_dram(1).ok(); }));
    cr_expect_eq(on.resident(1), 0);

    for (int i = 0; i < 3; ++i) cr_expect(on.cache->prefetch(*on.cache->acquire(1)).ok());

    cr_expect_eq(on.resident(1), 2 * kMiB);
    cr_expect(on.intact(1, 2 * kMiB));
    cr_expect_eq(on.cache->counters().fills, 1);
}

Test(cache_room, a_file_leaves_DRAM_only_once_a_store_has_it) {
    auto& on = fixture();
    on.store->hang();
    on.write_file(1, kMiB);
    cr_expect_eq(on.cache->leave_dram(1).error().code, EBUSY);
    on.store->release();
    cr_assert(on.cache->sync(*on.cache->acquire(1)).ok());
    cr_expect(eventually([&] { return on.cache->leave_dram(1).ok(); }));
    cr_expect(on.cache->leave_dram(1).ok(), "it is not there any more");
}

namespace {

/// Wants nothing that is in nobody's way, and remembers what it was asked about.
class WantsNothing final : public EvictionPolicy {
  public:
    static inline std::vector<ObjectId> asked;  // under the tier's lock

    bool admits(const FileUse& file) override {
        asked.push_back(file.id);
        return false;
    }
    void admitted(const FileUse& file) override { files_.push_back(file.id); }
    void used(const FileUse& /*file*/) override {}
    void removed(ObjectId id) override { std::erase(files_, id); }
    std::vector<ObjectId> victims(std::size_t /*count*/) override { return files_; }
    std::size_t files() const override { return files_.size(); }
    bool has(ObjectId id) const override {
        return std::find(files_.begin(), files_.end(), id) != files_.end();
    }

  private:
    std::vector<ObjectId> files_;
};

MakePolicy wants_nothing() {
    return [] { return std::unique_ptr<EvictionPolicy>(std::make_unique<WantsNothing>()); };
}

}  // namespace

Test(cache_room, a_full_store_takes_only_what_its_policy_wants_and_what_was_synced) {
    CacheFixture on({8 * kMiB},
                    {.io_timeout = std::chrono::seconds(10), .policy = wants_nothing()});
    for (ObjectId id = 1; id <= 7; ++id) on.store_file(id, kMiB);
    on.write_file(20, kMiB);  // the store is nearly full
    const auto& counters = on.cache->counters();
    cr_assert(eventually([&] { return counters.refusals == 1; }));
    cr_expect_eq(on.resident(20), kMiB);
    ObjectPtr used = *on.cache->acquire(20);
    cr_expect(on.cache->opened(*used, false).ok());
    cr_expect_not(on.cache->closed(std::move(used), {}));
    cr_expect(on.intact(20, kMiB), "it is in DRAM");
    cr_assert(eventually([&] { return counters.refusals == 2; }), "offered again when it is used");
    cr_expect_eq(on.cache->leave_dram(20).error().code, EBUSY);

    cr_assert(on.cache->sync(*on.cache->acquire(20)).ok());
    cr_expect_eq(counters.refusals, 2);
    // The bytes may still be held for a moment by what has written them.
    cr_expect(eventually([&] { return on.cache->leave_dram(20).ok(); }));
    cr_expect(on.intact(20, kMiB));
    cr_expect(WantsNothing::asked == (std::vector<ObjectId>{20, 20}));
}

Test(cache_room, what_a_store_has_refused_is_dropped_when_DRAM_needs_its_room) {
    CacheFixture on({4 * kMiB},
                    {.io_timeout = std::chrono::seconds(10), .policy = wants_nothing()});
    for (ObjectId id = 1; id <= 3; ++id) on.store_file(id, kMiB);
    for (ObjectId id = 20; id < 60; ++id) on.write_file(id, kMiB);
    cr_expect(on.catalog.wait_lost(20));
    cr_expect_eq(on.cache->counters().store_evictions, 0);
    for (ObjectId id = 1; id <= 3; ++id) cr_expect(on.intact(id, kMiB), "%lu", id);
    cr_expect(on.intact(59, kMiB));
}

Test(cache_room, a_file_is_dropped_unless_it_is_open_or_pinned) {
    auto& on = fixture();
    on.store_file(1, kMiB);
    {
        ObjectPtr object = *on.cache->acquire(1);
        cr_assert(on.cache->opened(*object, false).ok());
        cr_expect_eq(on.cache->drop(1).error().code, EBUSY);
        cr_assert_not(on.cache->closed(std::move(object), {}));
    }
    on.cache->set_pinned(1, true);
    cr_expect_eq(on.cache->drop(1).error().code, EBUSY);
    on.cache->set_pinned(1, false);
    // The store may still be busy letting go of what it has written.
    cr_expect(eventually([&] { return on.cache->drop(1).ok(); }));
    cr_expect(on.catalog.lost(1));
    on.write_file(2, 0);
    cr_expect(on.cache->drop(2).ok(), "an empty one, too");
    cr_expect(on.catalog.lost(2));
}
