// llm-d's file back end: streams through a 1 MiB buffer to a random temporary name; reads a file's
// tail; marks a hit by the access time alone, by which its evictor then goes.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kFile = 10 << 20;

bool store(const std::string& path, unsigned seed, int rank) {
    const std::string tmp = path + "_" + std::to_string(rank) + ".tmp";
    const std::string bytes = pattern(kFile, seed);
    std::vector<char> buffer(1 << 20);
    std::ofstream file;
    file.rdbuf()->pubsetbuf(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    file.open(tmp, std::ios::binary | std::ios::trunc);
    KVFS_HOLD(file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())));
    KVFS_HOLD(file.flush());
    file.close();
    KVFS_HOLD(::rename(tmp.c_str(), path.c_str()) == 0);
    return true;
}

bool load_tail(const std::string& path, unsigned seed, std::size_t tail) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    KVFS_HOLD(file.is_open());
    const auto size = static_cast<std::size_t>(file.tellg());
    KVFS_HOLD(size == kFile);
    file.seekg(static_cast<std::streamoff>(size - tail));
    std::string bytes(tail, '\0');
    KVFS_HOLD(file.read(bytes.data(), static_cast<std::streamsize>(tail)));
    KVFS_HOLD(bytes == pattern(kFile, seed).substr(size - tail));
    return true;
}

}  // namespace

TestSuite(client_llm_d, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_llm_d, two_workers_store_and_load_tails) {
    std::filesystem::create_directories(mounted->path("model_r0/abc/de_g0"));
    in_two_processes([](int rank) {
        for (unsigned hash = 0; hash < 4; ++hash) {
            const std::string path =
                mounted->path("model_r0/abc/de_g0/" + std::to_string(hash) + ".bin");
            KVFS_HOLD(store(path, hash, rank));
            KVFS_HOLD(load_tail(path, hash, kFile / 3 + 5));
        }
        return true;
    });
}

Test(client_llm_d, a_hit_is_marked_by_the_access_time_alone) {
    const std::string path = mounted->path("block.bin");
    write_file(path, "bytes");
    await_spilled(path);
    struct stat before {
    }, after{};
    cr_assert_eq(::stat(path.c_str(), &before), 0);
    const std::array<timespec, 2> times = {timespec{before.st_atim.tv_sec + 100, 0},
                                           timespec{0, UTIME_OMIT}};
    cr_assert_eq(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
    cr_assert_eq(::stat(path.c_str(), &after), 0);
    cr_expect_eq(after.st_atim.tv_sec, before.st_atim.tv_sec + 100);
    cr_expect(after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
              after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
}

Test(client_llm_d, its_evictor_removes_files_and_then_the_empty_directory) {
    std::filesystem::create_directories(mounted->path("r0/abc"));
    for (int i = 0; i < 30; ++i) write_file(mounted->path("r0/abc/" + std::to_string(i)), "x");
    for (const std::string& name : list_names(mounted->path("r0/abc")))
        cr_expect_eq(::unlink(mounted->path("r0/abc/" + name).c_str()), 0);
    cr_expect_eq(::rmdir(mounted->path("r0/abc").c_str()), 0);
}
