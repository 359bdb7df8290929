// SEMANTICS.md, "Reading and writing".
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

int open_new(const std::string& path, int flags = 0) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | flags, 0644);
    cr_assert(fd >= 0, "open %s: %s", path.c_str(), std::strerror(errno));
    return fd;
}

std::string read_at(int fd, off_t offset, std::size_t size) {
    std::string bytes(size, '?');
    const ssize_t n = ::pread(fd, bytes.data(), size, offset);
    bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return bytes;
}

bool all_zero(const std::string& bytes) {
    return bytes.find_first_not_of('\0') == std::string::npos;
}

/// Fills DRAM with bytes that a later file must never show, and frees it again.
void soil_memory() {
    for (int i = 0; i < 20; ++i) {
        write_file(mounted->path("soil" + std::to_string(i)), std::string(3 << 20, 'S'));
    }
    for (int i = 0; i < 20; ++i) ::unlink(mounted->path("soil" + std::to_string(i)).c_str());
}

}  // namespace

TestSuite(semantics_bytes, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(semantics_bytes, R1_one_call_transfers_all) {
    const std::string path = mounted->path("big");
    for (const std::size_t size : {std::size_t{1}, std::size_t{4095}, std::size_t{(1 << 20) + 1},
                                   std::size_t{12'345'677}, std::size_t{40 << 20}}) {
        const std::string bytes = pattern(size, size);
        write_file(path, bytes);                           // one write(2), checked
        cr_expect(read_file(path) == bytes, "%zu", size);  // one read(2), checked
    }
}

Test(semantics_bytes, R1_a_vector_is_transferred_whole_and_a_read_ends_at_the_end_of_file) {
    const int fd = open_new(mounted->path("vector"));
    std::string a = pattern(300'001, 1);
    std::string b = pattern(5, 2);
    std::string c = pattern(2'000'003, 3);
    std::array<iovec, 3> vectors = {iovec{a.data(), a.size()}, iovec{b.data(), b.size()},
                                    iovec{c.data(), c.size()}};
    const auto total = static_cast<ssize_t>(a.size() + b.size() + c.size());
    cr_expect_eq(::pwritev(fd, vectors.data(), 3, 11), total);

    cr_expect(read_at(fd, 11, a.size() + b.size() + c.size()) == a + b + c);
    cr_expect_eq(read_at(fd, total, 1000).size(), 11);
    cr_expect_eq(read_at(fd, total + 11, 1000).size(), 0);
    cr_expect_eq(read_at(fd, total + 1'000'000, 1000).size(), 0);
    ::close(fd);
}

Test(semantics_bytes, R2_O_DIRECT_needs_no_alignment) {
    const std::string path = mounted->path("direct");
    const std::string bytes = pattern(1'123'985, 4);  // 274.4 blocks, as an MLA page is
    int fd = open_new(path, O_DIRECT);
    cr_expect_eq(::pwrite(fd, bytes.data() + 1, bytes.size() - 1, 1),
                 static_cast<ssize_t>(bytes.size() - 1));
    cr_expect_eq(::pwrite(fd, bytes.data(), 1, 0), 1);
    ::close(fd);

    fd = ::open(path.c_str(), O_RDONLY | O_DIRECT);
    cr_expect(read_at(fd, 0, bytes.size() + 4096) == bytes);
    cr_expect(read_at(fd, 28, 7777) == bytes.substr(28, 7777));
    cr_expect_eq(::fcntl(fd, F_SETFL, 0), 0);
    cr_expect_eq(::fcntl(fd, F_SETFL, O_DIRECT), 0);
    void* aligned = nullptr;
    cr_assert_eq(::posix_memalign(&aligned, 4096, 8192), 0);
    cr_expect_eq(::pread(fd, aligned, 8192, 4096), 8192);
    cr_expect_eq(std::memcmp(aligned, bytes.data() + 4096, 8192), 0);
    std::free(aligned);
    ::close(fd);
}

Test(semantics_bytes, R3_holes_read_as_zeros_in_a_cache_file) {
    soil_memory();
    const int fd = open_new(mounted->path("holes"));
    cr_assert_eq(::pwrite(fd, "x", 1, 2'000'000), 1);
    cr_expect(all_zero(read_at(fd, 0, 2'000'000)));
    cr_assert_eq(::ftruncate(fd, 5'000'000), 0);
    cr_expect(all_zero(read_at(fd, 2'000'001, 5'000'000)));
    cr_assert_eq(::fallocate(fd, 0, 6'000'000, 1'000'000), 0);
    cr_expect_eq(read_at(fd, 5'000'000, 3'000'000).size(), 2'000'000);
    cr_expect(all_zero(read_at(fd, 5'000'000, 2'000'000)));
    ::close(fd);
}

Test(semantics_bytes, R3_what_was_cut_off_is_zeros_when_it_comes_back) {
    const int fd = open_new(mounted->path("cut"));
    const std::string bytes(3'000'000, 'c');
    cr_assert_eq(::pwrite(fd, bytes.data(), bytes.size(), 0), 3'000'000);
    cr_assert_eq(::ftruncate(fd, 1'000'001), 0);
    cr_assert_eq(::ftruncate(fd, 3'000'000), 0);
    cr_expect(read_at(fd, 0, 1'000'001) == bytes.substr(0, 1'000'001));
    cr_expect(all_zero(read_at(fd, 1'000'001, 3'000'000)));
    cr_assert_eq(::ftruncate(fd, 10), 0);
    cr_assert_eq(::pwrite(fd, "end", 3, 2'000'000), 3);
    cr_expect(all_zero(read_at(fd, 10, 1'999'990)));
    ::close(fd);
}

Test(semantics_bytes, R3_holes_read_as_zeros_in_a_scratch_file) {
    const std::string path = mounted->path("sparse");
    const int fd = open_new(path);
    cr_assert_eq(::ftruncate(fd, off_t{1} << 40), 0, "%s", std::strerror(errno));
    cr_assert_eq(::pwrite(fd, "deep", 4, off_t{1} << 39), 4);
    cr_expect(all_zero(read_at(fd, 0, 1 << 20)));
    cr_expect(all_zero(read_at(fd, (off_t{1} << 39) - 4096, 4096)));
    cr_expect_eq(read_at(fd, off_t{1} << 39, 4), "deep");
    struct stat st {};
    ::fstat(fd, &st);
    cr_expect_eq(st.st_size, off_t{1} << 40);
    cr_expect_lt(st.st_blocks, 1000);
    ::close(fd);
}

Test(semantics_bytes, R4_the_size_is_right_after_a_write_in_every_process) {
    const std::string path = mounted->path("size");
    const int writer = open_new(path);
    const int reader = ::open(path.c_str(), O_RDONLY);
    struct stat st {};
    for (int i = 1; i <= 20; ++i) {
        cr_assert_eq(::write(writer, "0123456789", 10), 10);
        ::fstat(reader, &st);
        cr_expect_eq(st.st_size, 10 * i);
        ::stat(path.c_str(), &st);
        cr_expect_eq(st.st_size, 10 * i);
    }
    cr_assert_eq(::ftruncate(writer, 33), 0);
    ::fstat(reader, &st);
    cr_expect_eq(st.st_size, 33);
    ::close(writer);
    ::close(reader);
}

Test(semantics_bytes, R5_a_private_mapping_shows_the_file) {
    const std::string path = mounted->path("mapped");
    const std::string bytes = pattern(2'500'000, 5);
    write_file(path, bytes);
    const int fd = ::open(path.c_str(), O_RDONLY);
    void* memory = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    cr_assert(memory != MAP_FAILED, "%s", std::strerror(errno));
    ::close(fd);
    cr_expect_eq(std::memcmp(memory, bytes.data(), bytes.size()), 0);
    ::munmap(memory, bytes.size());
}

Test(semantics_bytes, R5_what_is_stored_to_a_shared_mapping_is_in_the_file) {
    const std::string path = mounted->path("stored");
    const std::string bytes = pattern(2'000'123, 6);
    const int fd = open_new(path);
    cr_assert_eq(::ftruncate(fd, 2'000'123), 0);
    void* memory = ::mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert(memory != MAP_FAILED, "%s", std::strerror(errno));
    std::memcpy(memory, bytes.data(), bytes.size() / 2);
    cr_expect_eq(::msync(memory, bytes.size(), MS_SYNC), 0);
    cr_expect(read_at(fd, 0, bytes.size() / 2) == bytes.substr(0, bytes.size() / 2));
    std::memcpy(memory, bytes.data(), bytes.size());
    ::munmap(memory, bytes.size());
    ::close(fd);

    cr_expect(read_file(path) == bytes);
    await_spilled(path);
    cr_expect(read_file(path) == bytes);
}

Test(semantics_bytes, R6_appends_of_several_processes_do_not_overwrite_one_another) {
    const std::string path = mounted->path("log");
    write_file(path, "");
    constexpr int kLines = 50;
    std::vector<pid_t> children;
    for (char who = 'a'; who < 'd'; ++who) {
        const pid_t child = ::fork();
        if (child == 0) {
            const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND);
            const std::string line = std::string(99, who) + "\n";
            for (int i = 0; i < kLines; ++i) {
                if (::write(fd, line.data(), line.size()) != 100) ::_exit(1);
            }
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        cr_expect_eq(status, 0);
    }

    const std::string all = read_file(path);
    cr_assert_eq(all.size(), 3 * kLines * 100);
    std::array<int, 3> lines{};
    for (std::size_t at = 0; at < all.size(); at += 100) {
        const char who = all[at];
        cr_assert(all.substr(at, 100) == std::string(99, who) + "\n");
        ++lines[static_cast<std::size_t>(who - 'a')];
    }
    for (const int count : lines) cr_expect_eq(count, kLines);
}

Test(semantics_bytes, R7_writers_of_different_files_do_not_disturb_one_another) {
    std::vector<std::thread> writers;
    for (int w = 0; w < 8; ++w) {
        writers.emplace_back([w] {
            for (int round = 0; round < 5; ++round) {
                const std::string path =
                    mounted->path("w" + std::to_string(w) + "." + std::to_string(round));
                write_file(path, pattern(1'000'000 + w * 4097, w * 10 + round));
            }
        });
    }
    for (auto& writer : writers) writer.join();
    for (int w = 0; w < 8; ++w) {
        for (int round = 0; round < 5; ++round) {
            const std::string path =
                mounted->path("w" + std::to_string(w) + "." + std::to_string(round));
            cr_expect(read_file(path) == pattern(1'000'000 + w * 4097, w * 10 + round));
        }
    }
}

Test(semantics_bytes, R7_each_byte_of_a_shared_file_is_that_of_its_last_writer) {
    const std::string path = mounted->path("shared");
    const int fd = open_new(path);
    constexpr std::size_t kStripe = 70'001;
    constexpr int kStripes = 64;
    std::vector<std::thread> writers;
    for (int w = 0; w < 4; ++w) {
        writers.emplace_back([w, fd] {
            for (int stripe = w; stripe < kStripes; stripe += 4) {
                const std::string bytes = pattern(kStripe, 1000 + stripe);
                const auto at = static_cast<off_t>(kStripe) * stripe;
                cr_assert_eq(::pwrite(fd, bytes.data(), kStripe, at),
                             static_cast<ssize_t>(kStripe));
            }
        });
    }
    for (auto& writer : writers) writer.join();
    ::close(fd);
    const std::string all = read_file(path);
    for (int stripe = 0; stripe < kStripes; ++stripe) {
        cr_expect(all.substr(kStripe * stripe, kStripe) == pattern(kStripe, 1000 + stripe));
    }
}

Test(semantics_bytes, R8_fallocate_reserves) {
    const int fd = open_new(mounted->path("reserved"));
    struct stat st {};
    cr_expect_eq(::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1'000'000), 0);
    ::fstat(fd, &st);
    cr_expect_eq(st.st_size, 0);
    cr_expect_eq(::fallocate(fd, 0, 0, 1'000'000), 0);
    ::fstat(fd, &st);
    cr_expect_eq(st.st_size, 1'000'000);
    for (const int mode : {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                           FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE}) {
        errno = 0;
        cr_expect_eq(::fallocate(fd, mode, 0, 4096), -1);
        cr_expect_eq(errno, EOPNOTSUPP, "mode %d: %d", mode, errno);
    }
    ::close(fd);
}

Test(semantics_bytes, R8_one_huge_preallocated_file_is_a_scratch_file) {
    const std::string path = mounted->path("tier");  // as KVBM's and vLLM's disk caches
    const int fd = open_new(path, O_DIRECT);
    cr_assert_eq(::fallocate(fd, 0, 0, off_t{256} << 20), 0, "%s", std::strerror(errno));
    for (int i = 0; i < 10; ++i) {
        const std::string bytes = pattern(1 << 20, i);
        cr_assert_eq(::pwrite(fd, bytes.data(), bytes.size(), off_t{i * 25} << 20), 1 << 20);
    }
    for (int i = 0; i < 10; ++i) {
        cr_expect(read_at(fd, off_t{i * 25} << 20, 1 << 20) == pattern(1 << 20, i));
    }
    ::close(fd);
}

Test(semantics_bytes, R9_the_whole_file_is_data) {
    const int fd = open_new(mounted->path("seek"));
    cr_assert_eq(::pwrite(fd, "x", 1, 999'999), 1);
    cr_expect_eq(::lseek(fd, 10, SEEK_DATA), 10);
    cr_expect_eq(::lseek(fd, 10, SEEK_HOLE), 1'000'000);
    cr_expect_eq(::lseek(fd, 1'000'000, SEEK_DATA), -1);
    cr_expect_eq(errno, ENXIO);
    cr_expect_eq(::lseek(fd, -5, SEEK_END), 999'995);
    ::close(fd);
}

Test(semantics_bytes, R10_locks_work_between_programs) {
    const std::string path = mounted->path("lock");
    const int fd = open_new(path);
    cr_assert_eq(::flock(fd, LOCK_EX), 0);
    struct flock range {};
    range.l_type = F_WRLCK;
    cr_assert_eq(::fcntl(fd, F_SETLK, &range), 0);

    const pid_t child = ::fork();
    if (child == 0) {
        const int other = ::open(path.c_str(), O_RDWR);
        const bool flocked = ::flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;
        struct flock same {};
        same.l_type = F_WRLCK;
        const bool locked = ::fcntl(other, F_SETLK, &same) == -1;
        ::_exit(flocked && locked ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    cr_expect_eq(status, 0);
    ::close(fd);
}

Test(semantics_bytes, R11_a_descriptor_keeps_its_right_to_write) {
    const std::string path = mounted->path("readonly");
    const int fd = open_new(path);
    cr_assert_eq(::chmod(path.c_str(), 0444), 0);
    cr_expect_eq(::write(fd, "still", 5), 5);
    ::close(fd);
    cr_expect_eq(read_file(path), "still");
}

Test(semantics_bytes, R12_there_is_an_end_to_offsets) {
    const int fd = open_new(mounted->path("end"));
    cr_expect_eq(::pwrite(fd, "xx", 2, INT64_MAX - 1), -1);
    cr_expect(errno == EFBIG || errno == EINVAL, "%d", errno);
    cr_expect_eq(::pwrite(fd, "x", 1, -1), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_eq(::ftruncate(fd, -1), -1);
    cr_expect_eq(errno, EINVAL);
    ::close(fd);
}
