// Times to live, and what is inherited.
#include <set>

#include "fs/base/clock.h"
#include "tests/unit/namespace_fixture.h"

using namespace kvfs;
using namespace namespace_fixture;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

}  // namespace

TestSuite(namespace_expiry, .timeout = 30, .init = set_up, .fini = tear_down);

Test(namespace_expiry, a_file_is_told_of_when_it_was_not_used_for_its_time) {
    const Ino ino = make_file(kRootIno, "file");
    make_file(kRootIno, "without a time");
    const std::int64_t made = names->change(ino, {.ttl_s = 100})->atime_ns;
    const auto told = [&](std::int64_t after_s) {
        const auto expired = names->expired(made + after_s * kSecond, 10);
        cr_assert(expired.ok());
        cr_assert_leq(expired->size(), 1);
        return expired->size() == 1 && expired->front().ino == ino;
    };
    cr_expect(!told(98));
    cr_assert(names->record_uses({{ino, made + 50 * kSecond, 1}}).ok());
    cr_expect(!told(120), "it was used meanwhile");
    cr_expect(told(151));
    cr_expect(!told(152), "it could not go: not again at once");
    cr_expect(told(170), "but after a while");
    cr_assert(names->change(ino, {.ttl_s = 0}).ok());
    cr_expect(!told(1000));
}

Test(namespace_expiry, what_is_made_in_a_directory_inherits_its_time_and_priority) {
    const Ino directory = make_folder(kRootIno, "d");
    cr_assert(names->change(directory, {.ttl_s = 60, .priority = Priority::low}).ok());
    const Ino made = make_file(directory, "file");
    const auto unnamed = names->create_unnamed(file());
    cr_assert(unnamed.ok());
    const auto published = names->give_name(unnamed->ino, directory, "published");
    cr_assert(published.ok());
    reopen();
    for (const Ino ino : {made, unnamed->ino, make_folder(directory, "sub")}) {
        cr_expect_eq(get(ino).ttl_s, 60);
        cr_expect(get(ino).priority == Priority::low);
    }
    const auto expired = names->expired(wall_ns() + 100 * kSecond, 10);
    cr_assert(expired.ok());
    cr_expect_eq(expired->size(), 2, "files only");
}

Test(namespace_expiry, many_that_expire_are_told_of_in_lots) {
    const Ino directory = make_folder(kRootIno, "d");
    cr_assert(names->change(directory, {.ttl_s = 1}).ok());
    for (int i = 0; i < 25; ++i) make_file(directory, "f" + std::to_string(i));
    std::set<Ino> told;
    for (const std::size_t expected : {10, 10, 5, 0}) {
        const auto expired = names->expired(wall_ns() + 5 * kSecond, 10);
        cr_assert(expired.ok());
        cr_expect_eq(expired->size(), expected);
        for (const Inode& inode : *expired) told.insert(inode.ino);
    }
    cr_expect_eq(told.size(), 25);
}

Test(namespace_expiry, of_a_file_that_is_gone_nothing_is_told) {
    const Ino ino = make_file(kRootIno, "file");
    cr_assert(names->change(ino, {.ttl_s = 1}).ok());
    cr_assert(names->remove(ino).ok());
    const auto expired = names->expired(wall_ns() + 100 * kSecond, 10);
    cr_assert(expired.ok());
    cr_expect(expired->empty());
}
