// gpumap's host backend: bulk loads from DRAM against memcpy, and round trips to the daemon.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <ctime>
#include <thread>

#include "fs/base/clock.h"
#include "fs/base/fd.h"
#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kFileBytes = 32 * kMiB;
/// Threads that copy for gpumap's host backend: memcpy gets as many.
constexpr unsigned kHostBackendThreads = 2;

using Job = std::unique_ptr<gm_job, void (*)(gm_job*)>;

/// Files of the cache, opened by gpumap, and device memory to hold all of them.
class Loads {
  public:
    Loads(gm_ctx* context, const std::string& prefix, unsigned files)
        : context_(context), files_(files) {
        for (unsigned i = 0; i < files; ++i)
            expect_ok(gm_file_open(context, numbered(prefix, i).c_str(), 0, &files_[i], nullptr),
                      "gm_file_open");
        expect_ok(gm_device_alloc(context, files * kFileBytes, &memory_), "gm_device_alloc");
    }
    ~Loads() {
        for (gm_file* file : files_) gm_file_close(file);
        gm_device_free(context_, memory_);
    }
    Loads(const Loads&) = delete;
    Loads& operator=(const Loads&) = delete;

    gm_devptr memory() const { return memory_; }

    /// GB/s of loading everything as one job, in ranges of `range_bytes`.
    double load(std::uint64_t range_bytes) {
        const auto each = static_cast<std::uint32_t>(kFileBytes / range_bytes);
        std::vector<std::uint32_t> counts(files_.size(), each);
        std::vector<gm_range> ranges;
        for (std::uint64_t file = 0; file < files_.size(); ++file)
            for (std::uint64_t at = 0; at < kFileBytes; at += range_bytes)
                ranges.push_back({at, range_bytes, memory_ + file * kFileBytes + at, 0, 0});
        const double seconds = time_of([&] {
            gm_job* started = nullptr;
            expect_ok(gm_prefetch_many(context_, files_.data(), counts.data(),
                                       static_cast<std::uint32_t>(files_.size()), ranges.data(),
                                       nullptr, &started),
                      "gm_prefetch_many");
            const Job job(started, gm_job_free);
            expect_ok(gm_job_wait(started, GM_ALL_GROUPS, -1), "gm_prefetch_many");
        });
        return gb_per_s(files_.size() * kFileBytes, seconds);
    }

  private:
    gm_ctx* context_;
    std::vector<gm_file*> files_;
    gm_devptr memory_ = 0;
};

/// memcpy between the same kinds of memory: from a mapped memfd, as the arena is, into the memory
/// that gpumap loads into, which on the host backend is the process's own.
class Copies {
  public:
    Copies(gm_devptr into, std::uint64_t bytes) : into_(reinterpret_cast<std::byte*>(into)) {
        const UniqueFd fd(::memfd_create("kvfs-bench", MFD_CLOEXEC));
        if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
            throw Failure(errno_error("memfd"));
        Result<Mapping> from = Mapping::shared(fd.get(), bytes, PROT_READ | PROT_WRITE, true);
        if (!from) throw Failure(from.error());
        from_ = std::move(*from);
        std::memset(from_.data(), 1, bytes);
    }

    /// Threads take the next range when they are done with one, as gpumap's do.
    double copy(std::uint64_t range_bytes) {
        std::atomic<std::uint64_t> next = 0;
        const double seconds = time_of_threads(kHostBackendThreads, [&](unsigned) {
            for (std::uint64_t at = next.fetch_add(range_bytes); at < from_.size();
                 at = next.fetch_add(range_bytes))
                std::memcpy(into_ + at, from_.data() + at, range_bytes);
        });
        return gb_per_s(from_.size(), seconds);
    }

  private:
    Mapping from_;
    std::byte* into_;
};

/// Many small ranges of one file, no two of which can be moved as one: what a range costs, whatever
/// its bytes do. In CPU time of this process, all threads.
class SmallRanges {
  public:
    static constexpr std::uint32_t kRanges = 65536;
    static constexpr std::uint64_t kBytes = 8;
    static constexpr std::uint64_t kApart = 16;  ///< in the file
    static constexpr std::uint64_t kApartOnDevice = 24;

    SmallRanges(gm_ctx* context, const std::string& name) : context_(context) {
        expect_ok(gm_file_open(context, name.c_str(), 0, &file_, nullptr), "gm_file_open");
        expect_ok(gm_device_alloc(context, kRanges * kApartOnDevice, &memory_), "gm_device_alloc");
        for (std::uint64_t i = 0; i < kRanges; ++i)
            ranges_.push_back({i * kApart, kBytes, memory_ + i * kApartOnDevice, 0, 0});
    }
    ~SmallRanges() {
        gm_file_close(file_);
        gm_device_free(context_, memory_);
    }
    SmallRanges(const SmallRanges&) = delete;
    SmallRanges& operator=(const SmallRanges&) = delete;

    double load_ns() {
        return cpu_ns([&] {
            expect_ok(gm_prefetch(file_, ranges_.data(), kRanges, nullptr, nullptr), "gm_prefetch");
        });
    }
    double copy_ns(const std::byte* from) {
        auto* into = reinterpret_cast<std::byte*>(memory_);
        return cpu_ns([&] {
            for (std::uint64_t i = 0; i < kRanges; ++i)
                std::memcpy(into + i * kApartOnDevice, from + i * kApart, kBytes);
        });
    }

  private:
    template <typename Work>
    static double cpu_ns(Work work) {
        const auto now = [] {
            timespec time{};
            ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
            return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
        };
        const double start = now();
        work();
        return (now() - start) / kRanges;
    }

    gm_ctx* context_;
    gm_file* file_ = nullptr;
    gm_devptr memory_ = 0;
    std::vector<gm_range> ranges_;
};

/// A round trip of one small message over the daemon's kind of socket, to a thread that only
/// echoes.
class Echo {
  public:
    Echo() {
        std::array<int, 2> pair{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0)
            throw Failure(errno_error("socketpair"));
        ours_ = UniqueFd(pair[0]);
        theirs_ = UniqueFd(pair[1]);
        thread_ = std::thread([this] {
            std::array<char, 64> message{};
            while (::recv(theirs_.get(), message.data(), message.size(), 0) > 0)
                if (::send(theirs_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) return;
        });
    }
    ~Echo() {
        ::shutdown(ours_.get(), SHUT_RDWR);
        thread_.join();
    }
    Echo(const Echo&) = delete;
    Echo& operator=(const Echo&) = delete;

    void round_trip() {
        std::array<char, 64> message{};
        if (::send(ours_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0 ||
            ::recv(ours_.get(), message.data(), message.size(), 0) <= 0)
            throw Failure(errno_error("socket"));
    }

  private:
    UniqueFd ours_;
    UniqueFd theirs_;
    std::thread thread_;
};

BenchRow latency_row(const std::string& name) {
    return {name, "us", Better::kLower, {}, {}, "socket echo", 0};
}

}  // namespace

void measure_mapper(Bench& bench) {
    const unsigned files = bench.quick ? 8 : 16;
    BenchDaemon& daemon = bench.machine.roomy();
    const Mapping content = touched_memory(kMiB);
    const std::string path = daemon.mount() + "/load";
    for (unsigned i = 0; i < files; ++i) {
        write_file(numbered(path, i), kFileBytes, content.bytes());
        sync_file(numbered(path, i));
    }
    {
        Loads loads(daemon.mapper(), "load", files);
        Copies copies(loads.memory(), files * kFileBytes);
        for (const std::uint64_t range : {kMiB, 4 * kMiB, kFileBytes})
            bench.compare(
                {fmt::format("gpumap from DRAM, {} MiB ranges", range / kMiB),
                 "GB/s",
                 Better::kHigher,
                 {},
                 {},
                 "memcpy",
                 0.85},
                [&] { return loads.load(range); }, [&] { return copies.copy(range); });
    }
    {
        static_assert(SmallRanges::kRanges * SmallRanges::kApart == kMiB);
        SmallRanges small(daemon.mapper(), numbered("load", 0));
        bench.compare(
            {.name = "gpumap, CPU time of a range",
             .unit = "ns",
             .better = Better::kLower,
             .kvfs = {},
             .reference = {},
             .reference_name = "memcpy",
             .figure_goal = 50},
            [&] { return small.load_ns(); }, [&] { return small.copy_ns(content.data()); });
    }
    for (unsigned i = 0; i < files; ++i) remove_file(numbered(path, i));
}

void measure_leases(Bench& bench) {
    const unsigned calls = bench.quick ? 500 : 2000;
    BenchDaemon& daemon = bench.machine.roomy();
    gm_ctx* context = daemon.mapper();
    const Mapping content = touched_memory(kMiB);
    write_file(daemon.mount() + "/lease", kMiB, content.bytes());
    sync_file(daemon.mount() + "/lease");
    gm_devptr memory = 0;
    expect_ok(gm_device_alloc(context, 4096, &memory), "gm_device_alloc");
    const gm_range range{0, 4096, memory, 0, 0};
    gm_file* open_file = nullptr;
    expect_ok(gm_file_open(context, "lease", 0, &open_file, nullptr), "gm_file_open");
    Echo echo;
    const auto reference = [&] {
        return latencies_us(1, calls, [&](unsigned) { echo.round_trip(); });
    };

    bench.compare_many(
        {latency_row("file opened and closed, p50"), latency_row("  p99")},
        [&] {
            return latencies_us(1, calls, [&](unsigned) {
                gm_file* file = nullptr;
                expect_ok(gm_file_open(context, "lease", 0, &file, nullptr), "open");
                gm_file_close(file);
            });
        },
        reference);
    bench.compare_many(
        {latency_row("leased, 4 KiB loaded, released, p50"), latency_row("  p99")},
        [&] {
            return latencies_us(1, calls, [&](unsigned) {
                expect_ok(gm_prefetch(open_file, &range, 1, nullptr, nullptr), "load");
            });
        },
        reference);
    gm_file_close(open_file);
    gm_device_free(context, memory);
    remove_file(daemon.mount() + "/lease");
}

}  // namespace kvfs
