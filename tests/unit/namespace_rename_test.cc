#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace_rename, .timeout = 30, .init = set_up, .fini = tear_down);

using Flag = Namespace::RenameFlag;

namespace {

/// rename(2)'s answer, by kinds, in one volume.
struct Case {
    char source;  ///< f file, e empty directory, d directory with an entry
    char target;  ///< the same, or - nothing
    Flag flag;
    int expected;
};

constexpr Case kCases[] = {
    {'f', '-', Flag::replace, 0},         {'e', '-', Flag::replace, 0},
    {'d', '-', Flag::replace, 0},         {'f', 'f', Flag::replace, 0},
    {'f', 'e', Flag::replace, EISDIR},    {'f', 'd', Flag::replace, EISDIR},
    {'e', 'f', Flag::replace, ENOTDIR},   {'d', 'f', Flag::replace, ENOTDIR},
    {'e', 'e', Flag::replace, 0},         {'d', 'e', Flag::replace, 0},
    {'e', 'd', Flag::replace, ENOTEMPTY}, {'d', 'd', Flag::replace, ENOTEMPTY},
    {'f', '-', Flag::no_replace, 0},      {'d', '-', Flag::no_replace, 0},
    {'f', 'f', Flag::no_replace, EEXIST}, {'f', 'e', Flag::no_replace, EEXIST},
    {'d', 'f', Flag::no_replace, EEXIST}, {'e', 'e', Flag::no_replace, EEXIST},
    {'f', '-', Flag::exchange, ENOENT},   {'d', '-', Flag::exchange, ENOENT},
    {'f', 'f', Flag::exchange, 0},        {'f', 'd', Flag::exchange, 0},
    {'d', 'f', Flag::exchange, 0},        {'d', 'd', Flag::exchange, 0},
};

Ino make_kind(char kind, Ino parent, const std::string& name) {
    if (kind == '-') return 0;
    if (kind == 'f') return make_file(parent, name);
    const Ino made = make_folder(parent, name);
    if (kind == 'd') make_file(made, "entry");
    return made;
}

/// Directories know how many entries and subdirectories they have.
void expect_counted(Ino directory) {
    std::uint64_t entries = 0;
    std::uint32_t subdirectories = 0;
    cr_assert(names
                  ->list(directory, "",
                         [&](const Namespace::Entry& entry) {
                             ++entries;
                             if (S_ISDIR(entry.type)) ++subdirectories;
                             return true;
                         })
                  .ok());
    cr_expect_eq(get(directory).size, entries);
    cr_expect_eq(get(directory).nlink, 2 + subdirectories);
}

void run_case(const Case& one, Ino from, Ino to) {
    const Ino source = make_kind(one.source, from, "source");
    const Ino target = make_kind(one.target, to, "target");
    const auto counts = names->counts();

    const auto renamed = names->rename(from, "source", to, "target", one.flag);

    cr_expect_eq(code(renamed), one.expected, "%c over %c, flag %d: %d", one.source, one.target,
                 static_cast<int>(one.flag), code(renamed));
    expect_counted(from);
    expect_counted(to);
    if (!renamed) {
        cr_expect_eq(names->lookup(from, "source")->ino, source);
        if (target != 0) cr_expect_eq(names->lookup(to, "target")->ino, target);
        return;
    }
    cr_expect_eq(renamed->moved.ino, source);
    cr_expect_eq(names->lookup(to, "target")->ino, source);
    cr_expect_eq(get(source).name, "target");
    cr_expect_eq(get(source).parent, to);
    cr_expect_not(renamed->volume_changed);
    if (one.flag == Flag::exchange) {
        cr_expect_not(renamed->replaced.has_value());
        cr_expect_eq(renamed->exchanged->ino, target);
        cr_expect_eq(names->lookup(from, "source")->ino, target);
        cr_expect_eq(get(target).name, "source");
        cr_expect_eq(get(target).parent, from);
        return;
    }
    cr_expect_eq(code(names->lookup(from, "source")), ENOENT);
    cr_expect_eq(renamed->replaced.has_value(), target != 0);
    if (target == 0) return;
    cr_expect_eq(renamed->replaced->ino, target);
    cr_expect_eq(renamed->replaced->nlink, 0);
    cr_expect_eq(code(names->get(target)), one.target == 'f' ? 0 : ENOENT, "an orphan, or gone");
    cr_expect_eq(names->counts().directories, counts.directories - (one.target == 'f' ? 0 : 1));
    cr_expect_eq(names->counts().files, counts.files - (one.target == 'f' ? 1 : 0));
}

}  // namespace

Test(namespace_rename, answers_for_each_pair_of_kinds_between_directories) {
    for (std::size_t i = 0; i < std::size(kCases); ++i) {
        const Ino volume = make_folder(kRootIno, "volume-" + std::to_string(i));
        run_case(kCases[i], make_folder(volume, "from"), make_folder(volume, "to"));
    }
}

Test(namespace_rename, answers_for_each_pair_of_kinds_in_one_directory) {
    for (std::size_t i = 0; i < std::size(kCases); ++i) {
        const Ino volume = make_folder(kRootIno, "volume-" + std::to_string(i));
        run_case(kCases[i], volume, volume);
    }
}

Test(namespace_rename, answers_for_what_is_absent_or_no_directory) {
    const Ino plain = make_file(kRootIno, "plain");

    cr_expect_eq(code(names->rename(kRootIno, "absent", kRootIno, "x", Flag::replace)), ENOENT);
    cr_expect_eq(code(names->rename(kRootIno, "plain", 12345, "x", Flag::replace)), ENOENT);
    cr_expect_eq(code(names->rename(12345, "x", kRootIno, "y", Flag::replace)), ENOENT);
    cr_expect_eq(code(names->rename(kRootIno, "plain", plain, "x", Flag::replace)), ENOTDIR);
    cr_expect_eq(code(names->rename(plain, "x", kRootIno, "y", Flag::replace)), ENOTDIR);
    cr_expect_eq(code(names->rename(kRootIno, ".", kRootIno, "y", Flag::replace)), EINVAL);
    cr_expect_eq(code(names->rename(kRootIno, "plain", kRootIno, "..", Flag::replace)), EINVAL);
    cr_expect_eq(code(names->rename(kRootIno, "plain", kRootIno, "a/b", Flag::replace)), EINVAL);
    cr_expect_eq(
        code(names->rename(kRootIno, "plain", kRootIno, std::string(256, 'x'), Flag::replace)),
        ENAMETOOLONG);
}

Test(namespace_rename, onto_itself_does_nothing) {
    const Ino plain = make_file(kRootIno, "plain");
    const Inode before = get(plain);

    const auto renamed = names->rename(kRootIno, "plain", kRootIno, "plain", Flag::replace);

    cr_assert(renamed.ok());
    cr_expect_eq(renamed->moved.ino, plain);
    cr_expect_not(renamed->replaced.has_value());
    cr_expect_eq(get(plain).ctime_ns, before.ctime_ns);
    cr_expect_eq(code(names->rename(kRootIno, "plain", kRootIno, "plain", Flag::exchange)), 0);
    cr_expect_eq(code(names->rename(kRootIno, "plain", kRootIno, "plain", Flag::no_replace)),
                 EEXIST);
}

Test(namespace_rename, a_directory_does_not_go_into_itself) {
    const Ino a = make_folder(kRootIno, "a");
    const Ino b = make_folder(a, "b");
    const Ino c = make_folder(b, "c");

    cr_expect_eq(code(names->rename(kRootIno, "a", a, "x", Flag::replace)), EINVAL);
    cr_expect_eq(code(names->rename(kRootIno, "a", c, "x", Flag::replace)), EINVAL);
    cr_expect_eq(code(names->rename(b, "c", kRootIno, "a", Flag::replace)), ENOTEMPTY);
    cr_expect_eq(code(names->rename(b, "c", kRootIno, "a", Flag::exchange)), EINVAL);
    cr_expect_eq(code(names->rename(kRootIno, "a", b, "c", Flag::exchange)), EINVAL);
    cr_expect_eq(*names->path(c), "a/b/c");
}

Test(namespace_rename, keeps_attributes_xattrs_and_placement) {
    const Ino ino = make_file(kRootIno, "old");
    cr_assert(names->set_xattr(ino, "user.a", "1", Namespace::XattrMode::any).ok());
    cr_assert(names->set_placement(ino, Placement{.store_uid = 7, .size = 5}).ok());
    const Inode before = get(ino);
    const Inode root = get(kRootIno);

    cr_assert(names->rename(kRootIno, "old", kRootIno, "new", Flag::replace).ok());

    const Inode after = get(ino);
    cr_expect_eq(after.mtime_ns, before.mtime_ns);
    cr_expect_gt(after.ctime_ns, before.ctime_ns);
    cr_expect_gt(get(kRootIno).mtime_ns, root.mtime_ns);
    cr_expect_eq(*names->xattr(ino, "user.a"), "1");
    cr_expect_eq(names->placement(ino)->store_uid, 7);
}

Test(namespace_rename, moves_files_and_empty_directories_between_volumes) {
    const Ino v = make_folder(kRootIno, "v");
    const Ino w = make_folder(kRootIno, "w");
    const Ino moving = make_file(v, "file");
    const Ino empty = make_folder(v, "empty");

    const auto across = names->rename(v, "file", w, "file", Flag::replace);
    cr_assert(across.ok());
    cr_expect(across->volume_changed);
    cr_expect_eq(across->moved.volume, w);
    cr_expect_eq(get(moving).volume, w);

    const auto to_top = names->rename(w, "file", kRootIno, "file", Flag::replace);
    cr_assert(to_top.ok() && to_top->volume_changed);
    cr_expect_eq(get(moving).volume, kRootIno);

    cr_assert(names->rename(v, "empty", w, "empty", Flag::replace)->volume_changed);
    cr_expect_eq(get(empty).volume, w);
    cr_assert(names->rename(w, "empty", kRootIno, "empty", Flag::replace)->volume_changed);
    cr_expect_eq(get(empty).volume, empty, "at the top it is a volume itself");
}

Test(namespace_rename, a_directory_with_entries_keeps_its_volume) {
    const Ino v = make_folder(kRootIno, "v");
    const Ino w = make_folder(kRootIno, "w");
    const Ino full = make_folder(v, "full");
    make_file(full, "entry");

    cr_expect_eq(code(names->rename(v, "full", w, "full", Flag::replace)), EXDEV);
    cr_expect_eq(code(names->rename(v, "full", kRootIno, "full", Flag::replace)), EXDEV);
    cr_expect_eq(code(names->rename(kRootIno, "v", w, "v", Flag::replace)), EXDEV);

    const auto renamed = names->rename(kRootIno, "v", kRootIno, "v2", Flag::replace);
    cr_assert(renamed.ok(), "a volume may be renamed");
    cr_expect_not(renamed->volume_changed);
    cr_expect_eq(get(full).volume, v);
}

Test(namespace_rename, exchange_between_volumes_changes_both) {
    const Ino v = make_folder(kRootIno, "v");
    const Ino w = make_folder(kRootIno, "w");
    const Ino a = make_file(v, "a");
    const Ino b = make_folder(w, "b");

    const auto swapped = names->rename(v, "a", w, "b", Flag::exchange);
    cr_assert(swapped.ok() && swapped->volume_changed);
    cr_expect_eq(get(a).volume, w);
    cr_expect_eq(get(b).volume, v);
    expect_counted(v);
    expect_counted(w);

    make_file(b, "entry");
    cr_expect_eq(code(names->rename(v, "a", w, "b", Flag::exchange)), EXDEV, "as the source");
    cr_expect_eq(code(names->rename(w, "b", v, "a", Flag::exchange)), EXDEV, "as the target");
}
