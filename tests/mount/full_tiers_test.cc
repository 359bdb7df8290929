// Two engines' worth of writers at full speed, and readers of what was written just before, while
// both tiers are full. KVFS_STRESS_SECONDS bounds how long, once the tiers have overflowed:
//     KVFS_SEED=n make unit STRESS_SECONDS=60 ARGS='--filter=full_tiers/*'
// A seed replays what the readers choose; who comes first is the machine's to say.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <span>
#include <thread>

#include "fs/base/clock.h"
#include "tests/support/client.h"
#include "tests/support/mounted.h"
#include "tools/block.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kBlock = 2 * kMiB;
constexpr unsigned kDramMiB = 64, kSsdMiB = 256;
/// Of the daemon's own, beside DRAM: README.md, "Using it".
constexpr unsigned kDaemonMiB = 100;
constexpr unsigned kSsdBlocks = kSsdMiB * kMiB / kBlock;
/// The tiers have overflowed twice over.
constexpr unsigned kBlocksMin = 2 * (kDramMiB + kSsdMiB) * kMiB / kBlock;
/// What was written or read so shortly ago cannot be what was used longest ago.
constexpr unsigned kYoung = kSsdBlocks / 2;
constexpr unsigned kBlocksMax = 1 << 20;

/// What the processes tell one another.
struct Progress {
    std::atomic<unsigned> next, read, missed;
    /// Which engine has given the block its name, plus 1.
    std::atomic<std::uint8_t> writer[kBlocksMax];
};
Progress* progress;

std::string engine_path(int engine) { return mounted->path("engine" + std::to_string(engine)); }

std::string block_name(int engine, unsigned block) {
    return engine_path(engine) + "/" + std::to_string(block) + ".kv";
}

void set_up() {
    mount_up_with(
        {.dram = std::to_string(kDramMiB) + "MiB", .ssd_size = std::to_string(kSsdMiB) + "MiB"});
    void* shared = ::mmap(nullptr, sizeof *progress, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(shared != MAP_FAILED);
    progress = static_cast<Progress*>(shared);  // zeros
    for (int engine : {0, 1}) cr_assert_eq(::mkdir(engine_path(engine).c_str(), 0755), 0);
}

bool goes_on(kvfs::Deadline end) {
    return (kvfs::Clock::now() < end || progress->next < kBlocksMin) && progress->next < kBlocksMax;
}

std::span<std::byte> bytes_of(PageBuffer& buffer) {
    return {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()};
}

/// As engines do: a temporary name, all bytes, close, rename.
bool write_blocks(int engine, kvfs::Deadline end) {
    PageBuffer bytes(kBlock);
    const std::string temporary = engine_path(engine) + "/block.tmp";
    while (goes_on(end)) {
        const unsigned block = progress->next++;
        kvfs::fill_block(block, bytes_of(bytes));
        const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        KVFS_HOLD(fd >= 0);
        KVFS_HOLD(::write(fd, bytes.data(), kBlock) == static_cast<ssize_t>(kBlock));
        KVFS_HOLD(::close(fd) == 0);
        KVFS_HOLD(std::rename(temporary.c_str(), block_name(engine, block).c_str()) == 0);
        progress->writer[block] = static_cast<std::uint8_t>(engine + 1);
    }
    return true;
}

/// A block that has its name is whole, or it is gone; and gone only when it is not young.
bool read_block(unsigned block, PageBuffer& bytes) {
    const int writer = progress->writer[block];
    if (writer == 0) return true;  // not yet
    const int fd = ::open(block_name(writer - 1, block).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        KVFS_HOLD(errno == ENOENT);
        KVFS_HOLD(progress->next - block > kYoung);
        ++progress->missed;
        return true;
    }
    const ssize_t got = ::read(fd, bytes.data(), kBlock);
    KVFS_HOLD(got == static_cast<ssize_t>(kBlock));
    KVFS_HOLD(!kvfs::find_mismatch(block, bytes_of(bytes)));
    KVFS_HOLD(::close(fd) == 0);
    ++progress->read;
    return true;
}

/// Of the last blocks mostly, and now and then of any.
bool read_blocks(unsigned seed, kvfs::Deadline end) {
    PageBuffer bytes(kBlock);
    std::mt19937 random(seed);
    while (goes_on(end)) {
        const unsigned written = progress->next;
        if (written == 0) continue;
        const unsigned range = random() % 16 == 0 ? written : std::min(written, kYoung / 2);
        if (!read_block(written - 1 - random() % range, bytes)) return false;
    }
    return true;
}

/// MiB of a line of the daemon's /proc/PID/status: the most it has ever had, for VmHWM.
unsigned daemon_mib(const std::string& line) {
    std::ifstream status("/proc/" + std::to_string(mounted->pid()) + "/status");
    std::string word;
    unsigned kib = 0;
    while (status >> word)
        if (word == line + ":") status >> kib;
    cr_assert_gt(kib, 0, "no %s", line.c_str());
    return kib / 1024;
}

}  // namespace

TestSuite(full_tiers, .init = set_up, .fini = mount_down, .timeout = 400);

Test(full_tiers, two_engines_write_at_full_speed_and_find_what_they_just_wrote) {
    const char* given = std::getenv("KVFS_STRESS_SECONDS");
    const int seconds = given != nullptr ? std::atoi(given) : 2;
    const kvfs::Deadline end = kvfs::deadline_after(std::chrono::seconds(seconds));
    const char* chosen = std::getenv("KVFS_SEED");
    const unsigned seed = chosen != nullptr
                              ? static_cast<unsigned>(std::strtoul(chosen, nullptr, 10))
                              : std::random_device()();

    in_two_processes([&](int engine) {
        bool reads = false;
        std::thread reader([&] { reads = read_blocks(seed + static_cast<unsigned>(engine), end); });
        const bool writes = write_blocks(engine, end);
        reader.join();
        return writes && reads;
    });

    const unsigned peak = daemon_mib("VmHWM"), own = daemon_mib("RssAnon");
    std::fprintf(
        stderr,
        "full_tiers: KVFS_SEED=%u: %u blocks of 2 MiB written, %u read, %u gone; the daemon: "
        "%u MiB at most, %u MiB of its own\n",
        seed, progress->next.load(), progress->read.load(), progress->missed.load(), peak, own);
#if !defined(__SANITIZE_ADDRESS__)  // which keeps what is freed
    cr_expect_leq(peak, kDramMiB + kDaemonMiB, "%u MiB", peak);
#endif
    PageBuffer bytes(kBlock);
    const unsigned read_before = progress->read;
    for (unsigned block = 0; block < progress->next; ++block)
        cr_expect(read_block(block, bytes), "block %u", block);
    const unsigned kept = progress->read - read_before;
    cr_expect_geq(kept, kSsdBlocks * 8 / 10, "%u blocks are left of %u", kept, kSsdBlocks);
    cr_expect_leq(kept, kSsdBlocks + kDramMiB * kMiB / kBlock);
}
