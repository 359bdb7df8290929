#include "fs/cache/eviction_order.h"

#include <criterion/criterion.h>

#include <vector>

using namespace kvfs;

namespace {

using Ids = std::vector<ObjectId>;

/// A tier with the files 1 to 6: even ones of low, 3 of high priority.
EvictionOrder some() {
    EvictionOrder order(make_lru);
    for (ObjectId id = 1; id <= 6; ++id)
        order.admitted({.id = id},
                       id % 2 == 0 ? Priority::low
                       : id == 3   ? Priority::high
                                   : Priority::normal,
                       0);
    return order;
}

}  // namespace

TestSuite(eviction_order, .timeout = 10);

Test(eviction_order, lower_priorities_go_first_and_each_by_its_policy) {
    EvictionOrder order = some();
    order.used({.id = 2}, Priority::low, 0);
    cr_expect(order.victims(10) == Ids({4, 6, 2, 1, 5, 3}));
    cr_expect(order.victims(4) == Ids({4, 6, 2, 1}));
    cr_expect_eq(order.files(), 6);
    for (const ObjectId id : {4, 3}) order.removed(id);
    cr_expect(order.victims(10) == Ids({6, 2, 1, 5}));
}

Test(eviction_order, a_file_that_gets_another_priority_is_there_once) {
    EvictionOrder order = some();
    order.changed({.id = 2}, Priority::high);
    order.changed({.id = 99}, Priority::high);
    cr_expect(order.victims(10) == Ids({4, 6, 1, 5, 3, 2}), "and 99 is not in the tier");
    order.admitted({.id = 4}, Priority::normal, 0);
    cr_expect(order.victims(10) == Ids({6, 1, 5, 4, 3, 2}));
}

Test(eviction_order, a_file_that_gets_a_parent_goes_before_it_and_keeps_its_priority) {
    EvictionOrder order = some();
    order.changed({.id = 1, .parent = 5}, Priority::normal);
    order.changed({.id = 5, .parent = 1}, Priority::normal);
    cr_expect(order.victims(10) == Ids({2, 4, 6, 5, 1, 3}));
    cr_expect_eq(order.files(), 6);
}

Test(eviction_order, a_newcomer_is_not_refused_while_lesser_files_could_go) {
    const auto refuses = [] {
        class Refuses final : public EvictionPolicy {
          public:
            bool admits(const FileUse&) override { return false; }
            void admitted(const FileUse&) override { ++files_; }
            void used(const FileUse&) override {}
            void removed(ObjectId) override { --files_; }
            std::vector<ObjectId> victims(std::size_t) override { return {}; }
            std::size_t files() const override { return files_; }
            bool has(ObjectId) const override { return false; }

          private:
            std::size_t files_ = 0;
        };
        return std::unique_ptr<EvictionPolicy>(std::make_unique<Refuses>());
    };
    EvictionOrder order(refuses);
    cr_expect_not(order.admits({.id = 1}, Priority::normal));
    order.admitted({.id = 2}, Priority::normal, 0);
    cr_expect_not(order.admits({.id = 1}, Priority::normal));
    cr_expect(order.admits({.id = 1}, Priority::high));
}

Test(eviction_order, files_of_a_volume_over_its_quota_go_before_others_of_their_priority) {
    constexpr VolumeId kOver = 7, kOther = 8;
    EvictionOrder order(make_lru);
    order.watch(kOver);
    for (ObjectId id = 1; id <= 8; ++id)
        order.admitted({.id = id}, id <= 4 ? Priority::normal : Priority::low,
                       id % 2 == 0 ? kOver : kOther);
    const std::vector<VolumeId> over{kOver};
    cr_expect(order.victims(10) == Ids({5, 6, 7, 8, 1, 2, 3, 4}), "as if it had no quota");
    cr_expect(order.victims(10, over) == Ids({6, 8, 5, 7, 2, 4, 1, 3}));
    cr_expect(order.victims(3, over) == Ids({6, 8, 5}));
    order.used({.id = 6}, Priority::low, kOver);
    order.removed(4);
    order.changed({.id = 2}, Priority::low);
    cr_expect(order.victims(10, over) == Ids({8, 6, 2, 5, 7, 1, 3}));
    cr_expect_eq(order.files(), 7);
}

Test(eviction_order, the_files_of_a_watched_volume_are_known_by_themselves) {
    constexpr VolumeId kWatched = 7, kOther = 8;
    EvictionOrder order(make_lru);
    order.admitted({.id = 1}, Priority::normal, kWatched);
    cr_expect(order.victims_of(kWatched, 10).empty());
    order.watch(kWatched);
    order.watch(kOther);
    order.admitted({.id = 2}, Priority::normal, kWatched);
    order.admitted({.id = 3}, Priority::normal, kOther);
    cr_expect(order.victims_of(kWatched, 10) == Ids({2}), "1 was there before");
    order.join({.id = 1}, Priority::high, kWatched);
    order.join({.id = 3}, Priority::normal, kWatched);
    cr_expect(order.victims_of(kWatched, 10) == Ids({2, 3, 1}));
    cr_expect(order.victims_of(kWatched, 2) == Ids({2, 3}));
    order.join({.id = 2}, Priority::normal, kWatched);
    cr_expect(order.victims_of(kWatched, 2) == Ids({2, 3}), "which was no use of it");
    cr_expect_eq(order.files_of(kOther), 0, "3 has left it");
    order.unwatch(kWatched);
    cr_expect_eq(order.files_of(kWatched), 0);
    cr_expect(order.victims(10) == Ids({1, 2, 3}), "the order of all is what it was");
}
