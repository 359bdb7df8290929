// SGLang's HiCache: the file back end (one write, replace, one read that must be whole, a scan of
// the whole directory) and its NIXL back end (in place, opened for reading and writing, O_DIRECT).
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kPage = 1'124'352;  // DeepSeek-V3, 16 tokens: no multiple of 4096

std::string page_path(unsigned hash) {
    return mounted->path(std::to_string(hash) + "_DeepSeek-V3_0_8.bin");
}

bool store(unsigned hash, int rank) {
    const std::string tmp = page_path(hash) + ".tmp." + std::to_string(rank) + ".1.uuid";
    const std::string bytes = pattern(kPage, hash);
    FILE* file = std::fopen(tmp.c_str(), "wb");
    KVFS_HOLD(file != nullptr);
    KVFS_HOLD(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
    KVFS_HOLD(std::fclose(file) == 0);
    KVFS_HOLD(std::rename(tmp.c_str(), page_path(hash).c_str()) == 0);
    return true;
}

bool load(unsigned hash) {
    std::string bytes(kPage, '\0');
    const int fd = ::open(page_path(hash).c_str(), O_RDONLY | O_CLOEXEC);
    KVFS_HOLD(fd >= 0);
    KVFS_HOLD(::read(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(kPage));
    ::close(fd);
    KVFS_HOLD(bytes == pattern(kPage, hash));
    return true;
}

bool write_in_place(const std::string& path, unsigned hash) {
    PageBuffer bytes(pattern(kPage, hash));
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);
    KVFS_HOLD(fd >= 0);
    KVFS_HOLD(::pwrite(fd, bytes.data(), kPage, 0) == static_cast<ssize_t>(kPage));
    ::close(fd);
    return true;
}

bool read_in_place(const std::string& path, unsigned hash) {
    PageBuffer bytes(kPage);
    const int fd = ::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    KVFS_HOLD(fd >= 0);
    KVFS_HOLD(::pread(fd, bytes.data(), kPage, 0) == static_cast<ssize_t>(kPage));
    ::close(fd);
    KVFS_HOLD(bytes.bytes() == pattern(kPage, hash));
    return true;
}

}  // namespace

TestSuite(client_sglang, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_sglang, hicache_file_two_workers_replace_and_read_the_same_pages) {
    in_two_processes([](int rank) {
        for (unsigned hash = 0; hash < 20; ++hash) {
            KVFS_HOLD(store(hash, rank));
            KVFS_HOLD(load(hash));
        }
        return true;
    });
    const auto names = list_names(mounted->path());
    cr_expect_eq(names.size(), 20, "no temporary name is left");
}

Test(client_sglang, hicache_file_watches_the_space_that_the_mount_tells) {
    struct statvfs before {
    }, after{};
    cr_assert_eq(::statvfs(mounted->path().c_str(), &before), 0);
    cr_assert_geq(before.f_bavail, 1UL);
    write_file(page_path(1), pattern(kPage, 1));
    await_spilled(page_path(1));
    cr_assert_eq(::statvfs(mounted->path().c_str(), &after), 0);
    cr_expect_geq((before.f_bavail - after.f_bavail) * before.f_frsize, kPage);
}

Test(client_sglang, nixl_writes_in_place_and_reads_what_it_may_write) {
    std::filesystem::create_directory(mounted->path("3f"));
    in_two_processes([](int rank) {
        for (unsigned i = 0; i < 10; ++i) {
            const unsigned hash = 2 * i + static_cast<unsigned>(rank);
            const std::string path = mounted->path("3f/" + std::to_string(hash) + "_model_0_8_k");
            KVFS_HOLD(write_in_place(path, hash));
            struct stat st {};
            KVFS_HOLD(::stat(path.c_str(), &st) == 0 && st.st_size == static_cast<off_t>(kPage));
            KVFS_HOLD(read_in_place(path, hash));
        }
        return true;
    });
}
