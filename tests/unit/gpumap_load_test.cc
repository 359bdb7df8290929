// Loading through the whole client, from a daemon in the same process.
#include <criterion/criterion.h>
#include <fcntl.h>

#include <cstring>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_load, .timeout = 60);
TestSuite(gpumap_load_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

struct Error1 {
    std::uint32_t index;
    gm_status status;
};
std::vector<Error1> errors_of(gm_job* job) {
    std::uint32_t n = 0;
    gm_job_errors(job, nullptr, nullptr, 0, &n);
    std::vector<std::uint32_t> indexes(n);
    std::vector<gm_status> statuses(n);
    gm_job_errors(job, indexes.data(), statuses.data(), n, &n);
    std::vector<Error1> errors;
    for (std::uint32_t i = 0; i < n; ++i) errors.push_back({indexes[i], statuses[i]});
    return errors;
}

/// Loads the whole file and compares.
void expect_loads(Client& client, const std::string& path, const std::vector<std::byte>& bytes) {
    gm_file* file = client.open(path);
    const gm_devptr memory = client.allocate(bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    const gm_status status = gm_prefetch(file, &range, 1, nullptr, nullptr);
    cr_assert_eq(status, GM_OK, "%s", gm_message());
    cr_expect(client.fetch(memory, bytes.size()) == bytes);
    gm_device_free(client, memory);
    gm_file_close(file);
}

std::string object_path(const Daemon& daemon, Ino ino) {
    char name[64];
    std::snprintf(name, sizeof name, "ssd/objects/%02x/%02x/%016lx",
                  static_cast<unsigned>(ino >> 16 & 0xff), static_cast<unsigned>(ino >> 8 & 0xff),
                  ino);
    return daemon.path(name);
}

}  // namespace

DeviceTest(gpumap_load, bytes_in_dram_reach_the_device) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(1, 5 * kMiB + 123);
    daemon.put("a", bytes);
    Client client(daemon.socket());

    expect_loads(client, "v/a", bytes);
    expect_loads(client, "/v/a", bytes);

    gm_info info{};
    info.size = sizeof info;
    cr_assert_eq(gm_query(client, &info), GM_OK);
    cr_expect_eq(info.dram_bytes, 2 * bytes.size());
    cr_expect_eq(info.file_bytes, 0);
    cr_expect_eq(info.backend, backend);
}

DeviceTest(gpumap_load, bytes_on_ssd_reach_the_device) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(2, 7 * kMiB + 4097);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());

    gm_stat stat{};
    const char* path = "v/a";
    cr_assert_eq(gm_lookup(client, &path, 1, &stat), GM_OK);
    cr_expect_eq(stat.tier, GM_TIER_SSD);
    cr_expect_eq(stat.size, bytes.size());
    expect_loads(client, "v/a", bytes);

    gm_info info{};
    info.size = sizeof info;
    gm_query(client, &info);
    cr_expect_eq(info.file_bytes, bytes.size());
    cr_expect_eq(info.dram_bytes, 0);
}

DeviceTest(gpumap_load, a_store_without_descriptors_is_read_through_dram) {
    Daemon daemon({.below = Daemon::Below::memory});
    const auto bytes = Daemon::bytes(3, 2 * kMiB + 5);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());

    expect_loads(client, "v/a", bytes);

    gm_info info{};
    info.size = sizeof info;
    gm_query(client, &info);
    cr_expect_eq(info.dram_bytes, bytes.size());
}

DeviceTest(gpumap_load, ranges_land_where_they_are_told_to) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(4, 3 * kMiB);
    for (const bool below : {false, true}) {
        if (below)
            daemon.put_below("a", bytes);
        else
            daemon.put("a", bytes);
        Client client(daemon.socket());
        gm_file* file = client.open("v/a");
        const gm_devptr memory = client.allocate(4 * kMiB);
        client.fill(memory, std::byte{0xee}, 4 * kMiB);
        const std::vector<gm_range> ranges = {{2 * kMiB + 1, 1000, memory + 7, 5, 0},
                                              {kMiB - 500, 1000, memory + kMiB, 1, 0},
                                              {0, 1, memory + 3 * kMiB, 1, 0},
                                              {kMiB - 500, 1000, memory + 2 * kMiB, 3, 0}};

        const gm_status status = gm_prefetch(file, ranges.data(), 4, nullptr, nullptr);

        cr_assert_eq(status, GM_OK, "%s", gm_message());
        const auto got = client.fetch(memory, 4 * kMiB);
        std::vector<std::byte> wanted(4 * kMiB, std::byte{0xee});
        for (const gm_range& range : ranges)
            std::memcpy(wanted.data() + (range.dst - memory), bytes.data() + range.file_off,
                        range.len);
        cr_expect(got == wanted);
        gm_file_close(file);
    }
}

DeviceTest(gpumap_load, many_files_are_one_job) {
    Daemon daemon;
    constexpr std::uint32_t kFiles = 40;
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < kFiles; ++i) {
        const auto bytes = Daemon::bytes(i, 100'000 + i);
        const Ino ino = daemon.put("f" + std::to_string(i), bytes);
        if (i % 2 == 0) daemon.push_out(ino);
        names.push_back("v/f" + std::to_string(i));
    }
    std::vector<const char*> paths;
    for (const auto& name : names) paths.push_back(name.c_str());
    Client client(daemon.socket());
    std::vector<gm_file*> files(kFiles);
    std::vector<gm_stat> stats(kFiles);
    cr_assert_eq(gm_file_open_many(client, paths.data(), kFiles, files.data(), stats.data()),
                 GM_OK);
    const gm_devptr memory = client.allocate(kFiles * kMiB);
    std::vector<gm_range> ranges;
    const std::vector<std::uint32_t> counts(kFiles, 1);
    for (std::uint32_t i = 0; i < kFiles; ++i)
        ranges.push_back({0, stats[i].size, memory + i * kMiB, i % 3, 0});

    gm_job* job = nullptr;
    cr_assert_eq(
        gm_prefetch_many(client, files.data(), counts.data(), kFiles, ranges.data(), nullptr, &job),
        GM_OK);
    const gm_status status = gm_job_wait(job, GM_ALL_GROUPS, -1);

    cr_assert_eq(status, GM_OK, "%s", gm_message());
    for (std::uint32_t i = 0; i < kFiles; ++i)
        cr_expect(client.fetch(memory + i * kMiB, stats[i].size) == Daemon::bytes(i, 100'000 + i));
    gm_job_free(job);
}

DeviceTest(gpumap_load, more_files_on_ssd_than_a_client_may_lease_at_a_time) {
    Daemon daemon;
    constexpr std::uint32_t kFiles = 600;
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < kFiles; ++i) {
        daemon.put("f" + std::to_string(i), Daemon::bytes(i, 5000));
        names.push_back("v/f" + std::to_string(i));
    }
    for (std::uint32_t i = 0; i < kFiles; ++i) {
        const auto found = must(daemon.files().resolve(names[i], {}));
        daemon.push_out(found.inode.ino);
    }
    std::vector<const char*> paths;
    for (const auto& name : names) paths.push_back(name.c_str());
    Client client(daemon.socket());
    std::vector<gm_file*> files(kFiles);
    cr_assert_eq(gm_file_open_many(client, paths.data(), kFiles, files.data(), nullptr), GM_OK);
    const gm_devptr memory = client.allocate(kFiles * 8192);
    std::vector<gm_range> ranges;
    const std::vector<std::uint32_t> counts(kFiles, 1);
    for (std::uint32_t i = 0; i < kFiles; ++i) ranges.push_back({0, 5000, memory + i * 8192, 0, 0});

    const gm_status status = gm_prefetch_many(client, files.data(), counts.data(), kFiles,
                                              ranges.data(), nullptr, nullptr);

    cr_assert_eq(status, GM_OK, "%s", gm_message());
    for (std::uint32_t i = 0; i < kFiles; ++i)
        cr_expect(client.fetch(memory + i * 8192, 5000) == Daemon::bytes(i, 5000), "file %u", i);
}

DeviceTest(gpumap_load, a_grid_is_its_pieces) {
    Daemon daemon;
    constexpr std::uint32_t kBlocks = 6;
    constexpr std::uint32_t kLayers = 8;
    constexpr std::uint32_t kPiece = 3000;
    const auto bytes = Daemon::bytes(5, std::uint64_t{kBlocks} * kLayers * kPiece + 100);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    const gm_devptr memory = client.allocate(kLayers * 16 * 4096);
    const std::int32_t blocks[kBlocks] = {9, 2, 15, 0, 4, 7};
    gm_grid grid{};
    grid.size = sizeof grid;
    grid.piece = kPiece;
    grid.file_off = 100;
    grid.file_block_stride = kLayers * kPiece;
    grid.file_layer_stride = kPiece;
    grid.dev_base = memory;
    grid.dev_block_stride = 4096;
    grid.dev_layer_stride = 16 * 4096;
    grid.n_blocks = kBlocks;
    grid.n_layers = kLayers;
    grid.layers_per_group = 2;
    grid.block_ids = blocks;

    gm_job* job = nullptr;
    cr_assert_eq(gm_prefetch_grid(file, &grid, nullptr, &job), GM_OK);
    cr_assert_eq(gm_job_wait(job, 3, -1), GM_OK);
    cr_assert_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_OK);

    cr_expect_eq(gm_job_poll(job, 4), GM_EINVAL);
    for (std::uint32_t b = 0; b < kBlocks; ++b) {
        for (std::uint32_t l = 0; l < kLayers; ++l) {
            const auto got = client.fetch(
                memory + std::uint64_t(blocks[b]) * 4096 + l * std::uint64_t{16} * 4096, kPiece);
            cr_expect_eq(
                std::memcmp(got.data(), bytes.data() + 100 + (b * kLayers + l) * kPiece, kPiece),
                0);
        }
    }
    gm_job_free(job);
}

DeviceTest(gpumap_load, empty_ranges_and_empty_jobs_end_at_once) {
    Daemon daemon;
    daemon.put("a", Daemon::bytes(6, 100));
    daemon.put("empty", {});
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    gm_file* empty = client.open("v/empty");
    const gm_range nothing{100, 0, 0, 4, 0};
    gm_job* job = nullptr;

    cr_assert_eq(gm_prefetch(file, &nothing, 1, nullptr, &job), GM_OK);
    cr_expect_eq(gm_job_poll(job, 4), GM_OK);
    cr_expect_eq(gm_job_poll(job, GM_ALL_GROUPS), GM_OK);
    cr_expect_eq(gm_prefetch(file, nullptr, 0, nullptr, nullptr), GM_OK);
    const gm_range none_of_it{0, 0, 0, 0, 0};
    cr_expect_eq(gm_prefetch(empty, &none_of_it, 1, nullptr, nullptr), GM_OK);
}

DeviceTest(gpumap_load, a_range_beyond_the_file_is_short_and_the_others_are_moved) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(7, 10'000);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    const gm_devptr memory = client.allocate(16'384);
    const gm_range ranges[] = {
        {0, 100, memory, 0, 0}, {9'999, 2, memory + 200, 1, 0}, {9'900, 100, memory + 400, 2, 0}};
    gm_job* job = nullptr;

    cr_assert_eq(gm_prefetch(file, ranges, 3, nullptr, &job), GM_OK);
    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_ESHORT);

    cr_expect_eq(gm_job_poll(job, 0), GM_OK);
    cr_expect_eq(gm_job_poll(job, 1), GM_ESHORT);
    cr_expect_eq(gm_job_poll(job, 2), GM_OK);
    const auto errors = errors_of(job);
    cr_assert_eq(errors.size(), 1);
    cr_expect_eq(errors[0].index, 1);
    cr_expect_eq(errors[0].status, GM_ESHORT);
    const auto got = client.fetch(memory + 400, 100);
    cr_expect_eq(std::memcmp(got.data(), bytes.data() + 9'900, 100), 0);
}

DeviceTest(gpumap_load, corrupt_bytes_never_reach_the_device) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(8, 3 * kMiB);
    const Ino ino = daemon.put_below("a", bytes);
    const int object = ::open(object_path(daemon, ino).c_str(), O_WRONLY);
    cr_assert_geq(object, 0, "%s", object_path(daemon, ino).c_str());
    cr_assert_eq(::pwrite(object, "X", 1, kMiB + 77), 1);
    ::close(object);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    const gm_devptr memory = client.allocate(3 * kMiB);
    client.fill(memory, std::byte{0}, 3 * kMiB);
    const gm_range ranges[] = {{0, kMiB, memory, 0, 0},
                               {kMiB, kMiB, memory + kMiB, 0, 0},
                               {2 * kMiB, kMiB, memory + 2 * kMiB, 0, 0}};
    gm_job* job = nullptr;

    cr_assert_eq(gm_prefetch(file, ranges, 3, nullptr, &job), GM_OK);
    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_ECHECKSUM);

    const auto errors = errors_of(job);
    cr_assert_eq(errors.size(), 1);
    cr_expect_eq(errors[0].index, 1);
    cr_expect(client.fetch(memory + kMiB, kMiB) == std::vector<std::byte>(kMiB));
    const auto last = client.fetch(memory + 2 * kMiB, kMiB);
    cr_expect_eq(std::memcmp(last.data(), bytes.data() + 2 * kMiB, kMiB), 0);
}

DeviceTest(gpumap_load, a_file_that_went_is_evicted_and_one_that_was_replaced_is_stale) {
    Daemon daemon;
    daemon.put("gone", Daemon::bytes(9, 100));
    daemon.put("replaced", Daemon::bytes(10, 100));
    Client client(daemon.socket());
    gm_file* gone = client.open("v/gone");
    gm_file* replaced = client.open("v/replaced");
    daemon.remove("gone");
    daemon.put("replaced", Daemon::bytes(11, 100));
    const gm_range range{0, 100, client.allocate(100), 0, 0};

    cr_expect_eq(gm_prefetch(gone, &range, 1, nullptr, nullptr), GM_EEVICTED);
    cr_expect_eq(gm_prefetch(replaced, &range, 1, nullptr, nullptr), GM_ESTALE);
}

DeviceTest(gpumap_load, what_is_not_there_or_not_finished_is_a_miss) {
    Daemon daemon;
    const Ino parent = must(daemon.files().lookup(kRootIno, "v")).inode.ino;
    auto unfinished = must(daemon.files().create(parent, "unfinished", {.mode = S_IFREG | 0644}));
    must(daemon.files().write(*unfinished.handle, 0, Daemon::bytes(1, 100)));
    Client client(daemon.socket());
    const char* paths[] = {"v/none", "none/none", "v/unfinished", "v", "v/../v"};
    gm_stat stats[5];

    cr_assert_eq(gm_lookup(client, paths, 5, stats), GM_OK);

    cr_expect_eq(stats[0].status, GM_ENOENT);
    cr_expect_eq(stats[1].status, GM_ENOENT);
    cr_expect_eq(stats[2].status, GM_ENOENT);
    cr_expect_eq(stats[3].status, GM_EINVAL);
    cr_expect_eq(stats[4].status, GM_EINVAL);
    gm_file* file = nullptr;
    cr_expect_eq(gm_file_open(client, "v/none", 0, &file, nullptr), GM_ENOENT);
    cr_expect_eq(file, nullptr);
    daemon.files().release(std::move(unfinished.handle));
}

DeviceTest(gpumap_load, thousands_of_paths_are_looked_up_at_once) {
    Daemon daemon;
    constexpr std::uint32_t kPaths = 5000;
    daemon.put("a", Daemon::bytes(1, 77));
    std::vector<std::string> names;
    for (std::uint32_t i = 0; i < kPaths; ++i)
        names.push_back(i % 100 == 0 ? "v/a"
                                     : "v/a-rather-long-name-of-a-block-that-is-not-there-" +
                                           std::to_string(i));
    std::vector<const char*> paths;
    for (const auto& name : names) paths.push_back(name.c_str());
    std::vector<gm_stat> stats(kPaths);
    Client client(daemon.socket());

    cr_assert_eq(gm_lookup(client, paths.data(), kPaths, stats.data()), GM_OK);

    for (std::uint32_t i = 0; i < kPaths; ++i)
        cr_assert_eq(stats[i].status, i % 100 == 0 ? GM_OK : GM_ENOENT);
    cr_expect_eq(stats[0].size, 77);
}
