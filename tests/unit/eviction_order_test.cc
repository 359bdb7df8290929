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
        order.admitted({.id = id}, id % 2 == 0 ? Priority::low
                                   : id == 3   ? Priority::high
                                               : Priority::normal);
    return order;
}

}  // namespace

TestSuite(eviction_order, .timeout = 10);

Test(eviction_order, lower_priorities_go_first_and_each_by_its_policy) {
    EvictionOrder order = some();
    order.used({.id = 2}, Priority::low);
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
    order.admitted({.id = 4}, Priority::normal);
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

          private:
            std::size_t files_ = 0;
        };
        return std::unique_ptr<EvictionPolicy>(std::make_unique<Refuses>());
    };
    EvictionOrder order(refuses);
    cr_expect_not(order.admits({.id = 1}, Priority::normal));
    order.admitted({.id = 2}, Priority::normal);
    cr_expect_not(order.admits({.id = 1}, Priority::normal));
    cr_expect(order.admits({.id = 1}, Priority::high));
}
