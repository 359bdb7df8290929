// Dynamo KVBM's disk tier: one unlinked file of the whole tier's size, allocated at once, read and
// written by blocks at page-aligned offsets for as long as the engine lives.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <random>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kBlock = 2 << 20;
constexpr std::size_t kBlocks = 64;  // twice the DRAM tier

void mount_small() { mount_up_with({.dram = "64MiB", .ssd_size = "512MiB"}); }

int make_tier() {
    std::string name = mounted->path("dynamo-kvbm-disk-cache-XXXXXX");
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_DIRECT), 0);
    cr_assert_eq(::fallocate(fd, 0, 0, kBlock * kBlocks), 0, "%s", std::strerror(errno));
    cr_assert_eq(::unlink(name.c_str()), 0);
    return fd;
}

}  // namespace

TestSuite(client_kvbm, .init = mount_small, .fini = mount_down, .timeout = 120);

Test(client_kvbm, one_unlinked_file_is_the_tier) {
    const int fd = make_tier();
    in_two_processes([fd](int rank) {
        std::mt19937 random(static_cast<unsigned>(rank));
        for (unsigned step = 0; step < 40; ++step) {
            // Each has half of the blocks.
            const unsigned block = random() % (kBlocks / 2) * 2 + static_cast<unsigned>(rank);
            const auto at = static_cast<off_t>(block * kBlock);
            PageBuffer bytes(pattern(kBlock, step * 2 + static_cast<unsigned>(rank)));
            KVFS_HOLD(::pwrite(fd, bytes.data(), kBlock, at) == static_cast<ssize_t>(kBlock));
            PageBuffer again(kBlock);
            KVFS_HOLD(::pread(fd, again.data(), kBlock, at) == static_cast<ssize_t>(kBlock));
            KVFS_HOLD(again.bytes() == bytes.bytes());
        }
        return true;
    });
    ::close(fd);
}
