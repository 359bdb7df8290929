// SEMANTICS.md, "Four promises", "Space", "What survives": full tiers, restarts, damage.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kMiB = 1 << 20;

std::string numbered(int i) { return mounted->path("f" + std::to_string(i)); }

/// Numbers of the files that are there, each of which must read as it was written.
std::vector<int> verify(int files, std::size_t size) {
    std::vector<int> there;
    for (int i = 0; i < files; ++i) {
        const int fd = ::open(numbered(i).c_str(), O_RDONLY);
        if (fd < 0) {
            cr_expect_eq(errno, ENOENT, "f%d: %s", i, std::strerror(errno));
            continue;
        }
        std::string bytes(size, '\0');
        const ssize_t n = ::read(fd, bytes.data(), size);
        ::close(fd);
        cr_expect_eq(n, static_cast<ssize_t>(size), "f%d: %s", i, std::strerror(errno));
        cr_expect(bytes == pattern(size, i), "f%d has other bytes", i);
        there.push_back(i);
    }
    return there;
}

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "64MiB"}); }
void mount_roomy() { mount_up_with({.dram = "16MiB", .ssd_size = "200MiB"}); }

}  // namespace

TestSuite(semantics_space, .init = mount_small, .fini = mount_down, .timeout = 240);

Test(semantics_space, T1_S3_files_that_left_dram_read_the_same, .init = mount_roomy) {
    constexpr int kFiles = 64;  // four times DRAM
    for (int i = 0; i < kFiles; ++i) write_file(numbered(i), pattern(kMiB + 13, i));
    cr_expect_eq(verify(kFiles, kMiB + 13).size(), kFiles);
    int in_dram = 0;
    for (int i = 0; i < kFiles; ++i) {
        in_dram += xattr_of(numbered(i), "user.kvfs.tier").starts_with("dram") ? 1 : 0;
    }
    cr_expect_leq(in_dram, 16);
    cr_expect_gt(in_dram, 2);
}

Test(semantics_space, T2_T3_S4_S5_writing_goes_on_and_the_oldest_vanish) {
    constexpr int kFiles = 300;  // four times SSD
    for (int i = 0; i < kFiles; ++i) write_file(numbered(i), pattern(kMiB, i));

    const std::vector<int> there = verify(kFiles, kMiB);
    cr_expect_geq(there.size(), 40, "most of the quota is used: %zu", there.size());
    cr_expect_leq(there.size(), 64 + 16);
    cr_expect_geq(there.front(), kFiles - 90, "the oldest went: f%d is there", there.front());
    cr_expect(!exists(numbered(0)));
    // Eviction goes on in the background for a moment.
    cr_expect_leq(list_names(mounted->path()).size(), there.size());
    cr_expect(eventually([] {
        const auto names = list_names(mounted->path());
        std::size_t found = 0;
        for (const auto& name : names) found += exists(mounted->path(name)) ? 1 : 0;
        return found == names.size();
    }));
}

Test(semantics_space, T2_S4_what_is_used_or_open_stays) {
    write_file(mounted->path("hot"), pattern(kMiB, 1000));
    write_file(mounted->path("open"), pattern(kMiB, 1001));
    const int fd = ::open(mounted->path("open").c_str(), O_RDONLY);
    for (int i = 0; i < 200; ++i) {
        write_file(numbered(i), pattern(kMiB, i));
        if (i % 10 == 0) cr_expect(read_file(mounted->path("hot")) == pattern(kMiB, 1000));
    }
    cr_expect(read_file(mounted->path("hot")) == pattern(kMiB, 1000));
    std::string bytes(kMiB, '\0');
    cr_expect_eq(::pread(fd, bytes.data(), kMiB, 0), static_cast<ssize_t>(kMiB));
    cr_expect(bytes == pattern(kMiB, 1001));
    ::close(fd);
    cr_expect(!exists(numbered(0)));
}

Test(semantics_space, T2_a_cached_name_of_a_file_that_vanished_is_a_clean_miss) {
    write_file(mounted->path("old"), pattern(kMiB, 1));
    cr_expect(exists(mounted->path("old")));  // the kernel remembers the name from here on
    for (int i = 0; i < 200; ++i) write_file(numbered(i), pattern(kMiB, i));
    for (int i = 0; i < 20; ++i) {
        cr_expect_lt(::open(mounted->path("old").c_str(), O_RDONLY), 0);
        cr_expect_eq(errno, ENOENT, "%s", std::strerror(errno));
        cr_expect(!exists(mounted->path("old")));
        cr_expect_eq(errno, ENOENT, "%s", std::strerror(errno));
    }
    write_file(mounted->path("old"), "new");
    cr_expect_eq(read_file(mounted->path("old")), "new");
}

Test(semantics_space, T1_T3_many_writers_and_readers_under_pressure) {
    constexpr int kThreads = 4;
    constexpr int kEach = 60;
    std::vector<std::thread> writers;
    for (int t = 0; t < kThreads; ++t) {
        writers.emplace_back([t] {
            for (int i = 0; i < kEach; ++i) {
                const int number = t * kEach + i;
                write_file(numbered(number), pattern(kMiB, number));
                const int earlier = t * kEach + i / 2;
                const int fd = ::open(numbered(earlier).c_str(), O_RDONLY);
                if (fd < 0) {
                    cr_expect_eq(errno, ENOENT);
                    continue;
                }
                std::string bytes(kMiB, '\0');
                const ssize_t n = ::read(fd, bytes.data(), kMiB);
                cr_expect_eq(n, static_cast<ssize_t>(kMiB), "%s", std::strerror(errno));
                cr_expect(bytes == pattern(kMiB, earlier));
                ::close(fd);
            }
        });
    }
    for (auto& writer : writers) writer.join();
    cr_expect_geq(verify(kThreads * kEach, kMiB).size(), 40);
}

Test(semantics_space, S1_statvfs_shows_the_quota) {
    struct statvfs before {
    }, after{};
    cr_assert_eq(::statvfs(mounted->path().c_str(), &before), 0);
    cr_expect_eq(before.f_bsize, 4096);
    cr_expect_eq(before.f_blocks * before.f_frsize, 64 * kMiB);
    cr_expect_eq(before.f_namemax, 255);
    cr_expect_gt(before.f_favail, 1'000'000'000);
    for (int i = 0; i < 10; ++i) write_file(numbered(i), pattern(kMiB, i));
    for (int i = 0; i < 10; ++i) await_spilled(numbered(i));
    cr_expect(eventually([&] {
                  ::statvfs(mounted->path().c_str(), &after);
                  return (before.f_bavail - after.f_bavail) * 4096 == 10 * kMiB;
              }),
              "%lu blocks", before.f_bavail - after.f_bavail);
    for (int i = 0; i < 10; ++i) cr_assert_eq(::unlink(numbered(i).c_str()), 0);
    cr_expect(eventually([&] {
        ::statvfs(mounted->path().c_str(), &after);
        return before.f_bavail == after.f_bavail;
    }));
}

Test(semantics_space, S2_st_blocks_counts_each_byte_once) {
    const std::string path = mounted->path("f");
    write_file(path, pattern(3 * kMiB + 1, 1));
    const auto held = [&] {
        struct stat st {};
        cr_assert_eq(::stat(path.c_str(), &st), 0);
        return static_cast<std::size_t>(st.st_blocks) * 512;
    };
    cr_expect_eq(held(), 3 * kMiB + 4096);
    await_spilled(path);
    ::sleep(2);  // the kernel may believe what it knows for a second
    cr_expect_eq(held(), 3 * kMiB + 4096, "in DRAM and on SSD: %zu", held());
}

Test(semantics_space, D1_SIGTERM_keeps_every_closed_file) {
    constexpr int kFiles = 12;
    for (int i = 0; i < kFiles; ++i) write_file(numbered(i), pattern(kMiB + i, i));
    mounted->stop();  // at once: write-behind has hardly begun

    mounted->start();
    for (int i = 0; i < kFiles; ++i) {
        cr_assert(exists(numbered(i)), "f%d", i);
        cr_expect(read_file(numbered(i)) == pattern(kMiB + i, i));
        cr_expect_eq(xattr_of(numbered(i), "user.kvfs.tier").starts_with("none"), false);
    }
}

Test(semantics_space, D1_unmounting_ends_the_daemon) {
    write_file(mounted->path("f"), "bytes");
    const std::string command = "umount " + mounted->path();
    cr_assert_eq(std::system(command.c_str()), 0);
    cr_expect_eq(mounted->wait(), 0, "%s", mounted->log().c_str());
    mounted->start();
    cr_expect_eq(read_file(mounted->path("f")), "bytes");
}

Test(semantics_space, D2_kill_keeps_what_was_on_ssd) {
    cr_assert_eq(::mkdir(mounted->path("dir").c_str(), 0751), 0);
    for (int i = 0; i < 12; ++i) {
        write_file(numbered(i), pattern(kMiB, i));
        cr_assert_eq(::setxattr(numbered(i).c_str(), "user.i", &i, sizeof i, 0), 0);
    }
    for (int i = 0; i < 12; ++i) {
        cr_expect(eventually([&] {
            return xattr_of(numbered(i), "user.kvfs.tier").find("ssd") != std::string::npos;
        }));
    }
    cr_assert_eq(std::rename(numbered(3).c_str(), mounted->path("dir/moved").c_str()), 0);
    cr_assert_eq(::unlink(numbered(4).c_str()), 0);
    struct stat before {};
    cr_assert_eq(::stat(numbered(0).c_str(), &before), 0);
    mounted->kill();
    cr_expect_lt(::open(numbered(0).c_str(), O_RDONLY), 0);
    cr_expect_eq(errno, ENOTCONN);

    mounted->start();  // over the dead mount
    for (int i = 0; i < 12; ++i) {
        if (i == 3 || i == 4) continue;
        cr_assert(exists(numbered(i)), "f%d", i);
        cr_expect(read_file(numbered(i)) == pattern(kMiB, i));
        cr_expect_eq(xattr_of(numbered(i), "user.i").size(), sizeof i);
    }
    cr_expect(read_file(mounted->path("dir/moved")) == pattern(kMiB, 3));
    cr_expect(!exists(numbered(3)) && !exists(numbered(4)));
    struct stat after {};
    cr_assert_eq(::stat(numbered(0).c_str(), &after), 0);
    cr_expect(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

Test(semantics_space, D1_D2_empty_files_outlive_the_daemon_without_an_object) {
    const auto named = [](const char* name) { return mounted->path(name); };
    for (const char* name : {"written", "unlinked", "left"}) write_file(named(name), "");
    cr_assert_eq(::mknod(named("made").c_str(), S_IFREG | 0640, 0), 0);
    write_file(named("emptied"), pattern(kMiB, 1));
    cr_assert_eq(::truncate(named("emptied").c_str(), 0), 0);
    const auto inode = inode_of(named("left"));

    mounted->stop();
    mounted->start();
    const auto expect_empty = [&](const char* name) {
        cr_expect_eq(read_file(named(name)), "", "%s", name);
        cr_expect_eq(xattr_of(named(name), "user.kvfs.tier"), "none", "%s", name);
        cr_expect(!exists(mounted->object(inode_of(named(name)))), "%s", name);
    };
    for (const char* name : {"written", "unlinked", "left", "made", "emptied"}) expect_empty(name);
    // Closed when the call returns; a close is on its way for a moment longer.
    cr_assert_eq(::mknod(named("late").c_str(), S_IFREG | 0640, 0), 0);
    mounted->kill();
    mounted->start();
    for (const char* name : {"written", "unlinked", "left", "made", "emptied", "late"})
        expect_empty(name);

    cr_expect_eq(inode_of(named("left")), inode);
    cr_expect_eq(::unlink(named("unlinked").c_str()), 0);
    write_file(named("written"), pattern(kMiB, 2));
    await_spilled(named("written"));
    mounted->kill();
    mounted->start();
    cr_expect(!exists(named("unlinked")));
    cr_expect(read_file(named("written")) == pattern(kMiB, 2));
    expect_empty("left");
}

Test(semantics_space, D2_kill_loses_what_was_not_on_ssd_cleanly) {
    for (int i = 0; i < 12; ++i) write_file(numbered(i), pattern(kMiB, i));
    mounted->kill();
    mounted->start();
    verify(12, kMiB);  // whole, or gone
    cr_expect_eq(verify(12, kMiB).size(), list_names(mounted->path()).size());
}

Test(semantics_space, D3_fsync_waits_for_the_ssd) {
    const std::string path = mounted->path("synced");
    const std::string bytes = pattern(kMiB, 1);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    cr_assert_eq(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(kMiB));
    cr_assert_eq(::fsync(fd), 0, "%s", std::strerror(errno));
    struct stat object {};
    cr_expect_eq(::stat(mounted->object(inode_of(path)).c_str(), &object), 0);
    cr_expect_eq(object.st_size, static_cast<off_t>(kMiB));
    const int directory = ::open(mounted->path().c_str(), O_RDONLY | O_DIRECTORY);
    cr_expect_eq(::fsync(directory), 0);
    ::close(directory);
    mounted->kill();
    ::close(fd);
    mounted->start();
    cr_expect(read_file(path) == bytes);
}

Test(semantics_space, D3_an_empty_file_survives_power_loss_when_it_was_synced) {
    write_file(mounted->path("synced"), "");
    write_file(mounted->path("other"), "");
    const int fd = ::open(mounted->path("synced").c_str(), O_RDONLY);
    cr_assert_eq(::fsync(fd), 0, "%s", std::strerror(errno));
    ::close(fd);
    mounted->kill();
    // As a start after a power loss does with names that were in use.
    cr_assert_eq(::unlink((mounted->ssd() + "/names/data.mdb").c_str()), 0);
    mounted->start();
    cr_expect_eq(list_names(mounted->path()).size(), 1);
    cr_expect_eq(read_file(mounted->path("synced")), "");
}

namespace {

/// A scratch file that was closed once, and is open to be written to; -1 in a failed test.
int open_scratch(const std::string& path, const std::string& bytes) {
    write_file(path, bytes);
    await_spilled(path);  // it is sealed, so that the next write makes it a scratch file
    const int fd = ::open(path.c_str(), O_RDWR);
    cr_assert_eq(::pwrite(fd, "x", 1, 0), 1);
    ::close(fd);
    mounted->stop();  // the daemon has heard of the close
    mounted->start();
    return ::open(path.c_str(), O_RDWR);
}

}  // namespace

Test(semantics_space, D1_a_scratch_file_that_is_open_at_the_end_is_as_it_was_left) {
    const std::string path = mounted->path("scratch");
    std::string bytes = pattern(kMiB, 1);
    const int fd = open_scratch(path, bytes);
    cr_assert_eq(::pwrite(fd, "longer", 6, kMiB), 6);
    mounted->stop();
    ::close(fd);
    mounted->start();
    bytes[0] = 'x';
    cr_expect(read_file(path) == bytes + "longer");
}

Test(semantics_space, D3_fsync_of_a_scratch_file_keeps_what_was_added_to_it) {
    const std::string path = mounted->path("scratch");
    std::string bytes = pattern(kMiB, 1);
    const int fd = open_scratch(path, bytes);
    cr_assert_eq(::pwrite(fd, "longer", 6, kMiB), 6);
    cr_assert_eq(::fsync(fd), 0, "%s", std::strerror(errno));
    mounted->kill();
    ::close(fd);
    mounted->start();
    bytes[0] = 'x';
    cr_expect(read_file(path) == bytes + "longer");
}

Test(semantics_space, D4_an_empty_file_that_was_being_written_to_is_gone) {
    const std::string path = mounted->path("unfinished");
    cr_assert_eq(::mknod(path.c_str(), S_IFREG | 0640, 0), 0);  // closed when the call returns
    const int fd = ::open(path.c_str(), O_WRONLY);
    cr_assert_eq(::write(fd, "half", 4), 4);
    mounted->kill();
    ::close(fd);
    mounted->start();
    cr_expect(!exists(path));
}

Test(semantics_space, D4_a_file_that_was_not_closed_is_gone) {
    const std::string path = mounted->path("unfinished");
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    cr_assert_eq(::write(fd, "half", 4), 4);
    mounted->stop();
    cr_expect_lt(::write(fd, "rest", 4), 0);
    ::close(fd);
    mounted->start();
    cr_expect(!exists(path));
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(list_names(mounted->path()).size(), 0);
}

Test(semantics_space, D5_damage_is_noticed_before_a_byte_is_given_out) {
    const std::string path = mounted->path("damaged");
    const std::string bytes = pattern(3 * kMiB, 1);
    write_file(path, bytes);
    mounted->stop();
    mounted->start();  // in DRAM no more
    const int object = ::open(mounted->object(inode_of(path)).c_str(), O_RDWR);
    cr_assert(object >= 0);
    const char flipped = static_cast<char>(~bytes[2 * kMiB + 5]);
    cr_assert_eq(::pwrite(object, &flipped, 1, 2 * kMiB + 5), 1);
    cr_assert_eq(::fsync(object), 0);
    ::close(object);

    const int fd = ::open(path.c_str(), O_RDONLY);
    std::string read(kMiB, '\0');
    cr_expect_eq(::pread(fd, read.data(), kMiB, 2 * kMiB), -1);
    cr_expect_eq(errno, EIO, "%s", std::strerror(errno));
    ::close(fd);
    cr_expect(eventually([&] { return !exists(path) && errno == ENOENT; }));
    write_file(path, "anew");
    cr_expect_eq(read_file(path), "anew");
}

Test(semantics_space, D5_a_missing_or_short_object_is_damage) {
    write_file(mounted->path("missing"), pattern(kMiB, 1));
    write_file(mounted->path("short"), pattern(kMiB, 2));
    mounted->stop();
    mounted->start();
    cr_assert_eq(::unlink(mounted->object(inode_of(mounted->path("missing"))).c_str()), 0);
    cr_assert_eq(::truncate(mounted->object(inode_of(mounted->path("short"))).c_str(), 500'000), 0);
    for (const char* name : {"missing", "short"}) {
        const int fd = ::open(mounted->path(name).c_str(), O_RDONLY);
        char byte = 0;
        cr_expect_eq(::pread(fd, &byte, 1, kMiB - 1), -1, "%s", name);
        cr_expect_eq(errno, EIO, "%s: %s", name, std::strerror(errno));
        ::close(fd);
    }
    cr_expect(eventually([] { return !exists(mounted->path("missing")); }));
}

static void mount_impatient() {
    mount_up_with({.dram = "16MiB", .ssd_size = "64MiB", .arguments = {"--io-timeout", "2"}});
}

Test(semantics_space, T4_no_call_waits_for_ever, .init = mount_impatient) {
    // All of DRAM is held by files that are open for writing: none of it may go.
    std::vector<int> fds;
    int failed = 0;
    const std::string bytes = pattern(kMiB, 1);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 120 && failed == 0; ++i) {
        fds.push_back(::open(numbered(i).c_str(), O_WRONLY | O_CREAT, 0644));
        if (::write(fds.back(), bytes.data(), kMiB) < 0) failed = errno;
    }
    const auto took = std::chrono::steady_clock::now() - start;
    cr_expect(failed == ENOSPC || failed == ETIMEDOUT, "%s", std::strerror(failed));
    cr_expect_lt(std::chrono::duration_cast<std::chrono::seconds>(took).count(), 60);
    for (const int fd : fds) ::close(fd);
    write_file(mounted->path("after"), "room again");
}
