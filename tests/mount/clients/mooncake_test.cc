// Mooncake's store: buckets of many objects with a .meta beside each, which is made durable by
// fsync, rename and fsync of the directory; and one preallocated file read by O_DIRECT.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kRecord = 1 << 20;
constexpr std::size_t kRecords = 8;

bool make_bucket(const std::string& directory, int number) {
    const std::string path = directory + "/1700000000000-" + std::to_string(number) + ".bucket";
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    KVFS_HOLD(fd >= 0);
    for (std::size_t i = 0; i < kRecords; i += 2) {
        std::string one = pattern(kRecord, i), two = pattern(kRecord, i + 1);
        const iovec pieces[] = {{one.data(), one.size()}, {two.data(), two.size()}};
        KVFS_HOLD(::pwritev(fd, pieces, 2, static_cast<off_t>(i * kRecord)) ==
                  static_cast<ssize_t>(2 * kRecord));
    }
    KVFS_HOLD(::fdatasync(fd) == 0 && ::close(fd) == 0);

    const std::string meta = path + ".meta";
    const int out = ::open((meta + ".tmp").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    KVFS_HOLD(out >= 0);
    KVFS_HOLD(::write(out, "meta", 4) == 4);
    KVFS_HOLD(::fsync(out) == 0 && ::close(out) == 0);
    KVFS_HOLD(::rename((meta + ".tmp").c_str(), meta.c_str()) == 0);
    const int parent = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    KVFS_HOLD(::fsync(parent) == 0);
    ::close(parent);

    const int in = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    KVFS_HOLD(in >= 0);
    for (std::size_t i = 0; i < kRecords; ++i) {
        PageBuffer record(kRecord);
        KVFS_HOLD(::pread(in, record.data(), kRecord, static_cast<off_t>(i * kRecord)) ==
                  static_cast<ssize_t>(kRecord));
        KVFS_HOLD(record.bytes() == pattern(kRecord, i));
    }
    ::close(in);
    return true;
}

}  // namespace

TestSuite(client_mooncake, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_mooncake, two_workers_make_durable_buckets) {
    std::filesystem::create_directory(mounted->path("store"));
    in_two_processes([](int rank) {
        return make_bucket(mounted->path("store"), rank) &&
               make_bucket(mounted->path("store"), rank + 2);
    });
    for (int number = 0; number < 4; ++number) {
        const std::string path =
            mounted->path("store/1700000000000-" + std::to_string(number) + ".bucket");
        struct stat st {};
        cr_assert_eq(::stat(path.c_str(), &st), 0);
        cr_expect_eq(st.st_blocks * 512, static_cast<blkcnt_t>(kRecord * kRecords));
    }
}

Test(client_mooncake, one_preallocated_file_is_written_at_offsets) {
    const std::string path = mounted->path("kv_cache.data");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert_eq(::fallocate(fd, 0, 0, kRecord * kRecords), 0);
    for (std::size_t i = kRecords; i-- > 0;) {
        PageBuffer record(pattern(kRecord, i));
        cr_assert_eq(::pwrite(fd, record.data(), kRecord, static_cast<off_t>(i * kRecord)),
                     static_cast<ssize_t>(kRecord));
    }
    ::close(fd);
    const std::string all = read_file(path);
    for (std::size_t i = 0; i < kRecords; ++i)
        cr_expect(all.substr(i * kRecord, kRecord) == pattern(kRecord, i), "record %zu", i);
}
