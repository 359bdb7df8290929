// Pieces of 4 KiB to 16 MiB, together and apart in the file and in device memory, by each method.
#include <algorithm>
#include <cstring>
#include <random>

#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

/// Where the pieces lie.
struct Layout {
    const char* name;
    bool apart_in_file;
    bool apart_in_memory;
};
constexpr Layout kLayouts[] = {{"together in the file, apart in memory", false, true},
                               {"apart in the file, together in memory", true, false},
                               {"apart in both", true, true}};
constexpr Layout kTogether = {"together in both", false, false};

/// The largest file: a piece is in one.
constexpr std::uint64_t kFileBytes = 64 << 20;

/// The ranges of each file. Apart means: every second piece, and in memory in random order.
std::vector<std::vector<gm_range>> make_ranges(const FileSet& files, const DeviceMemory& memory,
                                               std::uint64_t piece, std::uint64_t bytes,
                                               const Layout& layout) {
    const std::uint64_t count = bytes / piece;
    std::vector<std::uint64_t> slots(count);
    for (std::uint64_t i = 0; i < count; ++i) slots[i] = layout.apart_in_memory ? 2 * i : i;
    if (layout.apart_in_memory) std::shuffle(slots.begin(), slots.end(), std::mt19937_64(count));
    std::vector<std::vector<gm_range>> ranges;
    const std::uint64_t in_file = files.file_bytes() / piece;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t number = layout.apart_in_file ? 2 * i : i;
        ranges.resize(number / in_file + 1);
        ranges.back().push_back(
            {number % in_file * piece, piece, memory.at(slots[i] * piece), 0, 0});
    }
    return ranges;
}

/// "" or what is not where it should be, or where nothing should be.
std::string find_fault(const FileSet& files, const Content& content, const DeviceMemory& memory,
                       const PinnedMemory& host, const std::vector<std::vector<gm_range>>& ranges) {
    memory.fill(0xee);
    files.load(ranges);
    fetch(host.bytes(), memory.at());
    std::uint64_t moved = 0;
    for (std::uint32_t file = 0; file < ranges.size(); ++file) {
        const auto wanted = content.of(file, files.file_bytes());
        for (const gm_range& range : ranges[file]) {
            const auto got = host.bytes().subspan(range.dst - memory.at(), range.len);
            const std::string where = compare(got, wanted.subspan(range.file_off, range.len));
            if (!where.empty())
                return files.path(file) + " at " + std::to_string(range.file_off) + ": " + where;
            std::fill(got.begin(), got.end(), std::byte{0xee});
            moved += range.len;
        }
    }
    // Each byte is like the next: faster than looking at each.
    const std::span<std::byte> left = host.bytes();
    if (left.front() == std::byte{0xee} &&
        std::memcmp(left.data(), left.data() + 1, left.size() - 1) == 0)
        return "";
    return std::to_string(moved) + " bytes are right, but something was written beside them";
}

double goal_of(const std::string& method, std::uint64_t piece, const Layout& layout) {
    if (!method.empty()) return 0;
    if (!layout.apart_in_file && !layout.apart_in_memory) return piece >= 4 << 20 ? 0.97 : 0;
    if (piece == 2 << 20) return 0.95;
    if (piece == 64 << 10) return 0.90;
    if (piece == 32 << 10) return 0.80;
    if (piece == 8 << 10 || piece == 16 << 10) return layout.apart_in_file ? 0.60 : 0.85;
    if (piece == 4 << 10 && !layout.apart_in_file) return 0.80;
    return 0;
}

class Sweep {
  public:
    explicit Sweep(Session& session)
        : session_(session),
          file_bytes_(std::min(kFileBytes, session.scale.sweep_bytes)),
          content_(file_bytes_, session.seed),
          memory_(2 * session.scale.sweep_bytes),
          host_(2 * session.scale.sweep_bytes),
          raw_(session.scale.raw_bytes) {}

    void run(const std::string& method, std::uint64_t largest) {
        const Mapper mapper(session_.daemons.roomy, method.empty() ? "" : "method=" + method);
        const auto count = static_cast<std::uint32_t>(2 * session_.scale.sweep_bytes / file_bytes_);
        const FileSet files(mapper, "sweep", count, file_bytes_, content_);
        for (std::uint64_t piece = session_.scale.smallest_piece; piece <= largest; piece *= 2) {
            if (piece == 8 << 20) continue;
            for (const Layout& layout : kLayouts) measure(files, method, piece, layout);
            const bool end = piece == 4 << 10 || piece >= 4 << 20;
            if (end && method.empty()) measure(files, method, piece, kTogether);
        }
        const std::string slower = mapper.info().backend_reason;
        session_.tell(method.empty() ? "as it comes" : method, slower);
    }

  private:
    void measure(const FileSet& files, const std::string& method, std::uint64_t piece,
                 const Layout& layout) {
        const std::uint64_t bytes = session_.scale.sweep_bytes;
        const auto ranges = make_ranges(files, memory_, piece, bytes, layout);
        const std::string name =
            size_text(piece) + " " + layout.name + (method.empty() ? "" : ", by " + method);
        const std::string fault = find_fault(files, content_, memory_, host_, ranges);
        // One that is right needs no line: a wrong one makes the check fail.
        if (!fault.empty()) session_.expect(name + ": the bytes are right", false, fault);
        session_.compare(
            copy_row(name, goal_of(method, piece, layout)),
            [&] { return gb_per_s(bytes, time_of([&] { files.load(ranges); })); },
            [&] { return raw_.in(); });
    }

    Session& session_;
    const std::uint64_t file_bytes_;
    const Content content_;
    const DeviceMemory memory_;
    const PinnedMemory host_;
    RawCopies raw_;
};

}  // namespace

void sweep_pieces(Session& session) {
    Sweep sweep(session);
    sweep.run("", session.scale.largest_piece);
    const std::uint64_t small = std::min<std::uint64_t>(session.scale.largest_piece, 128 << 10);
    for (const char* method : {"batch", "stage", "gather", "copies"}) sweep.run(method, small);
    session.expect("every piece of every load was where it belongs", session.all_held());
}

}  // namespace kvfs::gpu_check
