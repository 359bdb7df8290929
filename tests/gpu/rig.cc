#include "tests/gpu/rig.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <thread>

#include "fs/base/clock.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

/// Files begin so far apart in the random bytes: no multiple of a page, so that a page of one file
/// is in no other.
constexpr std::uint64_t kApart = 1'052'681;
constexpr std::uint64_t kStarts = 16 << 20;

}  // namespace

Mapper::Mapper(const std::string& socket, const std::string& tuned, std::uint32_t backend) {
    if (!tuned.empty())
        ::setenv("KVFS_CUDA", tuned.c_str(), 1);
    else
        ::unsetenv("KVFS_CUDA");
    gm_config config{};
    config.size = sizeof config;
    config.backend = backend == GM_BACKEND_CUDA ? std::uint32_t{GM_BACKEND_AUTO} : backend;
    config.socket_path = socket.c_str();
    expect_ok(gm_open(&config, &context_), "gm_open");
    if (const gm_info got = info(); got.backend != backend) {
        gm_close(context_);
        throw Failure(std::string("gm_open gave another backend: ") + got.backend_reason);
    }
}

gm_info Mapper::info() const {
    gm_info info{};
    info.size = sizeof info;
    expect_ok(gm_query(context_, &info), "gm_query");
    return info;
}

void await_quiet(gm_ctx* context) {
    constexpr auto kQuiet = std::chrono::milliseconds(500);
    std::uint64_t written = 0;
    auto since = Clock::now();
    for (const Deadline end = deadline_after(std::chrono::seconds(30)); Clock::now() < end;) {
        std::string text(1 << 16, '\0');
        std::size_t length = text.size();
        expect_ok(gm_stats_json(context, text.data(), &length), "gm_stats_json");
        const Json statistics = Json::parse(text.c_str());
        const std::uint64_t now = statistics.at("counters").at("spilled_bytes");
        if (now != written) since = Clock::now();
        written = now;
        if (Clock::now() - since > kQuiet) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}

Content::Content(std::uint64_t longest, std::uint64_t seed) : bytes_(longest + kStarts) {
    std::uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
    for (std::size_t at = 0; at < bytes_.size(); at += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::memcpy(&bytes_[at], &state, std::min<std::size_t>(8, bytes_.size() - at));
    }
}

std::span<const std::byte> Content::of(std::uint64_t file, std::uint64_t length) const {
    return std::span(bytes_).subspan(file * kApart % kStarts, length);
}

void save_whole(gm_ctx* context, const std::string& path, gm_devptr memory, std::uint64_t bytes) {
    gm_file* draft = nullptr;
    std::uint64_t size = bytes;
    expect_ok(gm_file_open(context, path.c_str(), GM_CREATE | GM_MAKE_DIRS, &draft, &size),
              "gm_file_open");
    const gm_range range{0, bytes, memory, 0, 0};
    gm_status status = gm_save(draft, &range, 1, nullptr, nullptr);
    if (status == GM_OK) status = gm_commit(draft, 0, nullptr);
    const std::string why = gm_message();
    gm_file_close(draft);
    if (status != GM_OK) throw Failure(path + ": " + gm_strerror(status) + ": " + why);
}

FileSet::FileSet(gm_ctx* context, const std::string& directory, std::uint32_t count,
                 std::uint64_t bytes, const Content& content)
    : context_(context), bytes_(bytes), files_(count, nullptr) {
    std::vector<const char*> names;
    for (std::uint32_t i = 0; i < count; ++i)
        paths_.push_back(directory + "/" + std::to_string(i) + ".kv");
    for (const std::string& path : paths_) names.push_back(path.c_str());
    std::vector<gm_stat> there(count);
    expect_ok(gm_lookup(context, names.data(), count, there.data()), "gm_lookup");
    std::unique_ptr<DeviceMemory> memory;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (there[i].status == GM_OK && there[i].size == bytes) continue;
        if (!memory) memory = std::make_unique<DeviceMemory>(bytes);
        put(memory->at(), content.of(i, bytes));
        save_whole(context, paths_[i], memory->at(), bytes);
        check_interrupted();
    }
    expect_ok(gm_file_open_many(context, names.data(), count, files_.data(), there.data()),
              "gm_file_open_many");
    for (std::uint32_t i = 0; i < count; ++i)
        if (files_[i] == nullptr) throw Failure(paths_[i] + ": " + gm_strerror(there[i].status));
}

FileSet::~FileSet() {
    for (gm_file* file : files_) gm_file_close(file);
}

std::uint32_t FileSet::tier() const {
    std::vector<const char*> names;
    for (const std::string& path : paths_) names.push_back(path.c_str());
    std::vector<gm_stat> stats(names.size());
    expect_ok(gm_lookup(context_, names.data(), count(), stats.data()), "gm_lookup");
    std::uint32_t slowest = GM_TIER_DRAM;
    for (const gm_stat& one : stats) {
        expect_ok(one.status, "gm_lookup of a file");
        slowest = std::max(slowest, one.tier);
    }
    return slowest;
}

void FileSet::load(const std::vector<std::vector<gm_range>>& ranges) const {
    std::vector<gm_range> all;
    std::vector<std::uint32_t> counts;
    for (const auto& of_file : ranges) {
        counts.push_back(static_cast<std::uint32_t>(of_file.size()));
        all.insert(all.end(), of_file.begin(), of_file.end());
    }
    expect_ok(
        gm_prefetch_many(context_, files_.data(), counts.data(),
                         static_cast<std::uint32_t>(counts.size()), all.data(), nullptr, nullptr),
        "gm_prefetch_many");
}

void FileSet::load_whole(const std::vector<std::uint32_t>& numbers, gm_devptr memory) const {
    std::vector<gm_file*> files;
    std::vector<gm_range> ranges;
    for (const std::uint32_t number : numbers) {
        ranges.push_back({0, bytes_, memory + files.size() * bytes_, 0, 0});
        files.push_back(files_[number]);
    }
    const std::vector<std::uint32_t> counts(files.size(), 1);
    expect_ok(
        gm_prefetch_many(context_, files.data(), counts.data(),
                         static_cast<std::uint32_t>(files.size()), ranges.data(), nullptr, nullptr),
        "gm_prefetch_many");
}

void FileSet::load_all(gm_devptr memory) const {
    std::vector<std::uint32_t> numbers(files_.size());
    std::iota(numbers.begin(), numbers.end(), 0U);
    load_whole(numbers, memory);
}

std::string FileSet::compare_all(const DeviceMemory& memory, const Content& content) const {
    const PinnedMemory got(bytes_);
    for (std::uint32_t i = 0; i < count(); ++i) {
        fetch(got.bytes(), memory.at(i * bytes_));
        const std::string where = compare(got.bytes(), content.of(i, bytes_));
        if (!where.empty()) return paths_[i] + ": " + where;
    }
    return "";
}

std::string compare(std::span<const std::byte> got, std::span<const std::byte> wanted) {
    if (got.size() != wanted.size()) return "another length";
    if (std::memcmp(got.data(), wanted.data(), got.size()) == 0) return "";
    const auto differ = std::mismatch(got.begin(), got.end(), wanted.begin()).first;
    return "byte " + std::to_string(differ - got.begin()) + " of " + std::to_string(got.size());
}

std::string size_text(std::uint64_t bytes) {
    if (bytes % (1 << 20) == 0) return std::to_string(bytes >> 20) + " MiB";
    if (bytes % (1 << 10) == 0) return std::to_string(bytes >> 10) + " KiB";
    return std::to_string(bytes) + " B";
}

}  // namespace kvfs::gpu_check
