// SEMANTICS.md, "Scratch files".
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr off_t kMiB = 1 << 20;

std::string made_scratch_directory(const std::string& name) {
    const std::string path = mounted->path(name);
    cr_assert_eq(::mkdir(path.c_str(), 0755), 0);
    cr_assert_eq(::setxattr(path.c_str(), "user.kvfs.scratch", "1", 1, 0), 0, "%s",
                 std::strerror(errno));
    return path;
}

bool is_scratch(const std::string& path) { return xattr_of(path, "user.kvfs.scratch") == "1"; }

int open_or_fail(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags, 0644);
    cr_assert_geq(fd, 0, "%s: %s", path.c_str(), std::strerror(errno));
    return fd;
}

void write_at(int fd, off_t offset, const std::string& bytes) {
    cr_assert_eq(::pwrite(fd, bytes.data(), bytes.size(), offset),
                 static_cast<ssize_t>(bytes.size()), "%s", std::strerror(errno));
}

std::string read_at(int fd, off_t offset, std::size_t size) {
    std::string bytes(size, '\0');
    const ssize_t n = ::pread(fd, bytes.data(), size, offset);
    cr_assert_geq(n, 0, "%s", std::strerror(errno));
    bytes.resize(static_cast<std::size_t>(n));
    return bytes;
}

struct stat stat_of(const std::string& path) {
    struct stat st {};
    cr_assert_eq(::stat(path.c_str(), &st), 0, "%s: %s", path.c_str(), std::strerror(errno));
    return st;
}

/// Bytes that kvfsd itself has been given to write since it started.
long written_through_the_daemon() {
    const std::string stats = xattr_of(mounted->path(), "user.kvfs.stats");
    const std::string key = "\"written_bytes\":";
    return std::atol(stats.c_str() + stats.find(key) + key.size());
}

bool kernel_serves() {
    return mounted->log().find("does not serve scratch files") == std::string::npos;
}

void mount_with_ssd() { mount_up_with({.dram = "64MiB", .ssd_size = "256MiB"}); }

}  // namespace

TestSuite(semantics_scratch, .init = mount_with_ssd, .fini = mount_down, .timeout = 120);

Test(semantics_scratch, K1_files_of_a_scratch_directory_are_scratch_files_from_birth) {
    const std::string directory = made_scratch_directory("tier");
    cr_assert_eq(::mkdir((directory + "/below").c_str(), 0755), 0);
    for (const std::string& path : {directory + "/a", directory + "/below/b"}) {
        write_file(path, "bytes");
        cr_expect(is_scratch(path), "%s", path.c_str());
        cr_expect_eq(xattr_of(path, "user.kvfs.tier"), "ssd");
        write_file(path, "other bytes");  // truncates first
        cr_expect(is_scratch(path), "%s", path.c_str());
        cr_expect_eq(read_file(path), "other bytes");
        cr_expect_eq(::setxattr(path.c_str(), "user.kvfs.scratch", "0", 1, 0), -1);
        cr_expect_eq(errno, EPERM);
    }
    cr_assert_eq(::removexattr(directory.c_str(), "user.kvfs.scratch"), 0);
    cr_expect_not(is_scratch(directory));
    write_file(directory + "/later", "bytes");
    cr_expect_not(is_scratch(directory + "/later"));
    cr_expect(is_scratch(directory + "/a"));
    cr_expect_eq(::setxattr(directory.c_str(), "user.kvfs.scratch", "2", 1, 0), -1);
    cr_expect_eq(errno, EINVAL);
}

Test(semantics_scratch, K2_the_kernel_serves_files_of_a_scratch_directory) {
    const std::string path = made_scratch_directory("tier") + "/f";
    const int fd = open_or_fail(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT);
    PageBuffer bytes(pattern(kMiB, 1));
    cr_assert_eq(::pwrite(fd, bytes.data(), kMiB, 0), kMiB, "%s", std::strerror(errno));
    if (!kernel_serves()) cr_skip_test("this kernel, or this user, has no FUSE passthrough");
    cr_expect_eq(written_through_the_daemon(), 0);
    cr_expect_eq(::pwrite(fd, bytes.data(), 1000, 0), -1, "not whole blocks");
    cr_expect_eq(errno, EINVAL);

    const int second = open_or_fail(path, O_RDWR);
    write_at(second, 5, "changed");
    cr_expect_eq(written_through_the_daemon(), 0);
    PageBuffer read(kMiB);
    cr_assert_eq(::pread(fd, read.data(), kMiB, 0), kMiB);
    cr_expect_eq(std::memcmp(read.data() + 5, "changed", 7), 0);
    cr_expect_eq(std::memcmp(read.data() + 12, bytes.data() + 12, kMiB - 12), 0);
    cr_expect_eq(::fsync(second), 0);
    ::close(second);
    ::close(fd);
}

Test(semantics_scratch, K2_descriptors_of_one_file_are_all_served_the_same_way) {
    const std::string path = mounted->path("grown");
    const int first = open_or_fail(path, O_RDWR | O_CREAT);
    cr_assert_eq(::ftruncate(first, 100 * kMiB), 0);  // beyond a quarter of DRAM
    write_at(first, 0, "by kvfsd");
    const int second = open_or_fail(path, O_RDWR);  // while the first goes by kvfsd
    write_at(second, 50 * kMiB, "second");
    cr_expect_eq(read_at(first, 50 * kMiB, 6), "second");
    cr_expect_eq(written_through_the_daemon(), 14);
    ::close(first);
    ::close(second);

    long before = 0;
    const auto now_by_the_kernel = [&] {  // once kvfsd has heard of the closes
        before = written_through_the_daemon();
        const int fd = open_or_fail(path, O_RDWR);
        write_at(fd, kMiB, "x");
        ::close(fd);
        return !kernel_serves() || written_through_the_daemon() == before;
    };
    cr_expect(eventually(now_by_the_kernel));
    const int third = open_or_fail(path, O_RDWR);
    const int fourth = open_or_fail(path, O_RDONLY);
    write_at(third, 0, "in place");
    cr_expect_eq(read_at(fourth, 0, 8), "in place");
    if (kernel_serves()) cr_expect_eq(written_through_the_daemon(), before);
    cr_assert_eq(::ftruncate(third, 0), 0);
    write_at(third, 0, "short");
    const int fifth = open_or_fail(path, O_RDONLY);  // small by now, and served as the others are
    cr_expect_eq(read_at(fifth, 0, 100), "short");
    for (const int fd : {third, fourth, fifth}) ::close(fd);
    cr_expect_eq(read_file(path), "short");
}

Test(semantics_scratch, K2_a_file_that_the_kernel_serves_can_be_mapped_and_unlinked) {
    const std::string path = made_scratch_directory("tier") + "/mapped";
    const int fd = open_or_fail(path, O_RDWR | O_CREAT);
    cr_assert_eq(::ftruncate(fd, kMiB), 0);
    void* memory = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(memory, MAP_FAILED, "%s", std::strerror(errno));
    std::memcpy(memory, "mapped", 6);
    cr_assert_eq(::msync(memory, kMiB, MS_SYNC), 0);
    cr_expect_eq(read_at(fd, 0, 6), "mapped");
    cr_assert_eq(::unlink(path.c_str()), 0);
    write_at(fd, 0, "nameless");
    cr_expect_eq(std::memcmp(memory, "nameless", 8), 0);
    ::munmap(memory, kMiB);
    ::close(fd);
    const auto used = [] {
        struct statvfs fs {};
        ::statvfs(mounted->path().c_str(), &fs);
        return (fs.f_blocks - fs.f_bfree) * fs.f_frsize;
    };
    cr_expect(eventually([&] { return used() == 0; }), "%llu bytes are still counted",
              static_cast<unsigned long long>(used()));
}

Test(semantics_scratch, K3_a_sparse_file_costs_what_was_written_to_it) {
    const std::string paths[] = {mounted->path("sparse"), made_scratch_directory("d") + "/sparse"};
    for (const std::string& path : paths) {
        const int fd = open_or_fail(path, O_RDWR | O_CREAT);
        cr_assert_eq(::ftruncate(fd, off_t{1} << 40), 0, "%s", std::strerror(errno));
        write_at(fd, off_t{1} << 39, pattern(kMiB, 3));
        ::close(fd);
    }
    for (int round = 0; round < 2; ++round) {
        for (const std::string& path : paths) {
            const struct stat st = stat_of(path);
            cr_expect_eq(st.st_size, off_t{1} << 40);
            cr_expect(st.st_blocks * 512 >= kMiB && st.st_blocks * 512 < 2 * kMiB, "%s: %ld blocks",
                      path.c_str(), static_cast<long>(st.st_blocks));
        }
        struct statvfs fs {};
        cr_assert_eq(::statvfs(mounted->path().c_str(), &fs), 0);
        const auto used = static_cast<off_t>((fs.f_blocks - fs.f_bfree) * fs.f_frsize);
        cr_expect(used >= 2 * kMiB && used < 4 * kMiB, "%ld", static_cast<long>(used));
        mounted->stop();
        mounted->start();
    }
    const int fd = open_or_fail(paths[1], O_RDONLY);
    cr_expect(read_at(fd, off_t{1} << 39, kMiB) == pattern(kMiB, 3));
    cr_expect(read_at(fd, (off_t{1} << 40) - 4, 100) == std::string(4, '\0'));
    ::close(fd);
}

Test(semantics_scratch, K4_others_see_size_and_times_while_the_kernel_serves_a_file) {
    const std::string path = made_scratch_directory("tier") + "/seen";
    const int fd = open_or_fail(path, O_RDWR | O_CREAT);
    timespec times[2] = {{1000, 0}, {1000, 0}};
    cr_assert_eq(::futimens(fd, times), 0);
    cr_expect_eq(stat_of(path).st_mtim.tv_sec, 1000);
    write_at(fd, 3 * kMiB, "end");
    cr_expect_eq(stat_of(path).st_size, 3 * kMiB + 3);
    const auto recent = [&] { return stat_of(path).st_mtim.tv_sec > 1'000'000; };
    cr_expect(eventually(recent), "a write sets the time, as far as anybody asks a second later");
    ::close(fd);
    mounted->stop();
    mounted->start();
    cr_expect_eq(stat_of(path).st_size, 3 * kMiB + 3);
    cr_expect(recent());
}

Test(semantics_scratch, D3_a_scratch_file_that_was_synced_survives_a_power_loss) {
    const std::string paths[] = {made_scratch_directory("d") + "/born", mounted->path("presized")};
    for (const std::string& path : paths) {
        const int fd = open_or_fail(path, O_RDWR | O_CREAT);
        cr_assert_eq(::ftruncate(fd, 40 * kMiB), 0);
        write_at(fd, 30 * kMiB, "synced");
        cr_assert_eq(::fsync(fd), 0, "%s", std::strerror(errno));
        ::close(fd);
    }
    const std::string renamed = mounted->path("renamed");
    cr_assert_eq(std::rename(paths[1].c_str(), renamed.c_str()), 0);
    const int directory = open_or_fail(mounted->path(), O_RDONLY | O_DIRECTORY);
    cr_expect_eq(::fsync(directory), 0, "%s", std::strerror(errno));
    ::close(directory);
    mounted->kill();
    // As a start after a power loss does with names that were in use.
    cr_assert_eq(::unlink((mounted->ssd() + "/names/data.mdb").c_str()), 0);
    mounted->start();
    for (const std::string& path : {paths[0], renamed}) {
        cr_expect(is_scratch(path), "%s", path.c_str());
        cr_expect_eq(stat_of(path).st_size, 40 * kMiB);
        cr_expect_lt(stat_of(path).st_blocks * 512, kMiB);
        const int fd = open_or_fail(path, O_RDWR);
        cr_expect_eq(read_at(fd, 30 * kMiB, 6), "synced");
        ::close(fd);
    }
}

Test(semantics_scratch, T3_a_write_waits_for_files_that_are_busy_for_a_moment) {
    std::vector<int> readers;
    for (int i = 0; i < 16; ++i) {
        const std::string path = mounted->path("busy" + std::to_string(i));
        write_file(path, pattern(14 * kMiB, i));
        await_spilled(path);
        readers.push_back(open_or_fail(path, O_RDONLY));
    }
    std::thread closer([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        for (const int fd : readers) ::close(fd);
    });
    const int fd = open_or_fail(mounted->path("large"), O_RDWR | O_CREAT);
    cr_expect_eq(::ftruncate(fd, 64 * kMiB), 0, "%s", std::strerror(errno));
    const std::string bytes = pattern(60 * kMiB, 99);  // 224 of 256 MiB are taken
    cr_expect_eq(::pwrite(fd, bytes.data(), bytes.size(), 0), 60 * kMiB, "%s",
                 std::strerror(errno));
    closer.join();
    ::close(fd);
}

Test(semantics_scratch, K5_other_files_make_way_for_what_the_kernel_writes) {
    for (int i = 0; i < 100; ++i)
        write_file(mounted->path("cache" + std::to_string(i)), pattern(2 * kMiB, i));
    const std::string path = made_scratch_directory("tier") + "/large";
    const int fd = open_or_fail(path, O_RDWR | O_CREAT);
    const std::string piece = pattern(4 * kMiB, 5);
    for (off_t at = 0; at < 160 * kMiB; at += 4 * kMiB) write_at(fd, at, piece);
    const auto used = [] {
        struct statvfs fs {};
        ::statvfs(mounted->path().c_str(), &fs);
        return static_cast<off_t>((fs.f_blocks - fs.f_bfree) * fs.f_frsize);
    };
    cr_expect(eventually([&] { return used() >= 160 * kMiB && used() <= 256 * kMiB; }), "%ld MiB",
              static_cast<long>(used() / kMiB));
    for (off_t at = 160 * kMiB; at < 280 * kMiB; at += 4 * kMiB) write_at(fd, at, piece);
    for (off_t at = 0; at < 280 * kMiB; at += 4 * kMiB)
        cr_assert(read_at(fd, at, piece.size()) == piece, "at %ld", static_cast<long>(at));
    ::close(fd);
}
