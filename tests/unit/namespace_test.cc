#include <set>

#include "fs/base/clock.h"
#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace, .timeout = 30, .init = set_up, .fini = tear_down);

using Names = std::vector<std::string>;

// ---- the root -----------------------------------------------------------------------------

Test(namespace, starts_with_an_empty_root) {
    const Inode root = get(kRootIno);

    cr_expect(root.is_directory());
    cr_expect_eq(root.parent, 0);
    cr_expect_eq(root.volume, kRootIno);
    cr_expect_eq(root.nlink, 2);
    cr_expect_eq(root.size, 0);
    cr_expect(root.name.empty());
    cr_expect_not(names->needs_rebuild());
    cr_expect_eq(names->counts().files, 0);
    cr_expect_eq(names->counts().directories, 1);
    cr_expect_gt(names->counts().bytes_on_disk, 0);
}

Test(namespace, is_not_opened_twice) {
    const auto second = try_open();

    cr_assert_not(second.ok());
    cr_expect_eq(second.error().code, EBUSY);
    cr_expect_neq(second.error().what.find(directory), std::string::npos);
}

Test(namespace, says_that_the_file_system_refuses_so_large_a_map) {
    names.reset();
    const auto opened = try_open(kThisBoot, 1ULL << 62);

    cr_assert_not(opened.ok());
    cr_expect_neq(opened.error().what.find(directory), std::string::npos);
    cr_expect_neq(opened.error().what.find("sparse file"), std::string::npos, "%s",
                  opened.error().what.c_str());
}

Test(namespace, answers_enospc_when_the_map_is_full) {
    names.reset();
    auto small = try_open(kThisBoot, 1 << 20);
    cr_assert(small.ok());

    int failed = 0;
    int made = 0;
    for (; failed == 0 && made < 100'000; ++made) {
        failed = code((*small)->create(kRootIno, "file-" + std::to_string(made), file()));
    }
    cr_expect_eq(failed, ENOSPC);
    cr_expect_gt(made, 1000);
    cr_expect((*small)->lookup(kRootIno, "file-0").ok());
    cr_expect_eq((*small)->counts().files, static_cast<unsigned long>(made - 1));
}

// ---- create, lookup, get ------------------------------------------------------------------

Test(namespace, finds_what_was_created) {
    const Ino volume = make_folder(kRootIno, "volume");
    const std::int64_t before = kvfs::wall_ns();
    const auto made = names->create(volume, "block", file());
    cr_assert(made.ok());

    for (const auto& found : {names->lookup(volume, "block"), names->get(made->ino)}) {
        cr_assert(found.ok());
        cr_expect_eq(found->ino, made->ino);
        cr_expect_eq(found->parent, volume);
        cr_expect_eq(found->volume, volume);
        cr_expect_eq(found->mode, unsigned{S_IFREG | 0644});
        cr_expect_eq(found->uid, 1000);
        cr_expect_eq(found->gid, 100);
        cr_expect_eq(found->nlink, 1);
        cr_expect_eq(found->size, 0);
        cr_expect_geq(found->btime_ns, before);
        cr_expect_eq(found->mtime_ns, found->btime_ns);
        cr_expect_eq(found->name, "block");
        cr_expect_not(found->pinned);
    }
}

Test(namespace, creates_update_the_directory) {
    const Ino volume = make_folder(kRootIno, "volume");
    const Inode before = get(volume);
    make_file(volume, "a");
    make_folder(volume, "b");
    const Inode after = get(volume);

    cr_expect_eq(after.size, 2);
    cr_expect_eq(after.nlink, 3);
    cr_expect_gt(after.mtime_ns, before.mtime_ns);
    cr_expect_eq(after.ctime_ns, after.mtime_ns);
    cr_expect_eq(get(kRootIno).nlink, 3);
    cr_expect_eq(get(kRootIno).size, 1);
}

Test(namespace, a_name_may_hold_any_byte_but_slash_and_nul) {
    const std::string longest(255, '\xff');
    const Ino strange = make_file(kRootIno, "\x01\x80 \n\xc3");
    const Ino longest_ino = make_file(kRootIno, longest);

    cr_expect_eq(names->lookup(kRootIno, "\x01\x80 \n\xc3")->ino, strange);
    cr_expect_eq(names->lookup(kRootIno, longest)->ino, longest_ino);
    cr_expect_eq(listing(kRootIno).size(), 2);
    cr_expect(same_names(listing(kRootIno, "\x01\x80 \n\xc3"), Names{longest}));
    cr_expect(listing(kRootIno, longest).empty());
}

Test(namespace, refuses_names_that_are_none) {
    const std::string nul("a\0b", 3);

    cr_expect_eq(code(names->create(kRootIno, "", file())), ENOENT);
    cr_expect_eq(code(names->create(kRootIno, ".", file())), EEXIST);
    cr_expect_eq(code(names->create(kRootIno, "..", folder())), EEXIST);
    cr_expect_eq(code(names->create(kRootIno, "a/b", file())), EINVAL);
    cr_expect_eq(code(names->create(kRootIno, nul, file())), EINVAL);
    cr_expect_eq(code(names->create(kRootIno, std::string(256, 'x'), file())), ENAMETOOLONG);
    cr_expect_eq(code(names->lookup(kRootIno, "..")), EINVAL);
    cr_expect_eq(code(names->lookup(kRootIno, std::string(256, 'x'))), ENAMETOOLONG);
    cr_expect_eq(code(names->unlink(kRootIno, "a/b")), EINVAL);
    cr_expect_eq(code(names->rmdir(kRootIno, ".")), EINVAL);
    cr_expect_eq(code(names->rmdir(kRootIno, "..")), ENOTEMPTY);
    cr_expect_eq(get(kRootIno).size, 0);
}

Test(namespace, create_fails_as_posix_has_it) {
    const Ino plain = make_file(kRootIno, "plain");
    make_folder(kRootIno, "folder");

    cr_expect_eq(code(names->create(kRootIno, "plain", file())), EEXIST);
    cr_expect_eq(code(names->create(kRootIno, "plain", folder())), EEXIST);
    cr_expect_eq(code(names->create(kRootIno, "folder", folder())), EEXIST);
    cr_expect_eq(code(names->create(plain, "x", file())), ENOTDIR);
    cr_expect_eq(code(names->create(12345, "x", file())), ENOENT);
    cr_expect_eq(code(names->create(kRootIno, "fifo", {.mode = S_IFIFO | 0600})), EINVAL);
    cr_expect_eq(code(names->create(kRootIno, "typeless", {.mode = 0600})), EINVAL);
    cr_expect_eq(get(kRootIno).size, 2);
    cr_expect_eq(names->counts().files, 1);
}

Test(namespace, lookup_and_get_fail_as_posix_has_it) {
    const Ino plain = make_file(kRootIno, "plain");

    cr_expect_eq(code(names->lookup(kRootIno, "absent")), ENOENT);
    cr_expect_eq(code(names->lookup(12345, "absent")), ENOENT);
    cr_expect_eq(code(names->lookup(plain, "absent")), ENOTDIR);
    cr_expect_eq(code(names->get(12345)), ENOENT);
}

Test(namespace, a_volume_is_the_top_level_directory) {
    const Ino volume = make_folder(kRootIno, "volume");
    const Ino inner = make_folder(volume, "inner");

    cr_expect_eq(get(volume).volume, volume);
    cr_expect_eq(get(inner).volume, volume);
    cr_expect_eq(get(make_file(inner, "deep")).volume, volume);
    cr_expect_eq(get(make_file(kRootIno, "top")).volume, kRootIno);
}

Test(namespace, symlinks_keep_their_target) {
    const std::string longest(4095, 't');
    const Ino link = make(kRootIno, "link", symlink_to("../else where"));
    const Ino far = make(kRootIno, "far", symlink_to(longest));
    const Ino plain = make_file(kRootIno, "plain");

    cr_expect(get(link).is_symlink());
    cr_expect_eq(get(link).size, 13);
    cr_expect_eq(*names->symlink_target(link), "../else where");
    cr_expect_eq(*names->symlink_target(far), longest);
    cr_expect(names->xattrs(link)->empty());
    cr_expect_eq(code(names->symlink_target(plain)), EINVAL);
    cr_expect_eq(code(names->symlink_target(12345)), ENOENT);
    cr_expect_eq(code(names->create(kRootIno, "e", symlink_to(""))), ENOENT);
    cr_expect_eq(code(names->create(kRootIno, "l", symlink_to(longest + "t"))), ENAMETOOLONG);
}

// ---- unlink, rmdir, orphans ---------------------------------------------------------------

Test(namespace, an_unlinked_file_is_an_orphan_until_erased) {
    const Ino ino = make_file(kRootIno, "file");
    cr_assert(names->set_xattr(ino, "user.a", "1", Namespace::XattrMode::any).ok());
    cr_assert(names->set_placement(ino, Placement{.store_uid = 7, .size = 5}).ok());
    const Inode root = get(kRootIno);

    const auto orphan = names->unlink(kRootIno, "file");

    cr_assert(orphan.ok());
    cr_expect_eq(orphan->ino, ino);
    cr_expect_eq(orphan->nlink, 0);
    cr_expect_eq(orphan->parent, 0);
    cr_expect_eq(orphan->size, 5);
    cr_expect_eq(code(names->lookup(kRootIno, "file")), ENOENT);
    cr_expect_eq(code(names->path(ino)), ENOENT);
    cr_expect_eq(get(ino).nlink, 0);
    cr_expect_eq(*names->xattr(ino, "user.a"), "1");
    cr_expect_eq(names->placement(ino)->store_uid, 7);
    cr_expect_eq(names->unsettled()->size(), 1);
    cr_expect_eq(names->counts().files, 0);
    cr_expect_eq(get(kRootIno).size, 0);
    cr_expect_gt(get(kRootIno).mtime_ns, root.mtime_ns);

    cr_expect(names->erase(ino).ok());
    cr_expect_eq(code(names->get(ino)), ENOENT);
    cr_expect_eq(code(names->placement(ino)), ENOENT);
    cr_expect_eq(code(names->xattr(ino, "user.a")), ENOENT);
    cr_expect(names->unsettled()->empty());
    cr_expect(names->erase(ino).ok(), "absent is fine");
}

Test(namespace, a_name_can_be_made_anew_beside_its_orphan) {
    const Ino old = make_file(kRootIno, "file");
    cr_assert(names->unlink(kRootIno, "file").ok());
    const Ino fresh = make_file(kRootIno, "file");

    cr_expect_neq(fresh, old);
    cr_expect(names->erase(old).ok());
    cr_expect_eq(names->lookup(kRootIno, "file")->ino, fresh);
}

Test(namespace, erase_leaves_alone_what_has_a_name_and_the_neighbours_xattrs) {
    const Ino first = make_file(kRootIno, "first");
    const Ino second = make_file(kRootIno, "second");
    for (const Ino ino : {first, second}) {
        cr_assert(names->set_xattr(ino, "user.a", "1", Namespace::XattrMode::any).ok());
        cr_assert(names->set_xattr(ino, "user.b", "2", Namespace::XattrMode::any).ok());
    }
    cr_expect_eq(code(names->erase(first)), EINVAL);
    cr_expect_eq(code(names->erase(kRootIno)), EINVAL);

    cr_assert(names->unlink(kRootIno, "first").ok());
    cr_assert(names->erase(first).ok());
    cr_expect_eq(names->xattrs(second)->size(), 2);
}

Test(namespace, unlink_fails_as_posix_has_it) {
    const Ino plain = make_file(kRootIno, "plain");
    make_folder(kRootIno, "folder");

    cr_expect_eq(code(names->unlink(kRootIno, "absent")), ENOENT);
    cr_expect_eq(code(names->unlink(kRootIno, "folder")), EISDIR);
    cr_expect_eq(code(names->unlink(plain, "x")), ENOTDIR);
    cr_expect_eq(code(names->unlink(12345, "x")), ENOENT);
}

Test(namespace, rmdir_removes_an_empty_directory_at_once) {
    const Ino folder_ino = make_folder(kRootIno, "folder");
    cr_assert(names->set_xattr(folder_ino, "user.a", "1", Namespace::XattrMode::any).ok());

    const auto removed = names->rmdir(kRootIno, "folder");

    cr_assert(removed.ok());
    cr_expect_eq(removed->ino, folder_ino);
    cr_expect_eq(removed->nlink, 0);
    cr_expect_eq(code(names->get(folder_ino)), ENOENT);
    cr_expect_eq(code(names->create(folder_ino, "x", file())), ENOENT);
    cr_expect_eq(get(kRootIno).nlink, 2);
    cr_expect_eq(get(kRootIno).size, 0);
    cr_expect(names->unsettled()->empty());
    cr_expect_eq(names->counts().directories, 1);
}

Test(namespace, rmdir_fails_as_posix_has_it) {
    make_file(kRootIno, "plain");
    make_file(make_folder(kRootIno, "full"), "x");

    cr_expect_eq(code(names->rmdir(kRootIno, "absent")), ENOENT);
    cr_expect_eq(code(names->rmdir(kRootIno, "plain")), ENOTDIR);
    cr_expect_eq(code(names->rmdir(kRootIno, "full")), ENOTEMPTY);
}

// ---- unnamed files, removal by number, what is unsettled ----------------------------------

Test(namespace, an_unnamed_file_gets_its_name_at_once_over_what_had_it) {
    const Ino volume = make_folder(kRootIno, "volume");
    const Ino old = make_file(volume, "block");
    const auto draft = names->create_unnamed(file());
    cr_assert(draft.ok());
    cr_expect_eq(draft->nlink, 0);
    cr_expect_eq(names->counts().files, 1);
    cr_expect_eq(code(names->path(draft->ino)), ENOENT);

    const auto named = names->give_name(draft->ino, volume, "block");

    cr_assert(named.ok());
    cr_expect_eq(named->moved.ino, draft->ino);
    cr_expect_eq(named->moved.nlink, 1);
    cr_expect_eq(named->moved.volume, volume);
    cr_assert(named->replaced.has_value());
    cr_expect_eq(named->replaced->ino, old);
    cr_expect_eq(get(old).nlink, 0);
    cr_expect_eq(names->lookup(volume, "block")->ino, draft->ino);
    cr_expect_eq(get(volume).size, 1);
    cr_expect_eq(names->counts().files, 1);
    cr_assert(names->give_name(names->create_unnamed(file())->ino, volume, "new").ok());
    cr_expect_eq(get(volume).size, 2);
    cr_expect_eq(names->counts().files, 2);
}

Test(namespace, giving_a_name_fails_as_link_does) {
    const Ino plain = make_file(kRootIno, "plain");
    make_folder(kRootIno, "folder");
    const Ino draft = names->create_unnamed(file())->ino;

    cr_expect_eq(code(names->create_unnamed(folder())), EINVAL);
    cr_expect_eq(code(names->give_name(12345, kRootIno, "x")), ENOENT);
    cr_expect_eq(code(names->give_name(plain, kRootIno, "x")), EINVAL);
    cr_expect_eq(code(names->give_name(draft, 12345, "x")), ENOENT);
    cr_expect_eq(code(names->give_name(draft, plain, "x")), ENOTDIR);
    cr_expect_eq(code(names->give_name(draft, kRootIno, "folder")), EISDIR);
    cr_expect_eq(code(names->give_name(draft, kRootIno, "..")), EINVAL);
    cr_expect_eq(get(draft).nlink, 0);
    cr_expect_eq(get(kRootIno).size, 2);
}

Test(namespace, files_are_removed_by_number_with_or_without_a_name) {
    const Ino volume = make_folder(kRootIno, "volume");
    const Ino named = make_file(volume, "named");
    const Ino orphan = make_file(volume, "orphan");
    cr_assert(names->set_placement(named, Placement{.size = 7}).ok());
    cr_assert(names->unlink(volume, "orphan").ok());

    const auto removed = names->remove(named);

    cr_assert(removed.ok());
    cr_expect_eq(removed->name, "named");
    cr_expect_eq(removed->parent, volume);
    cr_expect_eq(removed->size, 7);
    cr_expect(names->remove(orphan).ok());
    cr_expect(listing(volume).empty());
    cr_expect_eq(get(volume).size, 0);
    cr_expect_eq(code(names->get(named)), ENOENT);
    cr_expect_eq(code(names->placement(named)), ENOENT);
    cr_expect_eq(code(names->remove(named)), ENOENT);
    cr_expect_eq(code(names->remove(volume)), EISDIR);
    cr_expect(names->unsettled()->empty());
    cr_expect_eq(names->counts().files, 0);
}

Test(namespace, unsettled_is_what_has_no_name_or_no_placement) {
    const auto unsettled = [] {
        std::set<Ino> found;
        const auto inodes = names->unsettled();
        for (const Inode& inode : *inodes) cr_expect(found.insert(inode.ino).second);
        return found;
    };
    const Ino placed = make_file(kRootIno, "placed");
    const Ino fresh = make_file(kRootIno, "fresh");
    const Ino draft = names->create_unnamed(file())->ino;
    make_folder(kRootIno, "folder");
    make(kRootIno, "link", symlink_to("x"));
    cr_assert(names->set_placement(placed, Placement{.size = 1}).ok());
    cr_expect((unsettled() == std::set<Ino>{fresh, draft}));

    cr_assert(names->set_placement(draft, Placement{.size = 1}).ok());
    cr_expect((unsettled() == std::set<Ino>{fresh, draft}), "it has no name yet");
    cr_assert(names->give_name(draft, kRootIno, "draft").ok());
    cr_expect((unsettled() == std::set<Ino>{fresh}));

    cr_assert(names->set_placement(placed, std::nullopt).ok());
    cr_assert(names->unlink(kRootIno, "draft").ok());
    reopen();
    cr_expect((unsettled() == std::set<Ino>{fresh, placed, draft}));
}

// ---- change, uses -------------------------------------------------------------------------

Test(namespace, change_sets_what_is_given_and_ctime) {
    const Ino ino = make_file(kRootIno, "file");
    const Inode before = get(ino);

    const auto changed =
        names->change(ino, {.mode = S_IFDIR | 04711, .size = 99, .mtime_ns = -5, .pinned = true});

    cr_assert(changed.ok());
    for (const Inode& now : {*changed, get(ino)}) {
        cr_expect_eq(now.mode, unsigned{S_IFREG | 04711}, "the type stays");
        cr_expect_eq(now.size, 99);
        cr_expect_eq(now.mtime_ns, -5);
        cr_expect(now.pinned);
        cr_expect_eq(now.uid, before.uid);
        cr_expect_eq(now.gid, before.gid);
        cr_expect_eq(now.atime_ns, before.atime_ns);
        cr_expect_eq(now.btime_ns, before.btime_ns);
        cr_expect_gt(now.ctime_ns, before.ctime_ns);
        cr_expect_eq(now.name, "file");
    }
    const auto owned = names->change(ino, {.uid = 1, .gid = 2, .atime_ns = 3, .pinned = false});
    cr_assert(owned.ok());
    cr_expect_eq(owned->uid, 1);
    cr_expect_eq(owned->gid, 2);
    cr_expect_eq(owned->atime_ns, 3);
    cr_expect_not(owned->pinned);
}

Test(namespace, change_fails_as_posix_has_it) {
    const Ino link = make(kRootIno, "link", symlink_to("x"));

    cr_expect_eq(code(names->change(12345, {.uid = 1})), ENOENT);
    cr_expect_eq(code(names->change(kRootIno, {.size = 1})), EISDIR);
    cr_expect_eq(code(names->change(link, {.size = 1})), EINVAL);
    cr_expect_eq(code(names->change(kRootIno, {.mode = 01777})), 0);
}

Test(namespace, uses_add_hits_and_move_atime_forward_only) {
    const Ino ino = make_file(kRootIno, "file");
    const Inode before = get(ino);
    const std::int64_t later = before.atime_ns + 10;

    cr_assert(names->record_uses({{ino, later, 2}, {12345, later, 1}, {ino, later - 5, 3}}).ok());

    const Inode after = get(ino);
    cr_expect_eq(after.hits, 5);
    cr_expect_eq(after.atime_ns, later);
    cr_expect_eq(after.ctime_ns, before.ctime_ns);
}

Test(namespace, uses_may_be_many) {
    std::vector<Namespace::Use> uses;
    for (int i = 0; i < 5000; ++i) {
        uses.push_back({make_file(kRootIno, std::to_string(i)), 1, 1});
    }
    cr_assert(names->record_uses(uses).ok());

    for (const auto& use : uses) cr_assert_eq(get(use.ino).hits, 1);
}
