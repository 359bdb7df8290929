#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace_list, .timeout = 30, .init = set_up, .fini = tear_down);
TestSuite(namespace_threads, .timeout = 30, .init = set_up, .fini = tear_down);

using Names = std::vector<std::string>;

// ---- list, path ---------------------------------------------------------------------------

Test(namespace_list, lists_in_order_of_names_with_types) {
    const Ino volume = make_folder(kRootIno, "volume");
    make_file(volume, "b");
    make_folder(volume, "a");
    make(volume, "c", symlink_to("b"));
    make_file(kRootIno, "aa");  // other directories' names are not in between

    std::vector<std::uint32_t> types;
    cr_assert(names
                  ->list(volume, "",
                         [&](const Namespace::Entry& entry) {
                             types.push_back(entry.type);
                             return true;
                         })
                  .ok());
    cr_expect(same_names(listing(volume), Names{"a", "b", "c"}));
    cr_expect((types == std::vector<std::uint32_t>{S_IFDIR, S_IFREG, S_IFLNK}));
    cr_expect(same_names(listing(volume, "a"), Names{"b", "c"}));
    cr_expect(same_names(listing(volume, "aa"), Names{"b", "c"}), "`after` need not exist");
    cr_expect(listing(volume, "c").empty());
    cr_expect(same_names(listing(kRootIno), Names{"aa", "volume"}));
}

Test(namespace_list, list_fails_as_posix_has_it) {
    const Ino plain = make_file(kRootIno, "plain");
    const auto nothing = [](const Namespace::Entry&) { return true; };

    cr_expect_eq(code(names->list(plain, "", nothing)), ENOTDIR);
    cr_expect_eq(code(names->list(12345, "", nothing)), ENOENT);
}

Test(namespace_list, names_that_stay_are_listed_once_while_others_come_and_go) {
    constexpr int kNames = 3000;
    const Ino volume = make_folder(kRootIno, "volume");
    for (int i = 0; i < kNames; ++i) make_file(volume, "stays-" + std::to_string(i));

    std::atomic<bool> stop{false};
    std::atomic<bool> failed{false};
    std::thread changes([&] {
        for (int i = 0; !stop; ++i) {
            const std::string name = (i % 2 != 0 ? "a-" : "z-") + std::to_string(i % 500);
            if (names->create(volume, name, file())) continue;
            const auto orphan = names->unlink(volume, name);
            if (!orphan || !names->erase(orphan->ino)) failed = stop = true;
        }
    });
    for (int round = 0; round < 20; ++round) {
        std::multiset<std::string> seen;
        std::string after;
        for (bool more = true; more;) {
            int left = 7;  // as many as one reply holds
            cr_assert(names
                          ->list(volume, after,
                                 [&](const Namespace::Entry& entry) {
                                     if (left-- == 0) return false;
                                     if (entry.name.starts_with("stays-")) seen.emplace(entry.name);
                                     after = entry.name;
                                     return true;
                                 })
                          .ok());
            more = left < 0;
        }
        cr_expect_eq(seen.size(), kNames);
        cr_expect_eq(std::set<std::string>(seen.begin(), seen.end()).size(), kNames);
    }
    stop = true;
    changes.join();
    cr_expect_not(failed);
}

Test(namespace_list, a_visitor_may_change_what_it_lists) {
    for (int i = 0; i < 100; ++i) make_file(kRootIno, std::to_string(i));

    int seen = 0;
    cr_assert(names
                  ->list(kRootIno, "",
                         [&](const Namespace::Entry& entry) {
                             ++seen;
                             const auto orphan = names->unlink(kRootIno, std::string(entry.name));
                             return orphan.ok() && names->erase(orphan->ino).ok();
                         })
                  .ok());
    cr_expect_eq(seen, 100);
    cr_expect(listing(kRootIno).empty());
}

Test(namespace_list, path_leads_from_the_root) {
    const Ino a = make_folder(kRootIno, "a");
    const Ino b = make_folder(a, "b b");
    const Ino c = make_file(b, "c");

    cr_expect_eq(*names->path(kRootIno), "");
    cr_expect_eq(*names->path(a), "a");
    cr_expect_eq(*names->path(c), "a/b b/c");
    cr_expect_eq(code(names->path(12345)), ENOENT);
    cr_assert(
        names->rename(a, "b b", kRootIno, "a2", Namespace::RenameFlag::replace).error().code ==
        EXDEV);
    cr_assert(names->rename(a, "b b", a, "d", Namespace::RenameFlag::replace).ok());
    cr_expect_eq(*names->path(c), "a/d/c");
}

// ---- many names, many threads -------------------------------------------------------------

Test(namespace_list, one_directory_holds_a_hundred_thousand_names, .timeout = 120) {
    constexpr std::uint64_t kNames = 100'000;
    const Ino volume = make_folder(kRootIno, "volume");
    for (std::uint64_t i = 0; i < kNames; ++i) make_file(volume, "block-" + std::to_string(i));

    cr_expect_eq(get(volume).size, kNames);
    cr_expect_eq(names->counts().files, kNames);
    cr_expect_eq(listing(volume).size(), kNames);
    for (std::uint64_t i = 0; i < kNames; i += 97) {
        const std::string name = "block-" + std::to_string(i);
        cr_assert(names->lookup(volume, name).ok());
        cr_assert_eq(code(names->lookup(volume, name + "x")), ENOENT);
    }
}

Test(namespace_threads, readers_see_whole_changes_while_writers_write) {
    // A file moves to and fro; in every snapshot it is in exactly one of the two places.
    const Ino a = make_folder(kRootIno, "a");
    const Ino inner = make_folder(a, "inner");
    const Ino moving = make_file(a, "moving");

    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
        readers.emplace_back([&] {
            while (!stop) {
                const auto path = names->path(moving);
                if (!path || (*path != "a/moving" && *path != "a/inner/moved")) ++wrong;
                const auto entry = names->lookup(a, "moving");
                if (entry && entry->parent != a) ++wrong;
            }
        });
    }
    for (int i = 0; i < 5000; ++i) {
        cr_assert(names->rename(a, "moving", inner, "moved", Namespace::RenameFlag::replace).ok());
        cr_assert(names->rename(inner, "moved", a, "moving", Namespace::RenameFlag::replace).ok());
    }
    stop = true;
    for (auto& reader : readers) reader.join();
    cr_expect_eq(wrong.load(), 0);
}

Test(namespace_threads, serves_more_threads_than_it_has_readers_and_forgets_those_that_ended) {
    make_file(kRootIno, "file");
    std::atomic<int> found{0};
    for (int round = 0; round < 20; ++round) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 100; ++i) {
            threads.emplace_back([&] { found += names->lookup(kRootIno, "file").ok() ? 1 : 0; });
        }
        for (auto& thread : threads) thread.join();
    }
    cr_expect_eq(found.load(), 2000);
}

Test(namespace_threads, reads_nest_deeper_than_the_pool) {
    make_file(kRootIno, "file");
    int depth = 0;
    const std::function<bool(const Namespace::Entry&)> deeper = [&](const Namespace::Entry&) {
        return ++depth >= 300 || names->list(kRootIno, "", deeper).ok();
    };

    cr_expect(names->list(kRootIno, "", deeper).ok());
    cr_expect_eq(depth, 300);
    cr_expect(names->lookup(kRootIno, "file").ok());
}
