// UCM's posix store: shards written at offsets under a temporary name, renamed, read exactly; a
// probe of 4 KiB tells whether the storage is well.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kShard = 640 << 10;
constexpr std::size_t kShards = 8;

bool dump(const std::string& path, unsigned block) {
    const int fd = ::open((path + ".tmp").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    KVFS_HOLD(fd >= 0);
    for (std::size_t i = 0; i < kShards; ++i) {
        const std::size_t shard = i * 3 % kShards;  // as layers come off the device
        const std::string bytes = pattern(kShard, block * kShards + shard);
        KVFS_HOLD(::pwrite(fd, bytes.data(), kShard, static_cast<off_t>(shard * kShard)) ==
                  static_cast<ssize_t>(kShard));
    }
    KVFS_HOLD(::close(fd) == 0);
    KVFS_HOLD(::rename((path + ".tmp").c_str(), path.c_str()) == 0);
    return true;
}

bool load(const std::string& path, unsigned block) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    KVFS_HOLD(fd >= 0);
    std::string bytes(kShard, '\0');
    for (std::size_t shard = 0; shard < kShards; ++shard) {
        KVFS_HOLD(::pread(fd, bytes.data(), kShard, static_cast<off_t>(shard * kShard)) ==
                  static_cast<ssize_t>(kShard));
        KVFS_HOLD(bytes == pattern(kShard, block * kShards + shard));
    }
    ::close(fd);
    return true;
}

}  // namespace

TestSuite(client_ucm, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_ucm, two_workers_dump_shards_out_of_order_and_load_them) {
    std::filesystem::create_directory(mounted->path("data"));
    in_two_processes([](int rank) {
        for (unsigned i = 0; i < 5; ++i) {
            const unsigned block = 2 * i + static_cast<unsigned>(rank);
            const std::string path = mounted->path("data/" + std::to_string(block));
            KVFS_HOLD(dump(path, block));
            KVFS_HOLD(load(path, block));
        }
        return true;
    });
}

Test(client_ucm, the_health_probe_reads_back_what_it_wrote) {
    for (int i = 0; i < 50; ++i) {
        write_file(mounted->path("probe"), pattern(4096, i));
        cr_assert(read_file(mounted->path("probe")) == pattern(4096, i));
    }
}
