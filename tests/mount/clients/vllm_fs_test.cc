// vLLM's fs tier: a block a file, written once under a random temporary name and renamed; read by
// one readv, and deleted if that is short.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

// Llama-3.3-70B: 16 tokens, and 256.
constexpr std::size_t kSmall = 5 << 20;
constexpr std::size_t kLarge = 80 << 20;

std::string root() { return mounted->path("meta-llama_Llama-3.3-70B_0123456789ab"); }
std::string block_path(unsigned hash) {
    char name[64];
    std::snprintf(name, sizeof name, "_r0/%03x/%02x_g0/%016x.bin", hash % 4096, hash % 256, hash);
    return root() + name;
}

bool store(unsigned hash, std::size_t size, int rank) {
    const std::string to = block_path(hash);
    if (::access(to.c_str(), F_OK) == 0) return true;
    std::filesystem::create_directories(std::filesystem::path(to).parent_path());
    const std::string tmp = to + "_" + std::to_string(rank) + std::to_string(::random()) + ".tmp";
    PageBuffer bytes(pattern(size, hash));
    const int fd =
        ::open(tmp.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_TRUNC | O_DIRECT | O_CLOEXEC, 0644);
    KVFS_HOLD(fd >= 0);
    KVFS_HOLD(::fsetxattr(fd, "user.vllm.kv_crc32c", &hash, sizeof hash, 0) == 0);
    KVFS_HOLD(::write(fd, bytes.data(), size) == static_cast<ssize_t>(size));
    KVFS_HOLD(::close(fd) == 0);
    KVFS_HOLD(::rename(tmp.c_str(), to.c_str()) == 0);
    return true;
}

bool load(unsigned hash, std::size_t size) {
    PageBuffer into(size);
    const int fd = ::open(block_path(hash).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    KVFS_HOLD(fd >= 0);
    const std::size_t half = size / 2 / 4096 * 4096;
    const iovec pieces[] = {{into.data(), half}, {into.data() + half, size - half}};
    KVFS_HOLD(::readv(fd, pieces, 2) == static_cast<ssize_t>(size));
    ::close(fd);
    KVFS_HOLD(into.bytes() == pattern(size, hash));
    unsigned crc = 0;
    KVFS_HOLD(::getxattr(block_path(hash).c_str(), "user.vllm.kv_crc32c", &crc, sizeof crc) ==
              sizeof crc);
    KVFS_HOLD(crc == hash);
    return true;
}

void mount_roomy() { mount_up_with({.dram = "400MiB", .ssd_size = "1GiB"}); }

}  // namespace

TestSuite(client_vllm_fs, .init = mount_roomy, .fini = mount_down, .timeout = 120);

Test(client_vllm_fs, probes_direct_io) {
    PageBuffer page(4096);
    const std::string probe = mounted->path(".o_direct_probe_1.tmp");
    const int fd = ::open(probe.c_str(), O_CREAT | O_WRONLY | O_DIRECT, 0644);
    cr_assert_geq(fd, 0);
    cr_expect_eq(::write(fd, page.data(), 4096), 4096);
    ::close(fd);
    cr_expect_eq(::unlink(probe.c_str()), 0);
}

Test(client_vllm_fs, two_workers_store_the_same_blocks_and_load_them) {
    std::filesystem::create_directories(root());
    write_file(root() + "/config.json", "{}");
    in_two_processes([](int rank) {
        ::srandom(static_cast<unsigned>(rank));
        for (unsigned hash = 1; hash <= 12; ++hash) KVFS_HOLD(store(hash, kSmall, rank));
        for (unsigned hash = 1; hash <= 12; ++hash) KVFS_HOLD(load(hash, kSmall));
        // A prompt asks for far more keys than there are.
        for (unsigned hash = 13; hash <= 3600; ++hash)
            KVFS_HOLD(::access(block_path(hash).c_str(), F_OK) == -1 && errno == ENOENT);
        return true;
    });
}

Test(client_vllm_fs, a_block_of_80_MiB_goes_in_one_call_each_way) {
    cr_assert(store(1, kLarge, 0));
    cr_expect(load(1, kLarge));
}
