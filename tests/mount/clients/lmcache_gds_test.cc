// LMCache's GDS back end where cuFile is not to be had: files made by ftruncate and a shared map,
// read through a private one.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kHeader = 4096;
constexpr std::size_t kPayload = 8 << 20;

std::string path_of(unsigned hash) {
    const std::string directory = mounted->path("ab/" + std::to_string(hash % 4));
    std::filesystem::create_directories(directory);
    return directory + "/model%40" + std::to_string(hash) + ".kvcache.safetensors";
}

bool save(unsigned hash, int rank) {
    const std::string tmp = path_of(hash) + ".tmp" + std::to_string(rank);
    const std::string bytes = pattern(kHeader + kPayload, hash);
    const int fd = ::open(tmp.c_str(), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);
    KVFS_HOLD(fd >= 0);
    KVFS_HOLD(::ftruncate(fd, static_cast<off_t>(bytes.size())) == 0);
    void* map = ::mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    KVFS_HOLD(map != MAP_FAILED);
    std::memcpy(map, bytes.data(), bytes.size());
    KVFS_HOLD(::munmap(map, bytes.size()) == 0);
    KVFS_HOLD(::close(fd) == 0);
    KVFS_HOLD(::rename(tmp.c_str(), path_of(hash).c_str()) == 0);
    return true;
}

bool load(unsigned hash) {
    const std::string bytes = pattern(kHeader + kPayload, hash);
    const int fd = ::open(path_of(hash).c_str(), O_RDONLY | O_NOATIME | O_CLOEXEC);
    KVFS_HOLD(fd >= 0);
    void* map = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    KVFS_HOLD(map != MAP_FAILED);
    const bool same = std::memcmp(map, bytes.data(), bytes.size()) == 0;
    ::munmap(map, bytes.size());
    ::close(fd);
    KVFS_HOLD(same);
    return true;
}

}  // namespace

TestSuite(client_lmcache_gds, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_lmcache_gds, two_workers_save_through_shared_maps_and_load_through_private_ones) {
    in_two_processes([](int rank) {
        for (unsigned hash = 0; hash < 3; ++hash) {
            KVFS_HOLD(save(hash, rank));
            KVFS_HOLD(load(hash));
        }
        return true;
    });
}
