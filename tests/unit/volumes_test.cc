#include "fs/cache/volumes.h"

#include <criterion/criterion.h>

#include <vector>

using namespace kvfs;

namespace {

using Ids = std::vector<VolumeId>;

}  // namespace

TestSuite(volumes, .timeout = 10);

Test(volumes, a_volume_holds_what_its_files_hold) {
    Volumes volumes;
    VolumeShare one{7}, two{7}, other{8};
    volumes.count(one, 100);
    volumes.count(two, 50);
    volumes.count(other, 5);
    volumes.count(one, 30);
    cr_expect_eq(volumes.used(7), 80);
    volumes.move(one, 8);
    cr_expect_eq(volumes.used(7), 50);
    cr_expect_eq(volumes.used(8), 35);
    volumes.count(two, 0);
    cr_expect_eq(volumes.used(7), 0);
    cr_expect_eq(volumes.used(9), 0);
}

Test(volumes, nothing_is_charged_beyond_the_hard_quota) {
    Volumes volumes;
    VolumeShare file{7};
    cr_expect(volumes.charge(file, 1000), "it has none");
    volumes.set_quota(7, {.hard = 900});
    cr_expect(volumes.charge(file, 0));
    cr_expect_not(volumes.charge(file, 1));
    cr_expect_eq(volumes.excess(7), 100);
    cr_expect_eq(volumes.excess(7, 50), 150);
    volumes.count(file, 800);
    cr_expect_not(volumes.charge(file, 101));
    cr_expect(volumes.charge(file, 100));
    cr_expect_eq(volumes.used(7), 900);
    cr_expect_eq(file.bytes, 900);
    cr_expect_eq(volumes.excess(7), 0);
    cr_expect_not(volumes.charge(file, UINT64_MAX - 10), "nor when the sum would wrap");
}

Test(volumes, those_over_a_quota_are_known) {
    Volumes volumes;
    VolumeShare one{7}, two{8};
    volumes.count(one, 1000);
    volumes.count(two, 1000);
    volumes.set_quota(7, {.soft = 999, .hard = 1000});
    volumes.set_quota(8, {.soft = 1000, .hard = 999});
    cr_expect(volumes.over_soft() == Ids({7}));
    cr_expect(volumes.over_hard() == Ids({8}));
    volumes.count(two, 1001);
    cr_expect(volumes.over_soft() == Ids({7, 8}));
    volumes.set_quota(8, {});
    volumes.count(one, 999);
    cr_expect(volumes.over_soft().empty());
    cr_expect(volumes.over_hard().empty());
    cr_expect_eq(volumes.with_quota().size(), 1);
    cr_expect_eq(volumes.with_quota()[0].used, 999);
}

Test(volumes, a_wrong_account_does_not_wrap) {
    Volumes volumes;
    VolumeShare unknown{7, 100};  // which was never counted
    volumes.set_quota(7, {.hard = 900});
    volumes.count(unknown, 0);
    cr_expect_eq(volumes.used(7), 0);
    cr_expect(volumes.over_hard().empty());
}

Test(volumes, a_draft_counts_until_it_is_dropped_or_becomes_a_file) {
    Volumes volumes;
    VolumeShare counted{7};
    cr_expect(volumes.charge(counted, 100));
    { const DraftShare dropped(volumes, counted); }
    cr_expect_eq(volumes.used(7), 0);
    counted = {7};
    cr_expect(volumes.charge(counted, 100));
    VolumeShare file;
    {
        DraftShare kept(volumes, counted);
        file = kept.take();
    }
    cr_expect_eq(volumes.used(7), 100);
    volumes.count(file, 0);
    cr_expect_eq(volumes.used(7), 0);
}
