// What is a matter of microseconds: one hot range, the first group of many, and the processor's
// work for a descriptor.
#include <time.h>

#include <algorithm>
#include <cstdlib>

#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/block.h"
#include "tools/replay_run.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

BenchRow microseconds(const std::string& name, double goal = 0) {
    return {name, "us", Better::kLower, {}, {}, "", 0, goal};
}

/// p50 and p99 of `us`, which gets sorted, into the rows.
void add_percentiles(std::vector<double>& us, BenchRow& p50, BenchRow& p99) {
    std::sort(us.begin(), us.end());
    p50.kvfs.values.push_back(percentile(us, 50));
    p99.kvfs.values.push_back(percentile(us, 99));
}

void measure_hot_range(Session& session, const FileSet& file, std::uint64_t bytes,
                       const DeviceMemory& memory) {
    const bool usual = bytes == 64 << 10;
    const std::string name = "hot range of " + size_text(bytes);
    BenchRow p50 = microseconds(name + ": call to stream may proceed, p50", usual ? 30 : 0);
    BenchRow p99 = microseconds("  p99");
    BenchRow call = microseconds("  of that in gm_prefetch, p50", usual ? 8 : 0);
    BenchRow call99 = microseconds("    p99");
    const RawGpu& gpu = RawGpu::get();
    const RawStream stream;
    const PinnedMemory host(bytes);
    const gm_range range{0, bytes, memory.at(), 0, 0};
    for (int round = -1; round < session.scale.rounds; ++round) {
        std::vector<double> whole, in_call, raw;
        for (unsigned i = 0; i < session.scale.calls; ++i) {
            gm_job* job = nullptr;
            whole.push_back(
                1e6 * time_of([&] {
                    in_call.push_back(1e6 * time_of([&] {
                                          expect_ok(
                                              gm_prefetch(file.file(0), &range, 1, nullptr, &job),
                                              "gm_prefetch");
                                      }));
                    expect_ok(gm_job_wait_stream(job, 0, stream.handle(), 0), "gm_job_wait_stream");
                    stream.sync();
                }));
            gm_job_free(job);
            raw.push_back(1e6 * time_of([&] {
                              gpu.expect("cuMemcpyHtoDAsync",
                                         gpu.cuMemcpyHtoDAsync(memory.at(bytes), host.data(), bytes,
                                                               stream.get()));
                              stream.sync();
                          }));
        }
        if (round < 0) continue;
        add_percentiles(whole, p50, p99);
        add_percentiles(in_call, call, call99);
        std::sort(raw.begin(), raw.end());
        p50.reference.values.push_back(percentile(raw, 50));
        p99.reference.values.push_back(percentile(raw, 99));
    }
    p50.reference_name = p99.reference_name = "raw copy and sync";
    for (const BenchRow* row : {&p50, &p99, &call, &call99}) session.tell(*row);
}

/// Of 32 groups, as the layers of a prompt: how soon the first is there.
void measure_first_group(Session& session, const FileSet& file, const DeviceMemory& memory) {
    constexpr std::uint32_t kGroups = 32;
    const std::uint64_t each = file.file_bytes() / kGroups;
    std::vector<gm_range> ranges;
    for (std::uint32_t i = 0; i < kGroups; ++i)
        ranges.push_back({i * each, each, memory.at(i * each), i, 0});
    BenchRow first = microseconds("first of 32 groups, beyond a 32nd of the whole", 200);
    for (int round = -1; round < session.scale.rounds; ++round) {
        gm_job* job = nullptr;
        double until_first = 0;
        const double whole = time_of([&] {
            until_first = time_of([&] {
                expect_ok(gm_prefetch(file.file(0), ranges.data(), kGroups, nullptr, &job), "load");
                expect_ok(gm_job_wait(job, 0, -1), "gm_job_wait");
            });
            expect_ok(gm_job_wait(job, GM_ALL_GROUPS, -1), "gm_job_wait");
        });
        gm_job_free(job);
        if (round >= 0)
            first.kvfs.values.push_back(std::max(1e6 * (until_first - whole / kGroups), 0.001));
    }
    session.tell(first);
}

/// What an engine waits for before its first byte: the context, and the registration of the memory
/// that its first load is from.
void measure_opening(Session& session, const Content& content) {
    const std::uint64_t bytes = session.scale.sweep_bytes;
    BenchRow open{"gm_open", "ms", Better::kLower, {}, {}, "", 0};
    BenchRow first{"  first load, which registers " + size_text(bytes) + " or more",
                   "ms",
                   Better::kLower,
                   {},
                   {},
                   "the same load again",
                   0};
    const DeviceMemory memory(bytes);
    for (int round = 0; round < session.scale.rounds; ++round) {
        std::unique_ptr<Mapper> mapper;
        open.kvfs.values.push_back(
            1e3 * time_of([&] { mapper = std::make_unique<Mapper>(session.daemons.roomy); }));
        const FileSet file(*mapper, "latency", 1, bytes, content);
        first.kvfs.values.push_back(1e3 * time_of([&] { file.load_all(memory.at()); }));
        first.reference.values.push_back(1e3 * time_of([&] { file.load_all(memory.at()); }));
    }
    session.tell(open);
    session.tell(first);
}

double cpu_seconds(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// The whole process's work for each of many pieces apart.
void measure_pieces(Session& session, gm_file* file, std::uint64_t file_bytes, std::uint64_t piece,
                    const std::string& method) {
    std::vector<gm_range> ranges;
    constexpr gm_devptr kAnywhere = 1ULL << 40;  // nothing is copied
    for (std::uint64_t at = 0; at + piece <= file_bytes; at += piece)
        ranges.push_back({at, piece, kAnywhere + 2 * at, 0, 0});
    const auto n = static_cast<std::uint32_t>(ranges.size());
    const std::string name = std::to_string(n) + " pieces of " + size_text(piece) + " by " + method;
    BenchRow all{name + ": processor time, a piece", "ns", Better::kLower, {}, {}, "", 0, 50};
    BenchRow call{"  of that in the calling thread", "ns", Better::kLower, {}, {}, "", 0};
    for (int round = -1; round < 3 * session.scale.rounds; ++round) {
        const double thread = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
        const double process = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
        expect_ok(gm_prefetch(file, ranges.data(), n, nullptr, nullptr), "gm_prefetch");
        if (round < 0) continue;
        all.kvfs.values.push_back(1e9 * (cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - process) / n);
        call.kvfs.values.push_back(1e9 * (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - thread) / n);
    }
    session.tell(all);
    session.tell(call);
}

}  // namespace

void measure_latency(Session& session) {
    const Mapper mapper(session.daemons.roomy);
    const std::uint64_t bytes = session.scale.sweep_bytes;
    const Content content(bytes, session.seed);
    const FileSet file(mapper, "latency", 1, bytes, content);
    const DeviceMemory memory(bytes);
    for (const std::uint64_t range : {4ULL << 10, 64ULL << 10, 1ULL << 20})
        measure_hot_range(session, file, range, memory);
    measure_first_group(session, file, memory);
    measure_opening(session, content);
}

/// libgpumap over a driver that does nothing: what is left is its own work.
void measure_descriptors(Session& session) {
    const std::string path = "descriptors/0.kv";
    const std::uint64_t bytes = session.scale.sweep_bytes;
    {
        const Mapper host(session.daemons.roomy, "", GM_BACKEND_HOST);
        const Content content(bytes, session.seed);
        save_whole(host, path, reinterpret_cast<gm_devptr>(content.of(0, bytes).data()), bytes);
    }
    const char* idle = std::getenv("KVFS_GPU_CHECK_IDLE");
    if (idle == nullptr || *idle == '\0') throw Failure("KVFS_GPU_CHECK_IDLE is not set");
    ::setenv("KVFS_LIBCUDA", idle, 1);
    for (const std::string method : {"batch", "stage"}) {
        const Mapper mapper(session.daemons.roomy, "few=1,small=65536,method=" + method);
        gm_file* file = nullptr;
        expect_ok(gm_file_open(mapper, path.c_str(), 0, &file, nullptr), "gm_file_open");
        for (const std::uint64_t piece : {4ULL << 10, 32ULL << 10})
            measure_pieces(session, file, bytes, piece, method);
        gm_file_close(file);
    }
}

}  // namespace kvfs::gpu_check
