#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace_xattrs, .timeout = 30, .init = set_up, .fini = tear_down);
TestSuite(namespace_placements, .timeout = 30, .init = set_up, .fini = tear_down);

using Mode = Namespace::XattrMode;
using Names = std::vector<std::string>;

Test(namespace_xattrs, are_set_read_listed_and_removed) {
    const Ino ino = make_file(kRootIno, "file");
    const std::string binary("\0\xff\n", 3);
    const std::string longest(255, 'n');

    cr_assert(names->set_xattr(ino, "user.b", binary, Mode::any).ok());
    cr_assert(names->set_xattr(ino, "user.a", "", Mode::any).ok());
    cr_assert(names->set_xattr(ino, longest, std::string(64 << 10, 'v'), Mode::any).ok());

    cr_expect_eq(*names->xattr(ino, "user.b"), binary);
    cr_expect_eq(*names->xattr(ino, "user.a"), "");
    cr_expect_eq(names->xattr(ino, longest)->size(), std::size_t{64 << 10});
    cr_expect(same_names(*names->xattrs(ino), Names{longest, "user.a", "user.b"}));
    cr_expect(names->remove_xattr(ino, "user.a").ok());
    cr_expect(same_names(*names->xattrs(ino), Names{longest, "user.b"}));
}

Test(namespace_xattrs, obey_create_only_and_replace_only) {
    const Ino ino = make_file(kRootIno, "file");

    cr_expect_eq(code(names->set_xattr(ino, "user.a", "1", Mode::replace_only)), ENODATA);
    cr_expect_eq(code(names->set_xattr(ino, "user.a", "2", Mode::create_only)), 0);
    cr_expect_eq(code(names->set_xattr(ino, "user.a", "3", Mode::create_only)), EEXIST);
    cr_expect_eq(*names->xattr(ino, "user.a"), "2");
    cr_expect_eq(code(names->set_xattr(ino, "user.a", "4", Mode::replace_only)), 0);
    cr_expect_eq(*names->xattr(ino, "user.a"), "4");
}

Test(namespace_xattrs, fail_as_xattr_calls_do) {
    const Ino ino = make_file(kRootIno, "file");
    const std::string long_name(256, 'n');
    const std::string long_value((64 << 10) + 1, 'v');

    cr_expect_eq(code(names->xattr(ino, "user.a")), ENODATA);
    cr_expect_eq(code(names->remove_xattr(ino, "user.a")), ENODATA);
    cr_expect_eq(code(names->set_xattr(ino, long_name, "", Mode::any)), ERANGE);
    cr_expect_eq(code(names->set_xattr(ino, "", "", Mode::any)), ERANGE);
    cr_expect_eq(code(names->xattr(ino, "")), ERANGE);
    cr_expect_eq(code(names->remove_xattr(ino, long_name)), ERANGE);
    cr_expect_eq(code(names->set_xattr(ino, "user.a", long_value, Mode::any)), E2BIG);
    cr_expect_eq(code(names->set_xattr(12345, "user.a", "", Mode::any)), ENOENT);
    cr_expect_eq(code(names->xattr(12345, "user.a")), ENOENT);
    cr_expect_eq(code(names->xattrs(12345)), ENOENT);
    cr_expect_eq(code(names->remove_xattr(12345, "user.a")), ENOENT);
}

Test(namespace_xattrs, change_ctime_and_survive_a_restart) {
    const Ino ino = make_file(kRootIno, "file");
    const Inode fresh = get(ino);
    cr_assert(names->set_xattr(ino, "user.a", "1", Mode::any).ok());
    const Inode set = get(ino);
    cr_assert(names->set_xattr(ino, "user.b", "2", Mode::any).ok());
    cr_assert(names->remove_xattr(ino, "user.a").ok());

    reopen();

    cr_expect_gt(set.ctime_ns, fresh.ctime_ns);
    cr_expect_eq(set.mtime_ns, fresh.mtime_ns);
    cr_expect_gt(get(ino).ctime_ns, set.ctime_ns);
    cr_expect(same_names(*names->xattrs(ino), Names{"user.b"}));
}

Test(namespace_xattrs, belong_to_directories_and_symlinks_too) {
    const Ino link = make(kRootIno, "link", symlink_to("target"));
    cr_assert(names->set_xattr(kRootIno, "user.a", "root", Mode::any).ok());
    cr_assert(names->set_xattr(link, "user.a", "link", Mode::any).ok());

    cr_expect_eq(*names->xattr(kRootIno, "user.a"), "root");
    cr_expect(same_names(*names->xattrs(link), Names{"user.a"}));
    cr_expect_eq(*names->symlink_target(link), "target");
}

// ---- placements ---------------------------------------------------------------------------

Test(namespace_placements, are_kept_as_given_and_set_the_size) {
    const Ino ino = make_file(kRootIno, "file");
    const Placement placement{.store_uid = ~0ULL, .size = 3 << 20, .chunk_crcs = {1, ~0U, 3}};

    cr_expect_eq(code(names->placement(ino)), ENOENT);
    cr_assert(names->set_placement(ino, placement).ok());
    reopen();

    const auto kept = names->placement(ino);
    cr_assert(kept.ok());
    cr_expect_not(kept->scratch);
    cr_expect_eq(kept->store_uid, ~0ULL);
    cr_expect_eq(kept->size, 3 << 20);
    cr_expect(kept->chunk_crcs == placement.chunk_crcs);
    cr_expect_eq(get(ino).size, 3 << 20);

    cr_assert(
        names->set_placement(ino, Placement{.scratch = true, .store_uid = 1, .size = 9}).ok());
    cr_expect(names->placement(ino)->scratch);
    cr_expect(names->placement(ino)->chunk_crcs.empty());
    cr_expect_eq(get(ino).size, 9);

    cr_assert(names->set_placement(ino, std::nullopt).ok());
    cr_expect_eq(code(names->placement(ino)), ENOENT);
    cr_expect_eq(get(ino).size, 9);
    cr_expect(names->set_placement(ino, std::nullopt).ok(), "absent is fine");
}

Test(namespace_placements, hold_the_checksums_of_a_terabyte) {
    const Ino ino = make_file(kRootIno, "file");
    Placement placement{.store_uid = 1, .size = 1ULL << 40};
    placement.chunk_crcs.assign(1 << 20, 0xabcdef01);

    for (int i = 0; i < 3; ++i) cr_assert(names->set_placement(ino, placement).ok());
    cr_expect(names->placement(ino)->chunk_crcs == placement.chunk_crcs);
}

Test(namespace_placements, are_for_regular_files_that_are_there) {
    const Ino folder_ino = make_folder(kRootIno, "folder");

    cr_expect_eq(code(names->set_placement(12345, Placement{})), ENOENT);
    cr_expect_eq(code(names->set_placement(12345, std::nullopt)), ENOENT);
    cr_expect_eq(code(names->set_placement(folder_ino, Placement{})), EINVAL);
    cr_expect_eq(code(names->placement(12345)), ENOENT);
}

Test(namespace_placements, are_scanned_in_inode_order_while_files_come_and_go) {
    std::vector<Ino> placed;
    for (std::uint64_t i = 0; i < 5000; ++i) {
        const Ino ino = make_file(kRootIno, "file-" + std::to_string(i));
        const Placement placement{.store_uid = i % 4 / 2 * 7, .size = i % 4 / 2 * i};
        if (i % 2 != 0) continue;
        cr_assert(names->set_placement(ino, placement).ok());
        if (placement.store_uid != 0) placed.push_back(ino);  // what is empty is in no store
    }
    std::vector<Ino> seen;
    cr_assert(names
                  ->scan_placements([&](const Inode& inode, const Placement& placement) {
                      cr_assert_eq(inode.size, placement.size);
                      seen.push_back(inode.ino);
                      const auto orphan = names->unlink(kRootIno, inode.name);
                      return orphan.ok() && names->erase(inode.ino).ok();
                  })
                  .ok());

    cr_expect(seen == placed);
    cr_expect_eq(names->counts().files, 3750);
    cr_expect_eq(code(names->scan_placements([](const Inode&, const Placement&) {
                     cr_assert_fail("all are gone");
                     return true;
                 })),
                 0);
}

Test(namespace_placements, scanning_stops_when_told_and_sees_orphans) {
    for (const char* name : {"a", "b", "c"}) {
        const Ino ino = make_file(kRootIno, name);
        cr_assert(names->set_placement(ino, Placement{.store_uid = 7, .size = 1}).ok());
    }
    cr_assert(names->unlink(kRootIno, "a").ok());

    int seen = 0;
    cr_assert(names
                  ->scan_placements([&](const Inode& inode, const Placement&) {
                      cr_expect_eq(inode.nlink, seen == 0 ? 0 : 1);
                      return ++seen < 2;
                  })
                  .ok());
    cr_expect_eq(seen, 2);
}
