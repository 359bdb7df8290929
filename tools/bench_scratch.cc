// Scratch files: one in a scratch directory, which the kernel serves, and one that was sized before
// it was written, as engines make their block files, which kvfsd serves. O_DIRECT reads and writes,
// against the same of a plain file beside the SSD directory.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>

#include "fs/io/ring.h"
#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/block.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
/// Beyond a quarter of DRAM, and so from its birth on SSD.
constexpr std::uint64_t kFileBytes = 256 * kMiB;
static_assert(kFileBytes > BenchMachine::kTightDramBytes / 4);

struct Transfers {
    const char* name;
    std::size_t bytes;  ///< of one
    bool random;        ///< else from the start on
    bool write;
    unsigned depth;  ///< under way at a time; 1: pread and pwrite
};

/// A file that is whole on its disk, opened past the page cache.
class DirectFile {
  public:
    explicit DirectFile(const std::string& path)
        : path_(path), buffer_(touched_memory(kMaxDepth * kMiB)) {
        fd_ = open_file(path, O_RDWR | O_CREAT | O_DIRECT);
        if (::fallocate(fd_.get(), 0, 0, static_cast<off_t>(kFileBytes)) != 0)
            throw Failure(errno_error(path));
        // The first write of a block costs a file system more than those after it.
        for (std::uint64_t at = 0; at < kFileBytes; at += kMiB)
            transfer({"fill", kMiB, false, true, 1}, at);
        sync();
    }
    ~DirectFile() { ::unlink(path_.c_str()); }
    DirectFile(const DirectFile&) = delete;
    DirectFile& operator=(const DirectFile&) = delete;

    /// Seconds that `count` of them take; of writes, until a sync of the file has ended.
    double time(const Transfers& what, unsigned count) {
        return time_of([&] {
            if (what.depth > 1)
                transfer_queued(what, count);
            else
                for (unsigned i = 0; i < count; ++i) transfer(what, place(what, i));
            if (what.write) sync();
        });
    }

    void sync() {
        if (::fdatasync(fd_.get()) != 0) throw Failure(errno_error(path_));
    }

  private:
    static constexpr unsigned kMaxDepth = 8;

    std::uint64_t place(const Transfers& what, unsigned i) {
        const std::uint64_t places = kFileBytes / what.bytes;
        // Another place each time: nobody below gets to know them.
        return (what.random ? mix(1, random_++) : i) % places * what.bytes;
    }

    void transfer(const Transfers& what, std::uint64_t at) {
        const auto offset = static_cast<off_t>(at);
        const ssize_t done = what.write ? ::pwrite(fd_.get(), buffer_.data(), what.bytes, offset)
                                        : ::pread(fd_.get(), buffer_.data(), what.bytes, offset);
        if (done != static_cast<ssize_t>(what.bytes)) throw Failure(errno_error(path_));
    }

    /// `depth` chains of transfers, each of which starts its next when one is done.
    void transfer_queued(const Transfers& what, unsigned count) {
        if (!ring_) {
            Result<std::unique_ptr<Ring>> made = Ring::create({kMaxDepth * 2});
            if (!made) throw Failure(made.error());
            ring_ = std::move(*made);
        }
        std::promise<void> done;
        std::atomic<bool> failed = false;
        std::atomic<unsigned> next = 0, ended = 0;
        const std::function<void(unsigned)> start = [&](unsigned chain) {
            const unsigned i = next++;
            if (i >= count) return;
            const auto memory = buffer_.bytes().subspan(chain * what.bytes, what.bytes);
            const auto ready = [&, chain](std::int64_t result) {
                if (result != static_cast<std::int64_t>(what.bytes)) failed = true;
                start(chain);
                if (++ended == count) done.set_value();
            };
            if (what.write)
                ring_->write(fd_.get(), memory, place(what, i), ready);
            else
                ring_->read(fd_.get(), memory, place(what, i), ready);
        };
        for (unsigned chain = 0; chain < what.depth; ++chain) start(chain);
        done.get_future().wait();
        ring_->drain();  // what the last `ready` refers to is on this stack
        if (failed) throw Failure(path_ + ": transfer failed");
    }

    std::string path_;
    Mapping buffer_;
    UniqueFd fd_;
    std::unique_ptr<Ring> ring_;
    std::atomic<std::uint64_t> random_ = 0;
};

}  // namespace

void measure_scratch(Bench& bench) {
    constexpr std::size_t kPage = 4096;
    BenchDaemon& daemon = bench.machine.tight();
    const std::string directory = daemon.mount() + "/scratch";
    if (::mkdir(directory.c_str(), 0755) != 0 ||
        ::setxattr(directory.c_str(), "user.kvfs.scratch", "1", 1, 0) != 0)
        throw Failure(errno_error(directory));
    DirectFile by_kernel(directory + "/file");
    DirectFile by_kvfsd(daemon.mount() + "/presized");  // by the descriptor that made it
    DirectFile native(daemon.directory() + "/native");
    const unsigned large = bench.quick ? 32 : 128, small = bench.quick ? 200 : 1000;
    const auto compare = [&](const char* kind, DirectFile& ours, const Transfers& what,
                             double goal) {
        const unsigned count = what.bytes == kPage ? small : large;
        const auto speed = [&](DirectFile& file) {
            return static_cast<double>(count * what.bytes) / 1e6 / file.time(what, count);
        };
        bench.compare(
            {fmt::format("{} {}", kind, what.name),
             "MB/s",
             Better::kHigher,
             {},
             {},
             "native",
             goal},
            [&] { return speed(ours); }, [&] { return speed(native); });
    };
    for (const Transfers& what : {
             Transfers{"read, 1 MiB in order", kMiB, false, false, 1},
             Transfers{"write, 1 MiB in order", kMiB, false, true, 1},
             Transfers{"read, 1 MiB in order, 8 in a ring", kMiB, false, false, 8},
             Transfers{"write, 1 MiB in order, 8 in a ring", kMiB, false, true, 8},
             Transfers{"read, 4 KiB at random", kPage, true, false, 1},
             Transfers{"write, 4 KiB at random", kPage, true, true, 1},
         }) {
        compare("scratch", by_kernel, what, 0.95);
        compare("pre-sized", by_kvfsd, what, 0);
    }
}

}  // namespace kvfs
