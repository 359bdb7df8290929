// SEMANTICS.md, "Files": what becomes of a file that is written, sealed, rewritten.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

TestSuite(semantics_files, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(semantics_files, F1_a_file_can_be_read_while_it_is_written) {
    const std::string path = mounted->path("growing");
    const std::string bytes = pattern(3 << 20, 1);
    const int writer = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    cr_assert(writer >= 0);

    for (std::size_t done = 0; done < bytes.size(); done += 1 << 20) {
        cr_assert_eq(::write(writer, bytes.data() + done, 1 << 20), 1 << 20);
        const std::string so_far = read_file(path);
        cr_expect(so_far == bytes.substr(0, done + (1 << 20)));
    }
    ::close(writer);
}

Test(semantics_files, F2_the_last_close_seals) {
    const std::string path = mounted->path("sealed");
    const int first = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    const int second = ::open(path.c_str(), O_WRONLY);
    cr_assert_eq(::write(first, "bytes", 5), 5);
    ::close(first);
    ::usleep(100'000);
    cr_expect_eq(xattr_of(path, "user.kvfs.tier"), "dram", "one writer is left");
    ::close(second);

    await_spilled(path);
    cr_expect(eventually([&] { return xattr_of(path, "user.kvfs.tier") == "dram,ssd"; }));
    cr_expect_eq(read_file(path), "bytes");
}

Test(semantics_files, F3_a_sealed_file_that_is_written_again_keeps_its_other_bytes) {
    const std::string path = mounted->path("rewritten");
    std::string bytes = pattern((2 << 20) + 77, 2);
    write_file(path, bytes);
    await_spilled(path);

    const int fd = ::open(path.c_str(), O_RDWR);
    cr_assert_eq(::pwrite(fd, "changed", 7, 1'000'001), 7);
    bytes.replace(1'000'001, 7, "changed");
    cr_expect(read_file(path) == bytes);
    ::close(fd);

    cr_expect(eventually([&] { return xattr_of(path, "user.kvfs.tier") == "ssd"; }),
              "a scratch file is on SSD alone");
    cr_expect(read_file(path) == bytes);
    cr_expect_eq(xattr_of(path, "user.kvfs.crc32c"), "", "it has no checksum");
    mounted->stop();
    mounted->start();
    cr_expect(read_file(path) == bytes);
}

Test(semantics_files, F4_a_sealed_file_that_is_emptied_and_written_is_a_cache_file_again) {
    const std::string path = mounted->path("replaced");
    write_file(path, pattern(1 << 20, 3));
    await_spilled(path);

    const std::string bytes = pattern(500'000, 4);
    write_file(path, bytes);  // O_TRUNC

    cr_expect(eventually([&] { return xattr_of(path, "user.kvfs.tier") == "dram,ssd"; }));
    cr_expect(read_file(path) == bytes);
    cr_expect_neq(xattr_of(path, "user.kvfs.crc32c"), "");
}

Test(semantics_files, F5_a_file_may_be_larger_than_the_dram_tier) {
    const std::string path = mounted->path("large");  // 100 MiB, DRAM has 64
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT, 0644);
    constexpr int kPieces = 25;
    constexpr std::size_t kPiece = 4 << 20;
    for (int i = 0; i < kPieces; ++i) {
        const std::string bytes = pattern(kPiece, 100 + i);
        cr_assert_eq(::write(fd, bytes.data(), kPiece), static_cast<ssize_t>(kPiece));
    }
    ::close(fd);

    const int reader = ::open(path.c_str(), O_RDONLY);
    std::string bytes(kPiece, '\0');
    for (int i = kPieces - 1; i >= 0; --i) {
        cr_assert_eq(::pread(reader, bytes.data(), kPiece, static_cast<off_t>(kPiece) * i),
                     static_cast<ssize_t>(kPiece));
        cr_expect(bytes == pattern(kPiece, 100 + i), "piece %d", i);
    }
    ::close(reader);
}

Test(semantics_files, F6_opening_for_writing_alone_changes_nothing) {
    const std::string path = mounted->path("opened");
    const std::string bytes = pattern(100'000, 5);
    write_file(path, bytes);
    await_spilled(path);
    cr_assert(eventually([&] { return xattr_of(path, "user.kvfs.tier") == "dram,ssd"; }));
    struct stat before {
    }, after{};
    ::stat(path.c_str(), &before);

    const int fd = ::open(path.c_str(), O_RDWR);  // as NIXL does to read
    std::string read(bytes.size(), '\0');
    cr_expect_eq(::pread(fd, read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
    ::close(fd);

    cr_expect(read == bytes);
    cr_expect_eq(xattr_of(path, "user.kvfs.tier"), "dram,ssd");
    cr_expect_neq(xattr_of(path, "user.kvfs.crc32c"), "");
    ::stat(path.c_str(), &after);
    cr_expect(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
              before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

static void mount_tiny() { mount_up_with({.dram = "16MiB", .ssd_size = "64MiB"}); }

Test(semantics_files, F7_a_file_larger_than_the_tiers_is_refused, .init = mount_tiny) {
    const int fd = ::open(mounted->path("endless").c_str(), O_WRONLY | O_CREAT, 0644);
    const std::string bytes = pattern(1 << 20, 6);
    int written = 0;
    int failed = 0;
    for (; written < 100 && failed == 0; ++written) {
        if (::write(fd, bytes.data(), bytes.size()) < 0) failed = errno;
    }
    ::close(fd);

    cr_expect_eq(failed, ENOSPC, "after %d MiB: errno %d", written, failed);
    cr_expect_geq(written, 50, "most of the SSD quota is one file's");
    write_file(mounted->path("next"), "room again");
    cr_expect_eq(read_file(mounted->path("next")), "room again");
}
