// Bulk and small files through the mount, against tmpfs.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/block.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

struct Shape {
    std::size_t request_bytes;
    unsigned threads;
};
constexpr std::array<Shape, 4> kShapes{{{kMiB, 1}, {4 * kMiB, 1}, {kMiB, 2}, {4 * kMiB, 2}}};

std::string count_of(unsigned threads) {
    return fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
}

std::string row_name(const char* what, const Shape& shape) {
    return fmt::format("{}, {} MiB requests, {}", what, shape.request_bytes / kMiB,
                       count_of(shape.threads));
}

/// GB/s of reading files PREFIX0.., twice over; file i is read by thread i % threads.
double read_files(const std::string& prefix, unsigned files, const Shape& shape) {
    std::vector<Mapping> buffers;
    for (unsigned i = 0; i < shape.threads; ++i)
        buffers.push_back(touched_memory(shape.request_bytes));
    std::vector<std::uint64_t> bytes(shape.threads);
    const double seconds = time_of_threads(shape.threads, [&](unsigned thread) {
        for (unsigned pass = 0; pass < 2; ++pass)
            for (unsigned i = thread; i < files; i += shape.threads)
                bytes[thread] += read_file(numbered(prefix, i), buffers[thread].bytes());
    });
    std::uint64_t total = 0;
    for (const std::uint64_t part : bytes) total += part;
    return gb_per_s(total, seconds);
}

/// GB/s of making files PREFIX0.., create and close included. They are gone afterwards; what kvfs
/// does with them in the background has ended, too, so that it does not burden the other side.
double write_files(const std::string& prefix, unsigned files, std::uint64_t file_bytes,
                   const Shape& shape) {
    const Mapping buffer = touched_memory(shape.request_bytes);
    const double seconds = time_of_threads(shape.threads, [&](unsigned thread) {
        for (unsigned i = thread; i < files; i += shape.threads)
            write_file(numbered(prefix, i), file_bytes, buffer.bytes());
    });
    for (unsigned i = 0; i < files; ++i) {
        sync_file(numbered(prefix, i));
        remove_file(numbered(prefix, i));
    }
    return gb_per_s(files * file_bytes, seconds);
}

double read_whole_files(const std::string& prefix, unsigned files, std::span<std::byte> buffer) {
    const double seconds = time_of([&] {
        for (unsigned i = 0; i < files; ++i) read_file(numbered(prefix, i), buffer);
    });
    return files / seconds;
}

/// Files a second made, and removed.
std::vector<double> make_and_remove(const std::string& prefix, unsigned files,
                                    std::span<const std::byte> bytes) {
    const double making = time_of([&] {
        for (unsigned i = 0; i < files; ++i) write_file(numbered(prefix, i), bytes.size(), bytes);
    });
    const double removing = time_of([&] {
        for (unsigned i = 0; i < files; ++i) remove_file(numbered(prefix, i));
    });
    return {files / making, files / removing};
}

}  // namespace

void measure_reads(Bench& bench) {
    const unsigned files = 4;
    const std::uint64_t file_bytes = (bench.quick ? 32 : 64) * kMiB;
    const std::string ours = bench.machine.roomy().mount() + "/read";
    const std::string theirs = bench.machine.tmpfs() + "/read";
    const Mapping content = touched_memory(kMiB);
    for (const std::string& prefix : {ours, theirs})
        for (unsigned i = 0; i < files; ++i)
            write_file(numbered(prefix, i), file_bytes, content.bytes());
    for (unsigned i = 0; i < files; ++i) sync_file(numbered(ours, i));
    for (const Shape& shape : kShapes) {
        bench.compare(
            {row_name("read", shape), "GB/s", Better::kHigher, {}, {}, "tmpfs", 0.75},
            [&] { return read_files(ours, files, shape); },
            [&] { return read_files(theirs, files, shape); });
        if (resident_bytes(numbered(ours, 0)) != file_bytes)
            throw Failure("read: the files left DRAM while they were measured");
    }
    for (const std::string& prefix : {ours, theirs})
        for (unsigned i = 0; i < files; ++i) remove_file(numbered(prefix, i));
}

void measure_writes(Bench& bench) {
    const unsigned files = bench.quick ? 2 : 4;
    const std::uint64_t file_bytes = 32 * kMiB;
    const std::string ours = bench.machine.roomy().mount() + "/write";
    const std::string theirs = bench.machine.tmpfs() + "/write";
    for (const Shape& shape : kShapes)
        bench.compare(
            {row_name("write", shape), "GB/s", Better::kHigher, {}, {}, "tmpfs", 1.1},
            [&] { return write_files(ours, files, file_bytes, shape); },
            [&] { return write_files(theirs, files, file_bytes, shape); });
}

void measure_random_reads(Bench& bench) {
    constexpr std::uint64_t kFileBytes = 64 * kMiB;
    const unsigned calls = bench.quick ? 2000 : 10'000;
    const std::string ours = bench.machine.roomy().mount() + "/random";
    const std::string theirs = bench.machine.tmpfs() + "/random";
    const Mapping content = touched_memory(kMiB);
    for (const std::string& path : {ours, theirs}) write_file(path, kFileBytes, content.bytes());
    sync_file(ours);
    for (const unsigned threads : {1u, 2u}) {
        const std::string name =
            fmt::format("pread of 4 KiB at random, {}, p50", count_of(threads));
        BenchRow p50{name, "us", Better::kLower, {}, {}, "tmpfs"};
        BenchRow p99{"  p99", "us", Better::kLower, {}, {}, "tmpfs"};
        if (threads == 1) {
            p50.figure_goal = 8;
            p99.figure_goal = 40;
        }
        bench.compare_many(
            {p50, p99}, [&] { return read_pages(ours, kFileBytes, threads, calls); },
            [&] { return read_pages(theirs, kFileBytes, threads, calls); });
    }
    if (resident_bytes(ours) != kFileBytes)
        throw Failure("random: the file left DRAM while it was measured");
    for (const std::string& path : {ours, theirs}) remove_file(path);
}

void measure_small_files(Bench& bench) {
    const std::string ours = bench.machine.roomy().mount() + "/small";
    const std::string theirs = bench.machine.tmpfs() + "/small";
    const Mapping mebibyte = touched_memory(kMiB);
    const unsigned read = bench.quick ? 64 : 128;
    for (const std::string& prefix : {ours, theirs})
        for (unsigned i = 0; i < read; ++i) write_file(numbered(prefix, i), kMiB, mebibyte.bytes());
    for (unsigned i = 0; i < read; ++i) sync_file(numbered(ours, i));
    Mapping buffer = touched_memory(kMiB);
    bench.compare(
        {"open, read 1 MiB, close", "files/s", Better::kHigher, {}, {}, "tmpfs", 0.55},
        [&] { return read_whole_files(ours, read, buffer.bytes()); },
        [&] { return read_whole_files(theirs, read, buffer.bytes()); });
    for (const std::string& prefix : {ours, theirs})
        for (unsigned i = 0; i < read; ++i) remove_file(numbered(prefix, i));

    const unsigned made = bench.quick ? 200 : 500;
    const Mapping bytes = touched_memory(64 << 10);
    bench.compare_many(
        {{"create, write 64 KiB, close", "files/s", Better::kHigher, {}, {}, "tmpfs", 0},
         {"unlink", "files/s", Better::kHigher, {}, {}, "tmpfs", 0}},
        [&] { return make_and_remove(ours, made, bytes.bytes()); },
        [&] { return make_and_remove(theirs, made, bytes.bytes()); });
}

}  // namespace kvfs
