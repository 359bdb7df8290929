// Files that are on SSD alone, beside io_uring's O_DIRECT reads of the same objects.
#include <fcntl.h>
#include <sys/xattr.h>

#include <fmt/format.h>
#include <atomic>
#include <filesystem>
#include <future>
#include <map>

#include "fs/base/fd.h"
#include "fs/io/ring.h"
#include "fs/store/label.h"
#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

namespace stdfs = std::filesystem;

constexpr std::uint64_t kPiece = 512 << 10;
constexpr unsigned kDepth = 64;
/// Files that are loaded by one job, as those of one prompt are.
constexpr std::uint32_t kTogether = 4;

/// Where the daemon keeps the files, by their paths in the cache.
std::map<std::string, std::string> find_objects(const std::string& objects) {
    std::map<std::string, std::string> found;
    for (const auto& entry : stdfs::recursive_directory_iterator(objects)) {
        std::vector<char> text(1 << 20);
        const ssize_t length =
            ::getxattr(entry.path().c_str(), "user.kvfs", text.data(), text.size());
        if (length <= 0) continue;
        const auto label = decode_label({text.data(), static_cast<std::size_t>(length)});
        if (label) found[label->path] = entry.path();
    }
    return found;
}

/// Reads whole files past the page cache into pinned memory, as fast as an io_uring lets it.
class RawReader {
  public:
    explicit RawReader(std::uint64_t file_bytes)
        : file_bytes_(file_bytes), memory_(file_bytes * kTogether) {
        auto ring = Ring::create({kDepth});
        if (!ring) throw Failure(ring.error());
        ring_ = std::move(*ring);
        // Without it the kernel pins pages for each read; slower, not wrong.
        (void)ring_->register_region(memory_.bytes());
    }

    void read(const std::vector<std::string>& paths) {
        std::vector<UniqueFd> files;
        for (const std::string& path : paths) {
            files.emplace_back(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
            if (!files.back()) throw Failure(errno_error(path));
        }
        std::atomic<std::uint64_t> left = files.size() * file_bytes_ / kPiece;
        std::atomic<bool> failed = false;
        std::promise<void> done;
        for (std::size_t i = 0; i < files.size(); ++i)
            for (std::uint64_t at = 0; at < file_bytes_; at += kPiece)
                ring_->read(files[i].get(), memory_.bytes().subspan(i * file_bytes_ + at, kPiece),
                            at, [&](std::int64_t result) {
                                if (result != static_cast<std::int64_t>(kPiece)) failed = true;
                                if (--left == 0) done.set_value();
                            });
        done.get_future().wait();
        if (failed) throw Failure("a raw read failed");
    }

  private:
    const std::uint64_t file_bytes_;
    PinnedMemory memory_;
    std::unique_ptr<Ring> ring_;
};

}  // namespace

void measure_cold_files(Session& session) {
    const std::uint64_t bytes = session.scale.cold_file_bytes;
    const auto count = static_cast<std::uint32_t>(2 * session.scale.tight_bytes / bytes);
    const Content content(bytes, session.seed);
    const Mapper mapper(session.daemons.tight);
    const FileSet files(mapper, "cold", count, bytes, content);
    await_quiet(mapper);
    await_quiet(Mapper(session.daemons.roomy, "", GM_BACKEND_HOST));
    const auto objects = find_objects(session.daemons.tight_objects);
    // Those that were written last are still in DRAM.
    std::vector<std::uint32_t> cold;
    for (std::uint32_t i = 0; i < count; ++i) {
        const char* path = files.path(i).c_str();
        gm_stat stat{};
        if (gm_lookup(mapper, &path, 1, &stat) == GM_OK && stat.tier == GM_TIER_SSD &&
            objects.contains(files.path(i)))
            cold.push_back(i);
    }
    session.tell("files on SSD alone",
                 fmt::format("{} of {}, of {}", cold.size(), count, size_text(bytes)));
    if (cold.size() < kTogether) throw Failure("too few files are on SSD alone");
    RawReader raw(bytes);
    const DeviceMemory memory(bytes * kTogether);
    std::size_t next = 0;
    std::vector<std::uint32_t> current;
    // Both sides read the same files, so that what lies below the disk's name treats them alike.
    const auto read_raw = [&](std::uint32_t together) {
        current.clear();
        std::vector<std::string> paths;
        for (std::uint32_t i = 0; i < together; ++i) {
            current.push_back(cold[next++ % cold.size()]);
            paths.push_back(objects.at(files.path(current.back())));
        }
        return gb_per_s(together * bytes, time_of([&] { raw.read(paths); }));
    };
    const auto load = [&] {
        return gb_per_s(current.size() * bytes,
                        time_of([&] { files.load_whole(current, memory.at()); }));
    };
    for (const std::uint32_t together : {1U, kTogether}) {
        BenchRow row =
            copy_row(fmt::format("{} file(s) of {} from SSD", together, size_text(bytes)), 0.95);
        row.reference_name = "raw io_uring";
        session.compare(row, load, [&] { return read_raw(together); });
        std::string wrong;
        std::vector<std::byte> got(bytes);
        for (std::size_t i = 0; i < current.size() && wrong.empty(); ++i) {
            fetch(got, memory.at(i * bytes));
            wrong = compare(got, content.of(current[i], bytes));
        }
        session.expect(row.name + ": the bytes are right", wrong.empty(), wrong);
    }
    session.expect("none of these loads was from DRAM", mapper.info().dram_bytes == 0,
                   std::to_string(mapper.info().dram_bytes) + " bytes were");
}

}  // namespace kvfs::gpu_check
