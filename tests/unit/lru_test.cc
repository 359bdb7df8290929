#include <criterion/criterion.h>

#include "fs/cache/policy.h"

using kvfs::make_lru;
using kvfs::ObjectId;

using Ids = std::vector<ObjectId>;

TestSuite(lru, .timeout = 10);

Test(lru, the_first_victim_is_the_one_used_longest_ago) {
    const auto lru = make_lru();
    for (const ObjectId id : {1, 2, 3}) lru->admitted({.id = id});
    lru->used({.id = 1});

    cr_expect(lru->victims(2) == (Ids{2, 3}));
    cr_expect(lru->victims(9) == (Ids{2, 3, 1}));
}

Test(lru, what_left_is_no_victim_and_the_unknown_is_ignored) {
    const auto lru = make_lru();
    lru->admitted({.id = 1});
    lru->admitted({.id = 2});

    lru->removed(1);
    lru->removed(7);
    lru->used({.id = 7});

    cr_expect(lru->victims(9) == (Ids{2}));
}

Test(lru, admitting_again_counts_as_a_use) {
    const auto lru = make_lru();
    lru->admitted({.id = 1});
    lru->admitted({.id = 2});

    lru->admitted({.id = 1});

    cr_expect(lru->victims(9) == (Ids{2, 1}));
}
