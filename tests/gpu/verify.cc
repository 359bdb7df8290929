// Every way to copy, bit for bit: odd sizes at odd places, and what lies between them untouched.
#include <algorithm>
#include <random>

#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

constexpr std::uint64_t kFileBytes = (6 << 20) + 4321;
constexpr std::uint64_t kMemoryBytes = 24 << 20;
constexpr unsigned char kPoison = 0xee;

/// All ways there are, in slices that are no divisors of anything.
constexpr const char* kWays[] = {"",
                                 "method=copies",
                                 "method=batch,few=1,slice=7",
                                 "method=batch,few=1",
                                 "method=stage,few=1",
                                 "method=gather,few=1",
                                 "kernels=0",
                                 "small=65536,few=1,run=1"};

std::string way_text(const char* tuned) { return *tuned == '\0' ? "as it comes" : tuned; }

/// Ranges in the order of device memory, in which they do not overlap.
std::vector<gm_range> make_ranges(std::mt19937_64& random, bool scattered_in_file) {
    static constexpr std::uint64_t kLengths[] = {1,      3,      15,     16,       17,     255,
                                                 256,    4095,   4096,   4097,     12'288, 16'384,
                                                 65'535, 65'536, 70'001, 1'048'577};
    std::vector<gm_range> ranges;
    std::uint64_t in_file = random() % 5000;
    for (std::uint64_t at = random() % 64; ranges.size() < 400;) {
        const std::uint64_t length = kLengths[random() % std::size(kLengths)];
        if (at + length > kMemoryBytes) break;
        if (scattered_in_file) in_file = random() % (kFileBytes - length);
        if (in_file + length > kFileBytes) break;
        ranges.push_back({in_file, length, at, static_cast<std::uint32_t>(random() % 4), 0});
        in_file += length;
        at += length + (random() % 2 == 0 ? 0 : random() % 300);
    }
    return ranges;
}

std::vector<std::byte> expected_of(const std::vector<gm_range>& ranges,
                                   std::span<const std::byte> file) {
    std::vector<std::byte> all(kMemoryBytes, std::byte{kPoison});
    for (const gm_range& range : ranges)
        std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(range.file_off), range.len,
                    all.begin() + static_cast<std::ptrdiff_t>(range.dst));
    return all;
}

/// "" or what was wrong.
std::string load_and_compare(gm_file* file, std::vector<gm_range> ranges,
                             std::span<const std::byte> content, const DeviceMemory& memory,
                             std::mt19937_64& random) {
    const std::vector<std::byte> wanted = expected_of(ranges, content);
    for (gm_range& range : ranges) range.dst += memory.at();
    std::shuffle(ranges.begin(), ranges.end(), random);
    memory.fill(kPoison);
    expect_ok(gm_prefetch(file, ranges.data(), static_cast<std::uint32_t>(ranges.size()), nullptr,
                          nullptr),
              "gm_prefetch");
    std::vector<std::byte> got(kMemoryBytes);
    fetch(got, memory.at());
    return compare(got, wanted);
}

void verify_loads(Session& session, const std::string& socket, const char* where) {
    const Content content(kFileBytes, session.seed);
    for (const char* tuned : kWays) {
        std::mt19937_64 random(session.seed);
        const Mapper mapper(socket, tuned);
        const DeviceMemory memory(kMemoryBytes);
        const FileSet files(mapper, std::string("verify-") + where, 2, kFileBytes, content);
        std::string wrong;
        std::size_t moved = 0;
        for (unsigned round = 0; round < session.scale.verify_rounds && wrong.empty(); ++round) {
            const auto ranges = make_ranges(random, round % 2 == 1);
            const std::uint32_t file = round / 2 % files.count();
            moved += ranges.size();
            wrong = load_and_compare(files.file(file), ranges, content.of(file, kFileBytes), memory,
                                     random);
        }
        session.expect(std::to_string(moved) + " ranges loaded from " + where + ", " +
                           way_text(tuned) + ", are right",
                       wrong.empty(), wrong);
    }
}

/// Device memory saved in ranges, and read back without the GPU, and with it.
std::string save_and_compare(const Mapper& mapper, const Mapper& host, const std::string& path,
                             std::span<const std::byte> content, const DeviceMemory& memory,
                             std::mt19937_64& random) {
    gm_file* draft = nullptr;
    std::uint64_t size = content.size();
    expect_ok(gm_file_open(mapper, path.c_str(), GM_CREATE | GM_MAKE_DIRS, &draft, &size),
              "gm_file_open");
    std::vector<gm_range> ranges;
    memory.fill(kPoison);
    for (std::uint64_t at = 0, in_memory = 1; at < size;) {
        const std::uint64_t length = std::min(size - at, 1 + random() % 200'000);
        put(memory.at(in_memory), content.subspan(at, length));
        ranges.push_back({at, length, memory.at(in_memory), 0, 0});
        at += length;
        in_memory += length + random() % 200;
    }
    std::shuffle(ranges.begin(), ranges.end(), random);
    gm_status status =
        gm_save(draft, ranges.data(), static_cast<std::uint32_t>(ranges.size()), nullptr, nullptr);
    if (status == GM_OK) status = gm_commit(draft, 0, nullptr);
    gm_file_close(draft);
    expect_ok(status, "gm_save and gm_commit");
    std::vector<std::byte> got(size);
    gm_file* file = nullptr;
    expect_ok(gm_file_open(host, path.c_str(), 0, &file, nullptr), "gm_file_open");
    const gm_range whole{0, size, reinterpret_cast<gm_devptr>(got.data()), 0, 0};
    status = gm_prefetch(file, &whole, 1, nullptr, nullptr);
    gm_file_close(file);
    expect_ok(status, "gm_prefetch by the host");
    return compare(got, content);
}

void verify_saves(Session& session) {
    const Content content(kFileBytes, session.seed + 1);
    const Mapper host(session.daemons.roomy, "", GM_BACKEND_HOST);
    for (const char* tuned :
         {"", "method=copies", "method=batch,few=1", "method=batch,few=1,slice=7"}) {
        std::mt19937_64 random(session.seed);
        const Mapper mapper(session.daemons.roomy, tuned);
        const DeviceMemory memory(kMemoryBytes);
        std::string wrong;
        for (unsigned round = 0; round < session.scale.verify_rounds && wrong.empty(); ++round)
            wrong = save_and_compare(mapper, host, "verify-saved/" + std::to_string(round % 4),
                                     content.of(round, kFileBytes - round), memory, random);
        session.expect("what was saved, " + way_text(tuned) + ", is right", wrong.empty(), wrong);
    }
}

}  // namespace

void verify_copies(Session& session) {
    session.tell("seed", std::to_string(session.seed));
    verify_loads(session, session.daemons.roomy, "DRAM");
    verify_saves(session);
    // So many other files go through the small DRAM tier that these are on SSD alone.
    const Content content(std::max(session.scale.cold_file_bytes, kFileBytes), session.seed);
    const Mapper mapper(session.daemons.tight);
    const FileSet files(mapper, "verify-SSD", 2, kFileBytes, content);
    const auto fillers =
        static_cast<std::uint32_t>(2 * session.scale.tight_bytes / session.scale.cold_file_bytes);
    const FileSet cold(mapper, "cold", fillers, session.scale.cold_file_bytes, content);
    session.expect("files that other ones pushed out of DRAM are on SSD",
                   files.tier() == GM_TIER_SSD, "they are in DRAM");
    verify_loads(session, session.daemons.tight, "SSD");
}

}  // namespace kvfs::gpu_check
