// Files that are on SSD only, against io_uring O_DIRECT reads of the same objects.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>

#include "fs/base/fd.h"
#include "fs/io/ring.h"
#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kFileBytes = 32 * kMiB;
/// The best of those tried (256 KiB to 4 MiB, 4 to 64 at a time): the reference is to be hard to
/// reach.
constexpr std::uint64_t kRawPiece = 512 << 10;
constexpr unsigned kRawDepth = 64;

/// A file of the cache, and the object that has its bytes.
struct ColdFile {
    std::string name;
    std::string path;
    std::string object;
};

/// Twice as many files as DRAM holds, and enough for both rows that fill DRAM, so that reading
/// files in turn finds none of them there.
std::vector<ColdFile> make_cold_files(BenchDaemon& daemon, int rounds) {
    const auto reads = 2 * static_cast<std::uint64_t>(rounds + 1);
    const std::uint64_t count = std::max(2 * BenchMachine::kTightDramBytes / kFileBytes, reads) + 2;
    const Mapping content = touched_memory(kMiB);
    std::vector<ColdFile> files;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string name = numbered("cold", i);
        files.push_back({name, daemon.mount() + "/" + name, {}});
        write_file(files.back().path, kFileBytes, content.bytes());
        sync_file(files.back().path);
        check_interrupted();
    }
    const std::map<std::uint64_t, std::string> objects = daemon.objects();
    for (ColdFile& file : files) {
        struct stat status {};
        if (::stat(file.path.c_str(), &status) != 0) throw Failure(errno_error(file.path));
        const auto object = objects.find(status.st_ino);
        if (object == objects.end()) throw Failure(file.path + ": no object of it on SSD");
        file.object = object->second;
    }
    return files;
}

/// Reads a whole file past the page cache, as fast as an io_uring lets it.
class RawReader {
  public:
    RawReader() : buffer_(touched_memory(kFileBytes)) {
        Result<std::unique_ptr<Ring>> ring = Ring::create({kRawDepth});
        if (!ring) throw Failure(ring.error());
        ring_ = std::move(*ring);
        // Without it the kernel pins pages for each read; slower, not wrong.
        (void)ring_->register_region(buffer_.bytes());
    }

    double read(const std::string& path) {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        if (!fd) throw Failure(errno_error(path));
        const double seconds = time_of([&] {
            std::atomic<std::uint64_t> left = kFileBytes / kRawPiece;
            std::atomic<bool> failed = false;
            std::promise<void> done;
            for (std::uint64_t at = 0; at < kFileBytes; at += kRawPiece)
                ring_->read(fd.get(), buffer_.bytes().subspan(at, kRawPiece), at,
                            [&](std::int64_t result) {
                                if (result != static_cast<std::int64_t>(kRawPiece)) failed = true;
                                if (--left == 0) done.set_value();
                            });
            done.get_future().wait();
            if (failed) throw Failure(path + ": read failed");
        });
        return gb_per_s(kFileBytes, seconds);
    }

  private:
    Mapping buffer_;
    std::unique_ptr<Ring> ring_;
};

void expect_cold(const ColdFile& file) {
    const std::uint64_t resident = resident_bytes(file.path);
    if (resident > 0)
        throw Failure(fmt::format("{}: {} bytes are in DRAM, so this would not be a cold read",
                                  file.path, resident));
}

double read_through_mount(const ColdFile& file, std::span<std::byte> buffer) {
    expect_cold(file);
    return gb_per_s(kFileBytes, time_of([&] { read_file(file.path, buffer); }));
}

double read_by_mapper(gm_ctx* context, const ColdFile& file, gm_devptr memory) {
    expect_cold(file);
    const gm_range range{0, kFileBytes, memory, 0, 0};
    return gb_per_s(kFileBytes, time_of([&] {
                        gm_file* opened = nullptr;
                        expect_ok(gm_file_open(context, file.name.c_str(), 0, &opened, nullptr),
                                  "gm_file_open");
                        const gm_status status = gm_prefetch(opened, &range, 1, nullptr, nullptr);
                        gm_file_close(opened);
                        expect_ok(status, "gm_prefetch");
                    }));
}

BenchRow cold_row(const std::string& name, double goal) {
    return {name, "GB/s", Better::kHigher, {}, {}, "raw io_uring", goal};
}

}  // namespace

void measure_ssd(Bench& bench) {
    BenchDaemon& daemon = bench.machine.tight();
    const std::vector<ColdFile> files = make_cold_files(daemon, bench.rounds);
    RawReader raw;
    std::size_t next = 0;
    // Both sides read the same file, so that what lies below the device's name treats them alike.
    const auto current = [&]() -> const ColdFile& { return files[next / 2 % files.size()]; };
    const auto by_turns = [&](const std::function<double(const ColdFile&)>& read) {
        return [&, read] {
            const double value = read(current());
            ++next;
            return value;
        };
    };
    const auto reference = by_turns([&](const ColdFile& file) { return raw.read(file.object); });
    for (const std::uint64_t request : {kMiB, 4 * kMiB}) {
        Mapping buffer = touched_memory(request);
        bench.compare(
            cold_row(fmt::format("cold read through the mount, {} MiB requests", request / kMiB),
                     0.95),
            by_turns(
                [&](const ColdFile& file) { return read_through_mount(file, buffer.bytes()); }),
            reference);
    }
    gm_devptr memory = 0;
    expect_ok(gm_device_alloc(daemon.mapper(), kFileBytes, &memory), "gm_device_alloc");
    bench.compare(cold_row("cold load by gpumap", 0.85), by_turns([&](const ColdFile& file) {
                      return read_by_mapper(daemon.mapper(), file, memory);
                  }),
                  reference);
    gm_device_free(daemon.mapper(), memory);
}

}  // namespace kvfs
