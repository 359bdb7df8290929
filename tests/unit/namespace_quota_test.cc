// Quotas of volumes, as names keep them.
#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace_quota, .timeout = 30, .init = set_up, .fini = tear_down);

namespace {

constexpr std::uint64_t kSoft = 1 << 20, kHard = 3 << 20;

/// A volume of that name with both quotas.
Ino make_limited(const std::string& name) {
    const Ino volume = make_folder(kRootIno, name);
    cr_assert(names->change(volume, {.soft_quota = kSoft, .hard_quota = kHard}).ok());
    return volume;
}

}  // namespace

Test(namespace_quota, quotas_are_there_again_after_a_restart_and_what_is_made_below_has_none) {
    const Ino volume = make_limited("limited");
    const Ino below = make_folder(volume, "below");
    reopen();
    cr_expect_eq(get(volume).soft_quota, kSoft);
    cr_expect_eq(get(volume).hard_quota, kHard);
    cr_expect(get(volume).name == "limited");
    cr_expect_eq(get(below).hard_quota, 0);
}

Test(namespace_quota, one_of_the_two_is_changed_without_the_other) {
    const Ino volume = make_limited("limited");
    cr_assert(names->change(volume, {.soft_quota = 0}).ok());
    cr_expect_eq(get(volume).soft_quota, 0);
    cr_expect_eq(get(volume).hard_quota, kHard);
    cr_assert(names->change(volume, {.hard_quota = 0}).ok());
    cr_expect_eq(get(volume).hard_quota, 0);
    cr_expect(get(volume).name == "limited");
}

Test(namespace_quota, a_soft_quota_above_the_hard_one_is_refused_and_changes_nothing) {
    const Ino volume = make_limited("limited");
    cr_expect_eq(code(names->change(volume, {.soft_quota = kHard + 1})), EINVAL);
    cr_expect_eq(code(names->change(volume, {.hard_quota = kSoft - 1})), EINVAL);
    cr_expect_eq(get(volume).soft_quota, kSoft);
    cr_expect_eq(get(volume).hard_quota, kHard);
    cr_expect_eq(code(names->change(volume, {.soft_quota = kHard + 1, .hard_quota = 0})), 0);
}

Test(namespace_quota, only_volumes_have_quotas) {
    const Ino volume = make_folder(kRootIno, "volume");
    for (const Ino other : {kRootIno, make_file(kRootIno, "file"), make_folder(volume, "below")})
        cr_expect_eq(code(names->change(other, {.hard_quota = kHard})), EPERM);
}

Test(namespace_quota, a_volume_that_is_renamed_keeps_them_and_one_that_is_moved_loses_them) {
    const Ino volume = make_limited("before");
    const Ino other = make_folder(kRootIno, "other");
    cr_assert(names->rename(kRootIno, "before", kRootIno, "after", {}).ok());
    cr_expect_eq(get(volume).hard_quota, kHard);
    cr_assert(names->rename(kRootIno, "after", other, "below", {}).ok());
    cr_expect_eq(get(volume).hard_quota, 0);
    cr_assert(names->rename(other, "below", kRootIno, "again", {}).ok());
    cr_expect_eq(get(volume).soft_quota, 0);
}
