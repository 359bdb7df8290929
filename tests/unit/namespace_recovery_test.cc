#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "tests/unit/namespace_fixture.h"

using namespace namespace_fixture;

TestSuite(namespace_recovery, .timeout = 60, .init = set_up, .fini = tear_down);

namespace {

Namespace::Recovered lost_file(Ino ino, const std::string& path) {
    Namespace::Recovered lost;
    lost.ino = ino;
    lost.path = path;
    lost.mode = S_IFREG | 0640;
    lost.uid = 1000;
    lost.gid = 100;
    lost.mtime_ns = 12345;
    lost.placement = {.store_uid = 7, .size = 3, .chunk_crcs = {9}};
    return lost;
}

bool exists(const std::string& name) {
    return ::access((directory + "/" + name).c_str(), F_OK) == 0;
}

/// Makes files until killed; says on `report` what is surely there.
[[noreturn]] void create_for_ever(int report) {
    auto opened = try_open();
    if (!opened) ::_exit(1);
    for (std::uint64_t i = 0;; ++i) {
        const std::string name = "file-" + std::to_string(i);
        if (!(*opened)->create(kRootIno, name, file())) ::_exit(1);
        if (i % 3 == 0) {
            const std::string moved = "moved-" + std::to_string(i);
            const auto flag = Namespace::RenameFlag::replace;
            if (!(*opened)->rename(kRootIno, name, kRootIno, moved, flag)) ::_exit(1);
        }
        if (::write(report, &i, sizeof i) != sizeof i) ::_exit(1);
    }
}

}  // namespace

// ---- which database is trusted ------------------------------------------------------------

Test(namespace_recovery, names_survive_the_daemon) {
    const Ino volume = make_folder(kRootIno, "volume");
    const Ino block = make_file(volume, "block");
    const Ino orphan = make_file(volume, "orphan");
    cr_assert(names->unlink(volume, "orphan").ok());

    reopen();

    cr_expect_not(names->needs_rebuild());
    cr_expect_eq(names->lookup(volume, "block")->ino, block);
    cr_expect_eq(get(orphan).nlink, 0);
    cr_expect_eq(get(volume).size, 1);
    cr_expect_gt(make_file(volume, "later"), orphan);
}

Test(namespace_recovery, names_survive_a_reboot_after_a_clean_close) {
    make_file(kRootIno, "file");
    cr_assert(names->close_clean().ok());

    reopen(kNextBoot);

    cr_expect_not(names->needs_rebuild());
    cr_expect(names->lookup(kRootIno, "file").ok());
}

Test(namespace_recovery, a_power_loss_costs_the_names) {
    const Ino before = make_file(kRootIno, "file");
    cr_assert(names->sync().ok());

    reopen(kNextBoot);

    cr_expect(names->needs_rebuild());
    cr_expect_eq(code(names->lookup(kRootIno, "file")), ENOENT);
    cr_expect(exists("data.mdb.lost"));
    cr_expect_gt(make_file(kRootIno, "file"), before, "inode numbers are not used again");
}

Test(namespace_recovery, the_clean_mark_is_for_one_start) {
    make_file(kRootIno, "file");
    cr_assert(names->close_clean().ok());
    reopen(kNextBoot);

    reopen("boot-c");

    cr_expect(names->needs_rebuild());
}

Test(namespace_recovery, a_cleanly_closed_namespace_takes_no_change) {
    const Ino ino = make_file(kRootIno, "file");
    cr_assert(names->close_clean().ok());

    cr_expect_eq(code(names->create(kRootIno, "x", file())), EROFS);
    cr_expect_eq(code(names->unlink(kRootIno, "file")), EROFS);
    cr_expect_eq(code(names->change(ino, {.uid = 1})), EROFS);
    cr_expect(names->lookup(kRootIno, "file").ok());
    cr_expect(names->close_clean().ok(), "once more is fine");
}

Test(namespace_recovery, a_rebuild_is_needed_until_it_is_finished) {
    make_file(kRootIno, "file");
    reopen(kNextBoot);
    cr_assert(names->recover(lost_file(500, "volume/file")).ok());

    reopen(kNextBoot);
    cr_expect(names->needs_rebuild(), "it was cut short");
    cr_expect(names->close_clean().ok());
    reopen("boot-c");
    cr_expect(names->needs_rebuild());
    cr_expect(names->get(500).ok());

    cr_expect(names->finish_rebuild().ok());
    cr_expect_not(names->needs_rebuild());
    reopen("boot-c");
    cr_expect_not(names->needs_rebuild());
}

Test(namespace_recovery, a_database_without_its_state_is_not_trusted) {
    make_file(kRootIno, "file");
    names.reset();
    cr_assert_eq(::unlink((directory + "/state").c_str()), 0);

    reopen();

    cr_expect(names->needs_rebuild());
    cr_expect_gt(make_file(kRootIno, "file"), Ino{1} << 32, "above what any could have reached");
}

Test(namespace_recovery, a_state_without_its_database_asks_for_a_rebuild) {
    const Ino before = make_file(kRootIno, "file");
    names.reset();
    cr_assert_eq(::unlink((directory + "/data.mdb").c_str()), 0);

    reopen();

    cr_expect(names->needs_rebuild());
    cr_expect_gt(make_file(kRootIno, "file"), before);
}

Test(namespace_recovery, a_torn_state_is_none) {
    for (const char* text :
         {"", "kvfs-names 1\nboot boot-a\nclean", "kvfs-names 2\n", "\xff\xfe"}) {
        names.reset();
        std::ofstream(directory + "/state") << text;
        reopen();
        cr_expect(names->needs_rebuild(), "%s", text);
        cr_assert(names->finish_rebuild().ok());
    }
}

Test(namespace_recovery, a_damaged_database_is_set_aside) {
    const Ino before = make_file(kRootIno, "file");
    names.reset();
    {
        const int data = ::open((directory + "/data.mdb").c_str(), O_WRONLY);
        const std::string garbage(64 << 10, '\x5a');
        cr_assert_eq(::write(data, garbage.data(), garbage.size()), std::ssize(garbage));
        ::close(data);
    }
    reopen();

    cr_expect(names->needs_rebuild());
    cr_expect(exists("data.mdb.lost"));
    cr_expect_eq(code(names->lookup(kRootIno, "file")), ENOENT);
    cr_expect_gt(make_file(kRootIno, "file"), before);
}

Test(namespace_recovery, a_directory_that_cannot_be_made_is_named) {
    const auto opened = Namespace::open({.directory = "/proc/no/such/place"});

    cr_assert_not(opened.ok());
    cr_expect_neq(opened.error().what.find("/proc/no/such/place"), std::string::npos);
}

// ---- what survives kill -9 ----------------------------------------------------------------

Test(namespace_recovery, every_change_that_returned_survives_kill_9) {
    names.reset();
    for (int round = 0; round < 5; ++round) {
        int report[2];
        cr_assert_eq(::pipe(report), 0);
        std::filesystem::remove_all(directory);
        const pid_t child = ::fork();
        if (child == 0) create_for_ever(report[1]);
        ::close(report[1]);
        std::uint64_t last = 0;
        const std::uint64_t enough = 200 + static_cast<std::uint64_t>(round) * 777;
        while (last < enough && ::read(report[0], &last, sizeof last) == sizeof last) {
        }
        ::kill(child, SIGKILL);
        int status = 0;
        cr_assert_eq(::waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the child gave up by itself");
        while (::read(report[0], &last, sizeof last) == sizeof last) {
        }
        ::close(report[0]);

        reopen();
        cr_expect_not(names->needs_rebuild());
        for (std::uint64_t i = 0; i <= last; ++i) {
            const std::string name = (i % 3 == 0 ? "moved-" : "file-") + std::to_string(i);
            cr_assert(names->lookup(kRootIno, name).ok(), "%s of %lu", name.c_str(), last);
        }
        cr_expect_eq(get(kRootIno).size, listing(kRootIno).size());
        make_file(kRootIno, "and it goes on");
        names.reset();
    }
}

// ---- recover ------------------------------------------------------------------------------

Test(namespace_recovery, recover_recreates_a_file_and_the_directories_above_it) {
    cr_assert(names->recover(lost_file(500, "volume/inner/file")).ok());

    const Inode found = get(500);
    cr_expect_eq(*names->path(500), "volume/inner/file");
    cr_expect_eq(found.mode, unsigned{S_IFREG | 0640});
    cr_expect_eq(found.uid, 1000);
    cr_expect_eq(found.gid, 100);
    cr_expect_eq(found.mtime_ns, 12345);
    cr_expect_eq(found.size, 3);
    cr_expect_eq(found.nlink, 1);
    cr_expect_eq(names->placement(500)->store_uid, 7);
    const auto volume = names->lookup(kRootIno, "volume");
    const auto inner = names->lookup(volume->ino, "inner");
    cr_assert(volume.ok() && inner.ok());
    for (const Inode& made : {*volume, *inner}) {
        cr_expect_eq(made.mode, unsigned{S_IFDIR | 0700}, "access is never widened");
        cr_expect_eq(made.uid, 1000);
        cr_expect_eq(made.volume, volume->ino);
        cr_expect_eq(made.size, 1);
    }
    cr_expect_eq(found.volume, volume->ino);
    cr_expect(names->unsettled()->empty());
    cr_expect_eq(names->counts().directories, 3);
    cr_expect_eq(names->counts().files, 1);
}

Test(namespace_recovery, numbers_of_recovered_files_are_never_handed_out) {
    // Directories that recover makes must not take a number that a later object brings along.
    Ino highest = 0;
    for (Ino ino = 2; ino < 300; ++ino) {
        const std::string path = "volume-" + std::to_string(ino) + "/file";
        cr_assert(names->recover(lost_file(ino, path)).ok(), "%s", path.c_str());
        highest = ino;
    }
    cr_expect_gt(make_file(kRootIno, "new"), highest);
    cr_assert(names->recover(lost_file(Ino{1} << 60, "far")).ok());
    cr_expect_gt(make_file(kRootIno, "newer"), Ino{1} << 60);
    reopen();
    cr_expect_gt(make_file(kRootIno, "newest"), (Ino{1} << 60) + 1);
}

Test(namespace_recovery, recovering_once_more_changes_nothing) {
    cr_assert(names->recover(lost_file(500, "volume/file")).ok());
    cr_assert(names->change(500, {.mode = 0600}).ok());

    cr_expect(names->recover(lost_file(500, "volume/file")).ok());

    cr_expect_eq(get(500).mode, unsigned{S_IFREG | 0600});
    cr_expect_eq(names->counts().files, 1);
}

Test(namespace_recovery, recover_fails_where_there_is_no_place) {
    auto wrong_type = lost_file(9, "x");
    wrong_type.mode = S_IFDIR | 0700;
    cr_assert(names->recover(lost_file(500, "volume/file")).ok());

    cr_expect_eq(code(names->recover(lost_file(501, "volume/file"))), EEXIST);
    cr_expect_eq(code(names->recover(lost_file(500, "volume/other"))), EEXIST);
    cr_expect_eq(code(names->recover(lost_file(502, "volume"))), EEXIST);
    cr_expect_eq(code(names->recover(lost_file(502, "volume/file/below"))), ENOTDIR);
    cr_expect_eq(code(names->recover(lost_file(502, ""))), ENOENT);
    cr_expect_eq(code(names->recover(lost_file(502, "/rooted"))), ENOENT);
    cr_expect_eq(code(names->recover(lost_file(502, "a//b"))), ENOENT);
    cr_expect_eq(code(names->recover(lost_file(502, "a/../b"))), EINVAL);
    cr_expect_eq(code(names->recover(lost_file(502, std::string(256, 'x')))), ENAMETOOLONG);
    cr_expect_eq(code(names->recover(lost_file(kRootIno, "x"))), EINVAL);
    cr_expect_eq(code(names->recover(lost_file(0, "x"))), EINVAL);
    cr_expect_eq(code(names->recover(wrong_type)), EINVAL);
    cr_expect_eq(get(kRootIno).size, 1, "nothing is left of a recovery that failed");
}
