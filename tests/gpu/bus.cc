// What the bus can do without libgpumap, and with it in both directions at a time.
#include <algorithm>
#include <thread>

#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

constexpr double kSlowBus = 45;  ///< GB/s; an H100's has 55

BenchRow raw_row(const std::string& name) { return {name, "GB/s", Better::kHigher, {}, {}, "", 0}; }

}  // namespace

void measure_raw(Session& session) {
    RawCopies raw(session.scale.raw_bytes);
    BenchRow in = raw_row("raw copy of " + size_text(session.scale.raw_bytes) + ", to the device");
    for (int round = -1; round < session.scale.rounds; ++round) {
        const double value = raw.in();
        if (round >= 0) in.kvfs.values.push_back(value);
    }
    session.tell(in);
    if (in.kvfs.median() < kSlowBus)
        session.tell("slow bus",
                     "below 45 GB/s to the device: a virtual machine, an IOMMU, or "
                     "another bus than an H100's");
    session.compare(raw_row("  from the device"), [&] { return raw.out(); }, {});
    BenchRow both = raw_row("  both at a time, sum");
    both.reference_name = "to the device alone";
    session.compare(
        both, [&] { return raw.both(); }, [&] { return raw.in(); });
}

/// Loads and saves of 2 MiB blocks, apart and at a time.
void measure_directions(Session& session) {
    const std::uint64_t block = std::min<std::uint64_t>(2 << 20, session.scale.sweep_bytes / 2);
    const std::uint64_t bytes = session.scale.sweep_bytes;
    const auto blocks = static_cast<std::uint32_t>(bytes / block);
    const Content content(bytes, session.seed);
    const Mapper mapper(session.daemons.roomy);
    const FileSet files(mapper, "directions", 1, bytes, content);
    const DeviceMemory in(2 * bytes), out(2 * bytes);
    out.fill(0x11);
    RawCopies raw(session.scale.raw_bytes);

    gm_file* draft = nullptr;
    std::uint64_t size = bytes;
    expect_ok(gm_file_open(mapper, "directions/saved", GM_CREATE, &draft, &size), "gm_file_open");
    std::vector<gm_range> loads, saves;
    for (std::uint64_t i = 0; i < blocks; ++i) {
        // Scattered: every second block of device memory, in another order than in the file (their
        // number is a power of two).
        const std::uint64_t there = 2 * ((i * 7 + 3) % blocks) * block;
        loads.push_back({i * block, block, in.at(there), 0, 0});
        saves.push_back({i * block, block, out.at(there), 0, 0});
    }
    const auto load = [&] {
        return time_of([&] {
            expect_ok(gm_prefetch(files.file(0), loads.data(), blocks, nullptr, nullptr), "load");
        });
    };
    const auto save = [&] {
        return time_of(
            [&] { expect_ok(gm_save(draft, saves.data(), blocks, nullptr, nullptr), "save"); });
    };
    session.compare(
        copy_row("2 MiB blocks to the device", 0.95), [&] { return gb_per_s(bytes, load()); },
        [&] { return raw.in(); });
    session.compare(
        copy_row("2 MiB blocks from the device", 0.95), [&] { return gb_per_s(bytes, save()); },
        [&] { return raw.out(); });
    BenchRow both = copy_row("2 MiB blocks both ways at a time, sum", 1.5);
    both.reference_name = "raw copy one way";
    session.compare(
        both,
        [&] {
            // Each goes on until both have run long enough to overlap for most of it.
            const double seconds = time_of([&] {
                gm_job* job = nullptr;
                std::vector<gm_job*> jobs;
                for (int i = 0; i < 3; ++i) {
                    expect_ok(gm_prefetch(files.file(0), loads.data(), blocks, nullptr, &job),
                              "load");
                    jobs.push_back(job);
                    expect_ok(gm_save(draft, saves.data(), blocks, nullptr, &job), "save");
                    jobs.push_back(job);
                }
                for (gm_job* one : jobs) {
                    expect_ok(gm_job_wait(one, GM_ALL_GROUPS, -1), "job");
                    gm_job_free(one);
                }
            });
            return gb_per_s(6 * bytes, seconds);
        },
        [&] { return raw.in(); });
    gm_file_close(draft);
}

/// Batches of more and more copies: one driver crashed with 51,828 of them, and hung when such were
/// submitted again and again. It takes this section down with it, and no other.
void measure_batch_sizes(Session& session) {
    const RawGpu& gpu = RawGpu::get();
    if (gpu.batch_of_13000 == nullptr && gpu.batch_of_12080 == nullptr)
        return session.tell("batches", "this driver has none");
    constexpr std::uint64_t kPiece = 16 << 10;
    const bool few = session.scale.calls < 100;
    const std::vector<std::size_t> counts =
        few ? std::vector<std::size_t>{256, 1024}
            : std::vector<std::size_t>{256, 1024, 4096, 8192, 16'384, 51'828};
    const std::uint64_t bytes = counts.back() * kPiece;
    const PinnedMemory host(bytes);
    const DeviceMemory device(2 * bytes);
    const RawStream stream;
    for (const std::size_t count : counts) {
        std::vector<cuda::DevicePointer> to(count), from(count);
        std::vector<std::size_t> sizes(count, kPiece);
        for (std::size_t i = 0; i < count; ++i) {
            to[i] = device.at(2 * i * kPiece);
            from[i] = reinterpret_cast<cuda::DevicePointer>(host.data()) + i * kPiece;
        }
        const std::string name = std::to_string(count) + " copies of 16 KiB in a batch";
        session.tell("next", name + ", 20 times");
        BenchRow call{name + ": in the call, a copy", "us", Better::kLower, {}, {}, "", 0};
        BenchRow speed{name, "GB/s", Better::kHigher, {}, {}, "", 0};
        for (int round = 0; round < 20; ++round) {
            double in_call = 0;
            const double seconds = time_of([&] {
                in_call = time_of([&] {
                    gpu.expect("cuMemcpyBatchAsync", gpu.batch(to.data(), from.data(), sizes.data(),
                                                               count, true, stream.get()));
                });
                stream.sync();
            });
            if (round == 0) continue;
            call.kvfs.values.push_back(1e6 * in_call / static_cast<double>(count));
            speed.kvfs.values.push_back(gb_per_s(count * kPiece, seconds));
        }
        session.tell(call);
        session.tell(speed);
    }
}

}  // namespace kvfs::gpu_check
