// Namespace::check and mend: tables that disagree, as no change leaves them, are made to agree.
#include "fs/names/lmdb.h"
#include "fs/names/record.h"
#include "fs/names/tables.h"
#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;
using kvfs::Edit;
using kvfs::record::Key;
using Fault = Namespace::Fault;

namespace {

Ino hole_ino = 0, folder_ino = 0, file_ino = 0, other_ino = 0;

void fill() {
    set_up();
    hole_ino = make_file(kRootIno, "hole");  // a number below the others that no inode has
    cr_assert(names->remove(hole_ino).ok());
    folder_ino = make_folder(kRootIno, "folder");
    file_ino = make_file(folder_ino, "file");
    other_ino = make_file(folder_ino, "other");
    for (const Ino ino : {file_ino, other_ino})
        cr_assert(names->set_placement(ino, Placement{.store_uid = 7, .size = 3}).ok());
}

/// Changes the tables behind the namespace's back.
template <typename Change>
void damage(Change change) {
    names.reset();
    {
        auto env = kvfs::lmdb::Environment::open(directory, 4ULL << 30, false);
        cr_assert(env.ok());
        const auto tables = kvfs::Tables::open(**env);
        cr_assert(tables.ok());
        auto txn = kvfs::lmdb::WriteTransaction::begin(**env);
        cr_assert(txn.ok());
        Edit edit(*tables, *txn);
        const Status changed = change(edit);
        cr_assert(changed.ok());
        cr_assert(txn->commit().ok());
    }
    reopen();
}

std::vector<Fault> check() {
    auto faults = names->check();
    cr_assert(faults.ok());
    return *std::move(faults);
}

/// Finds a fault of that kind first, and none once all that come to light are mended.
void expect_found_and_mended(Fault::Kind kind, Ino ino) {
    auto faults = check();
    cr_assert_not(faults.empty(), "nothing was found");
    cr_expect_eq(static_cast<int>(faults[0].kind), static_cast<int>(kind));
    cr_expect_eq(faults[0].ino, ino);
    for (int rounds = 0; rounds < 5 && !faults.empty(); ++rounds, faults = check())
        for (const Fault& fault : faults) cr_assert(names->mend(fault).ok());
    cr_expect(faults.empty(), "not all was mended");
}

}  // namespace

TestSuite(namespace_check, .timeout = 60, .init = fill, .fini = tear_down);

Test(namespace_check, sound_tables_have_no_fault) { cr_expect(check().empty()); }

Test(namespace_check, a_file_without_a_record_is_unfinished) {
    make_file(folder_ino, "new");
    cr_assert_eq(check().size(), 1);
    cr_expect(check()[0].kind == Fault::Kind::unfinished);
    cr_assert(names->mend(check()[0]).ok());
    cr_expect(check().empty());
    cr_expect_eq(code(names->lookup(folder_ino, "new")), ENOENT);
}

Test(namespace_check, an_entry_of_no_inode_goes) {
    damage([](Edit& edit) {
        Inode nobody;
        nobody.ino = 999;
        return edit.put_dentry(folder_ino, "ghost", nobody);
    });
    expect_found_and_mended(Fault::Kind::astray, 999);
    cr_expect_eq(listing(folder_ino).size(), 2);
}

Test(namespace_check, a_second_entry_of_a_file_goes) {
    damage([](Edit& edit) { return edit.put_dentry(kRootIno, "twin", *edit.inode(file_ino)); });
    expect_found_and_mended(Fault::Kind::astray, file_ino);
    cr_expect_eq(names->lookup(folder_ino, "file")->ino, file_ino);
}

Test(namespace_check, an_inode_without_its_entry_is_listed_again) {
    damage([](Edit& edit) { return edit.remove_dentry(folder_ino, "file"); });
    expect_found_and_mended(Fault::Kind::wrong_counts, folder_ino);
    cr_expect_eq(names->lookup(folder_ino, "file")->ino, file_ino);
    cr_expect_eq(get(folder_ino).size, 2);
}

Test(namespace_check, an_inode_whose_entry_is_taken_goes) {
    damage([](Edit& edit) { return edit.put_dentry(folder_ino, "file", *edit.inode(other_ino)); });
    check();
    expect_found_and_mended(Fault::Kind::astray, other_ino);
    cr_expect_eq(names->lookup(folder_ino, "other")->ino, other_ino);
    cr_expect_eq(names->lookup(folder_ino, "file")->ino, file_ino);
}

Test(namespace_check, what_is_below_a_lost_directory_goes) {
    damage([](Edit& edit) { return edit.forget(folder_ino); });
    expect_found_and_mended(Fault::Kind::astray, folder_ino);
    cr_expect(listing(kRootIno).empty());
    cr_expect_eq(code(names->get(file_ino)), ENOENT);
    cr_expect_eq(names->counts().files, 0);
    cr_expect_eq(names->counts().directories, 1);
}

Test(namespace_check, counts_of_a_directory_are_set_right) {
    damage([](Edit& edit) {
        Inode folder = *edit.inode(folder_ino);
        folder.size = 77;
        folder.nlink = 5;
        return edit.put_inode(folder);
    });
    expect_found_and_mended(Fault::Kind::wrong_counts, folder_ino);
    cr_expect_eq(get(folder_ino).size, 2);
    cr_expect_eq(get(folder_ino).nlink, 2);
}

Test(namespace_check, counts_of_the_root_are_set_right) {
    damage([](Edit& edit) {
        Inode root = *edit.inode(kRootIno);
        root.size = 3;
        return edit.put_inode(root);
    });
    expect_found_and_mended(Fault::Kind::wrong_counts, kRootIno);
    cr_expect_eq(get(kRootIno).size, 1);
}

Test(namespace_check, the_number_of_directories_is_set_right) {
    damage([](Edit& edit) { return edit.count_directories(40); });
    expect_found_and_mended(Fault::Kind::wrong_total, 0);
    cr_expect_eq(names->counts().directories, 2);
}

Test(namespace_check, volumes_are_set_by_where_things_are) {
    const Ino deep = make_folder(make_folder(folder_ino, "a"), "b");
    const Ino link = make(deep, "link", symlink_to("x"));
    make(kRootIno, "link", symlink_to("x"));
    cr_assert(check().empty());
    damage([&](Edit& edit) {
        for (const Ino ino : {deep, link}) {  // the link's directory is as wrong as the link
            Inode inode = *edit.inode(ino);
            inode.volume = 999;
            if (Status put = edit.put_inode(inode); !put) return put;
        }
        return Status{};
    });
    cr_expect_eq(check().size(), 2);
    expect_found_and_mended(Fault::Kind::wrong_volume, deep);
    cr_expect_eq(get(deep).volume, folder_ino);
    cr_expect_eq(get(link).volume, folder_ino);
}

Test(namespace_check, a_symlink_without_its_target_goes) {
    const Ino link = make(folder_ino, "link", symlink_to("target"));
    damage([&](Edit& edit) { return edit.write().remove(edit.tables().xattrs, Key(link)); });
    expect_found_and_mended(Fault::Kind::wrong_target, link);
    cr_expect_eq(code(names->lookup(folder_ino, "link")), ENOENT);
    cr_expect_eq(get(folder_ino).size, 2);
}

Test(namespace_check, a_symlink_is_as_long_as_its_target) {
    const Ino link = make(folder_ino, "link", symlink_to("target"));
    damage([&](Edit& edit) {
        Inode inode = *edit.inode(link);
        inode.size = 60;
        return edit.put_inode(inode);
    });
    expect_found_and_mended(Fault::Kind::wrong_target, link);
    cr_expect_eq(get(link).size, 6);
    cr_expect_eq(*names->symlink_target(link), "target");
}

Test(namespace_check, a_record_of_no_inode_goes_and_hides_no_other) {
    damage([](Edit& edit) { return edit.put_placement(hole_ino, {.store_uid = 7, .size = 1}); });
    std::size_t seen = 0;
    cr_assert(
        names->scan_placements([&](const Inode&, const Placement&) { return ++seen > 0; }).ok());
    cr_expect_eq(seen, 2);
    expect_found_and_mended(Fault::Kind::stray, hole_ino);
}

Test(namespace_check, a_damaged_record_costs_its_file) {
    damage([](Edit& edit) {
        return edit.write().put(edit.tables().placements, Key(file_ino), "nonsense");
    });
    expect_found_and_mended(Fault::Kind::damaged, file_ino);
    cr_expect_eq(code(names->lookup(folder_ino, "file")), ENOENT);
    cr_expect(names->lookup(folder_ino, "other").ok());
}

Test(namespace_check, damaged_attributes_cost_their_file) {
    damage([](Edit& edit) {
        return edit.write().put(edit.tables().inodes, Key(file_ino), "nonsense");
    });
    expect_found_and_mended(Fault::Kind::damaged, file_ino);
    cr_expect_eq(code(names->lookup(folder_ino, "file")), ENOENT);
    cr_expect_eq(get(folder_ino).size, 1);
}

Test(namespace_check, a_read_only_namespace_takes_no_change_and_leaves_no_trace) {
    cr_assert(names->close_clean().ok());
    names.reset();
    auto opened =
        Namespace::open({.directory = directory, .boot_id = kNextBoot, .read_only = true});
    cr_assert(opened.ok(), "%s", opened.ok() ? "" : opened.error().message().c_str());
    cr_expect((*opened)->lookup(folder_ino, "file").ok());
    cr_expect_eq(code((*opened)->create(kRootIno, "x", file())), EROFS);
    opened->reset();
    reopen("boot-c");
    cr_expect_not(names->needs_rebuild(), "the clean mark is still there");
}

Test(namespace_check, a_read_only_namespace_is_refused_where_a_rebuild_is_due) {
    names.reset();
    const auto untrusted =
        Namespace::open({.directory = directory, .boot_id = kNextBoot, .read_only = true});
    cr_expect_eq(code(untrusted), EBADMSG);
    std::filesystem::remove(directory + "/data.mdb");
    const auto none = Namespace::open({.directory = directory, .read_only = true});
    cr_expect_eq(code(none), ENOENT);
}
