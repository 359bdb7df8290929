// What is in DRAM, read while a writer keeps both tiers evicting as fast as it can write.
#include <sys/xattr.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// Writes one file of 1 MiB after another while it lives.
class Writer {
  public:
    explicit Writer(std::string prefix)
        : thread_([this, prefix = std::move(prefix)] { run(prefix); }) {}
    ~Writer() {
        stopping_ = true;
        thread_.join();
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

  private:
    void run(const std::string& prefix) {
        constexpr std::uint64_t kNames = 8192;  // more than the tiers hold
        const Mapping content = touched_memory(kMiB);
        for (std::uint64_t i = 0; !stopping_; ++i)
            write_file(numbered(prefix, i % kNames), kMiB, content.bytes());
    }

    std::atomic<bool> stopping_ = false;
    std::thread thread_;
};

}  // namespace

void measure_storm(Bench& bench) {
    constexpr std::uint64_t kFileBytes = 8 * kMiB;
    const unsigned calls = bench.quick ? 5000 : 50'000;
    BenchDaemon& daemon = bench.machine.tight();
    const std::string hot = daemon.mount() + "/hot";
    const Mapping content = touched_memory(kMiB);
    write_file(hot, kFileBytes, content.bytes());
    if (::setxattr(hot.c_str(), "user.kvfs.pin", "1", 1, 0) != 0) throw Failure(errno_error(hot));
    for (std::uint64_t i = 0; i < daemon.ssd_bytes() / kMiB; ++i) {  // both tiers are full then
        write_file(numbered(daemon.mount() + "/storm", i), kMiB, content.bytes());
        check_interrupted();
    }
    const auto read = [&] { return read_pages(hot, kFileBytes, 1, calls); };
    bench.compare_many(
        {{"pread of 4 KiB in a storm of evictions, p50", "us", Better::kLower, {}, {}, "quiet"},
         {"  p99", "us", Better::kLower, {}, {}, "quiet", 0.5}},
        [&] {
            const Writer writer(daemon.mount() + "/storm");
            return read();
        },
        [&] {
            // What the writer wrote last is still on its way to SSD.
            std::this_thread::sleep_for(std::chrono::milliseconds(500));
            return read();
        });
    if (resident_bytes(hot) != kFileBytes)
        throw Failure("storm: the file left DRAM while it was measured");
}

}  // namespace kvfs
