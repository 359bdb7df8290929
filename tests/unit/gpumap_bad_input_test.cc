// What callers do wrong: a status for each, nothing half done, and all as before.
#include <criterion/criterion.h>

#include <cstdint>
#include <cstring>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_bad_input, .timeout = 60);
TestSuite(gpumap_bad_input_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kFileBytes = 10'000;

gm_opts options() {
    gm_opts opts{};
    opts.size = sizeof opts;
    return opts;
}

/// A file and a draft of 10000 bytes, and as much device memory, which is all 0xee.
struct Scene {
    Daemon daemon;
    std::vector<std::byte> bytes = Daemon::bytes(1, kFileBytes);
    Ino ino = daemon.put("a", bytes);
    Client client{daemon.socket()};
    gm_file* file = client.open("v/a");
    gm_file* draft = client.create("v/b", kFileBytes);
    gm_devptr memory = client.allocate(kFileBytes);
    /// What must become NULL when there is no job.
    gm_job* job = reinterpret_cast<gm_job*>(8);

    Scene() { client.fill(memory, std::byte{0xee}, kFileBytes); }

    gm_grid grid() const {
        gm_grid grid{};
        grid.size = sizeof grid;
        grid.piece = 100;
        grid.file_block_stride = 400;
        grid.file_layer_stride = 100;
        grid.dev_base = memory;
        grid.dev_block_stride = 400;
        grid.dev_layer_stride = 100;
        grid.n_blocks = 3;
        grid.n_layers = 4;
        return grid;
    }

    /// `status` is GM_EINVAL with a sentence, there is no job, and no byte was moved.
    void expect_refused(gm_status status, const char* what) {
        cr_expect_eq(status, GM_EINVAL, "%s: %s", what, gm_strerror(status));
        cr_expect_neq(std::string(gm_message()), "", "%s", what);
        cr_expect_eq(job, nullptr, "%s", what);
        job = reinterpret_cast<gm_job*>(8);
        const auto untouched = std::vector<std::byte>(kFileBytes, std::byte{0xee});
        cr_expect(client.fetch(memory, kFileBytes) == untouched, "%s", what);
    }
    void expect_refused(const gm_range& range, const char* what) {
        expect_refused(gm_prefetch(file, &range, 1, nullptr, &job), what);
        expect_refused(gm_save(draft, &range, 1, nullptr, &job), what);
    }

    /// The draft is as good as new: saved and committed, it is the file.
    void expect_saves() {
        client.fill(memory, std::byte{7}, kFileBytes);
        const gm_range whole{0, kFileBytes, memory, 0, 0};
        cr_expect_eq(gm_save(draft, &whole, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
        cr_expect_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
        cr_expect(daemon.read("b") == std::vector<std::byte>(kFileBytes, std::byte{7}));
    }
};

}  // namespace

DeviceTest(gpumap_bad_input, null_arrays_are_refused_unless_nothing_is_in_them) {
    Scene scene;
    const char* path = nullptr;
    gm_stat stat{};
    gm_file* file = nullptr;
    std::uint32_t one = 1;
    std::uint32_t none = 0;

    scene.expect_refused(gm_prefetch(scene.file, nullptr, 1, nullptr, &scene.job), "prefetch");
    scene.expect_refused(gm_prefetch_grid(scene.file, nullptr, nullptr, &scene.job), "grid");
    scene.expect_refused(gm_save(scene.draft, nullptr, 1, nullptr, &scene.job), "save");
    scene.expect_refused(
        gm_prefetch_many(scene.client, &scene.file, &one, 1, nullptr, nullptr, &scene.job), "many");
    scene.expect_refused(
        gm_prefetch_many(scene.client, nullptr, &one, 1, nullptr, nullptr, &scene.job), "files");
    scene.expect_refused(
        gm_prefetch_many(scene.client, &scene.file, nullptr, 1, nullptr, nullptr, &scene.job), "n");
    cr_expect_eq(gm_prefetch_many(scene.client, &file, &none, 1, nullptr, nullptr, nullptr),
                 GM_EINVAL);
    cr_expect_eq(gm_lookup(scene.client, nullptr, 1, &stat), GM_EINVAL);
    cr_expect_eq(gm_lookup(scene.client, &path, 1, &stat), GM_EINVAL);
    cr_expect_eq(gm_lookup(scene.client, &path, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_file_open_many(scene.client, &path, 1, &file, &stat), GM_EINVAL);
    cr_expect_eq(gm_file_open(scene.client, "v/a", 0, nullptr, nullptr), GM_EINVAL);
    cr_expect_eq(gm_file_open(scene.client, nullptr, 0, &file, nullptr), GM_EINVAL);
    cr_expect_eq(gm_device_copy_in(scene.client, scene.memory, nullptr, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_device_copy_in(scene.client, 0, &one, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_device_copy_out(scene.client, nullptr, scene.memory, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_device_copy_out(scene.client, &one, 0, 1, nullptr), GM_EINVAL);

    cr_expect_eq(gm_prefetch(scene.file, nullptr, 0, nullptr, nullptr), GM_OK);
    cr_expect_eq(gm_prefetch_many(scene.client, nullptr, nullptr, 0, nullptr, nullptr, nullptr),
                 GM_OK);
    cr_expect_eq(gm_prefetch_many(scene.client, &scene.file, &none, 1, nullptr, nullptr, nullptr),
                 GM_OK);
    cr_expect_eq(gm_save(scene.draft, nullptr, 0, nullptr, nullptr), GM_OK);
    cr_expect_eq(gm_lookup(scene.client, nullptr, 0, nullptr), GM_OK);
    cr_expect_eq(gm_file_open_many(scene.client, nullptr, 0, nullptr, nullptr), GM_OK);
    cr_expect_eq(gm_device_copy_in(scene.client, 0, nullptr, 0, nullptr), GM_OK);
    cr_expect_eq(gm_device_copy_out(scene.client, nullptr, 0, 0, nullptr), GM_OK);
    cr_expect_eq(gm_device_free(scene.client, 0), GM_OK);
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, ranges_that_no_device_can_have_are_refused_whole) {
    Scene scene;
    const gm_devptr memory = scene.memory;

    scene.expect_refused({0, 100, 0, 0, 0}, "to NULL");
    scene.expect_refused({0, 100, UINT64_MAX - 50, 0, 0}, "wraps in the device");
    scene.expect_refused({0, UINT64_MAX, memory, 0, 0}, "longer than memory");
    scene.expect_refused({0, 100, memory, 65536, 0}, "a group out of bounds");
    scene.expect_refused({0, 100, memory, GM_ALL_GROUPS, 0}, "the number of all groups");
    const gm_range second_is_wrong[] = {{0, 100, memory, 0, 0}, {100, 100, 0, 0, 0}};
    scene.expect_refused(gm_prefetch(scene.file, second_is_wrong, 2, nullptr, &scene.job), "load");
    scene.expect_refused(gm_save(scene.draft, second_is_wrong, 2, nullptr, &scene.job), "save");
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, ranges_beyond_the_file_move_nothing_however_they_wrap) {
    Scene scene;
    const gm_range ranges[] = {{kFileBytes, 1, scene.memory, 0, 0},
                               {kFileBytes - 1, 2, scene.memory, 1, 0},
                               {UINT64_MAX, 1, scene.memory, 2, 0},
                               {UINT64_MAX - 49, 100, scene.memory, 3, 0},
                               {UINT64_MAX, UINT64_MAX - 2 * scene.memory, scene.memory, 4, 0},
                               {kFileBytes, 0, 0, 5, 0}};
    for (gm_file* file : {scene.file, scene.draft}) {
        const auto start = file == scene.file ? gm_prefetch : gm_save;

        cr_assert_eq(start(file, ranges, 6, nullptr, &scene.job), GM_OK, "%s", gm_message());
        cr_expect_eq(gm_job_wait(scene.job, GM_ALL_GROUPS, -1), GM_ESHORT);

        for (std::uint32_t g = 0; g < 5; ++g) cr_expect_eq(gm_job_poll(scene.job, g), GM_ESHORT);
        cr_expect_eq(gm_job_poll(scene.job, 5), GM_OK);
        std::uint32_t indexes[6];
        gm_status statuses[6];
        std::uint32_t n = 0;
        cr_assert_eq(gm_job_errors(scene.job, indexes, statuses, 6, &n), GM_OK);
        cr_assert_eq(n, 5);
        for (std::uint32_t i = 0; i < n; ++i) cr_expect_eq(indexes[i], i);
        gm_job_free(scene.job);
    }
    const auto untouched = std::vector<std::byte>(kFileBytes, std::byte{0xee});
    cr_expect(scene.client.fetch(scene.memory, kFileBytes) == untouched);
    cr_expect_eq(gm_commit(scene.draft, 0, nullptr), GM_ESHORT);
    cr_expect(!scene.daemon.exists("b"));
}

DeviceTest(gpumap_bad_input, grids_that_wrap_around_are_refused_and_find_no_other_bytes) {
    Scene scene;
    const std::int32_t negative[] = {0, -1, 2};
    const std::int32_t far[] = {0, INT32_MAX, 2};
    const auto refused = [&](const char* what, auto change) {
        gm_grid grid = scene.grid();
        change(grid);
        scene.expect_refused(gm_prefetch_grid(scene.file, &grid, nullptr, &scene.job), what);
    };

    // Block 2 would be found at the file's start again.
    refused("file blocks", [](gm_grid& grid) { grid.file_block_stride = 1ULL << 63; });
    refused("file layers", [](gm_grid& grid) { grid.file_layer_stride = UINT64_MAX - 99; });
    refused("file offset", [](gm_grid& grid) { grid.file_off = UINT64_MAX - 99; });
    refused("device blocks", [](gm_grid& grid) { grid.dev_block_stride = 1ULL << 63; });
    refused("device layers", [](gm_grid& grid) { grid.dev_layer_stride = UINT64_MAX - 99; });
    refused("device base", [](gm_grid& grid) { grid.dev_base = UINT64_MAX - 99; });
    refused("a block far away", [&](gm_grid& grid) {
        grid.block_ids = far;
        grid.dev_block_stride = 1ULL << 34;
    });
    refused("a negative block", [&](gm_grid& grid) { grid.block_ids = negative; });
    refused("too many pieces", [](gm_grid& grid) { grid.n_blocks = grid.n_layers = 1U << 16; });
    refused("too many groups", [](gm_grid& grid) {
        grid.n_blocks = 1;
        grid.n_layers = 65537;
        grid.file_layer_stride = grid.dev_layer_stride = 0;
    });
    refused("reserved", [](gm_grid& grid) { grid.reserved = 1; });
    refused("no size", [](gm_grid& grid) { grid.size = 0; });
    refused("a shorter size", [](gm_grid& grid) { grid.size = sizeof grid - 8; });

    gm_grid none = scene.grid();
    none.n_blocks = 0;
    none.file_block_stride = UINT64_MAX;
    cr_expect_eq(gm_prefetch_grid(scene.file, &none, nullptr, nullptr), GM_OK);
    gm_grid good = scene.grid();
    cr_expect_eq(gm_prefetch_grid(scene.file, &good, nullptr, nullptr), GM_OK, "%s", gm_message());
    const auto got = scene.client.fetch(scene.memory, 1200);
    cr_expect_eq(std::memcmp(got.data(), scene.bytes.data(), 1200), 0);
}

DeviceTest(gpumap_bad_input, saves_that_overlap_in_the_file_are_refused) {
    Scene scene;
    const gm_devptr memory = scene.memory;
    const gm_range in_one_group[] = {{0, 100, memory, 3, 0}, {99, 1, memory + 200, 3, 0}};
    const gm_range in_two_groups[] = {
        {500, 100, memory, 0, 0}, {0, 100, memory, 0, 0}, {90, 20, memory + 200, 1, 0}};
    const gm_range side_by_side[] = {{100, 100, memory, 0, 0}, {0, 100, memory, 1, 0}};

    scene.expect_refused(gm_save(scene.draft, in_one_group, 2, nullptr, &scene.job), "one group");
    scene.expect_refused(gm_save(scene.draft, in_two_groups, 3, nullptr, &scene.job), "two");
    cr_expect_eq(gm_save(scene.draft, side_by_side, 2, nullptr, nullptr), GM_OK);
    cr_expect_eq(gm_prefetch(scene.file, in_two_groups, 3, nullptr, nullptr), GM_OK);
    scene.client.fill(memory, std::byte{0xee}, kFileBytes);
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, loads_that_overlap_in_the_device_touch_nothing_else) {
    Scene scene;
    const gm_range ranges[] = {{0, 3000, scene.memory + 1000, 0, 0},
                               {5000, 3000, scene.memory + 2000, 0, 0}};

    cr_expect_eq(gm_prefetch(scene.file, ranges, 2, nullptr, nullptr), GM_OK);

    const auto got = scene.client.fetch(scene.memory, kFileBytes);
    const std::vector<std::byte> untouched(kFileBytes, std::byte{0xee});
    cr_expect_eq(std::memcmp(got.data(), untouched.data(), 1000), 0);
    cr_expect_eq(std::memcmp(got.data() + 1000, scene.bytes.data(), 1000), 0);
    cr_expect_eq(std::memcmp(got.data() + 4000, scene.bytes.data() + 7000, 1000), 0);
    cr_expect_eq(std::memcmp(got.data() + 5000, untouched.data(), 5000), 0);
}

DeviceTest(gpumap_bad_input, unaligned_ranges_land_to_the_byte) {
    Scene scene;
    scene.daemon.push_out(scene.ino);
    const gm_range ranges[] = {{1, 3, scene.memory + 5, 0, 0},
                               {777, 2049, scene.memory + 1001, 0, 0},
                               {4095, 4098, scene.memory + 5003, 1, 0}};

    cr_expect_eq(gm_prefetch(scene.file, ranges, 3, nullptr, nullptr), GM_OK, "%s", gm_message());

    std::vector<std::byte> wanted(kFileBytes, std::byte{0xee});
    for (const gm_range& range : ranges)
        std::memcpy(wanted.data() + (range.dst - scene.memory), scene.bytes.data() + range.file_off,
                    range.len);
    cr_expect(scene.client.fetch(scene.memory, kFileBytes) == wanted);
}

DeviceTest(gpumap_bad_input, unknown_flags_and_sizes_are_refused) {
    Scene scene;
    const gm_range range{0, 100, scene.memory, 0, 0};
    const auto refused = [&](const char* what, auto change) {
        gm_opts opts = options();
        change(opts);
        scene.expect_refused(gm_prefetch(scene.file, &range, 1, &opts, &scene.job), what);
        scene.expect_refused(gm_save(scene.draft, &range, 1, &opts, &scene.job), what);
    };
    refused("opts->flags", [](gm_opts& opts) { opts.flags = 4; });
    refused("opts->size 0", [](gm_opts& opts) { opts.size = 0; });
    refused("opts->size within the stream", [&](gm_opts& opts) {
        opts.size = 20;
        opts.after = reinterpret_cast<gm_stream>(UINTPTR_MAX);
    });
    scene.expect_refused(gm_commit(scene.draft, 1, &scene.job), "commit flags");

    cr_assert_eq(gm_prefetch(scene.file, &range, 1, nullptr, &scene.job), GM_OK);
    gm_stream stream = nullptr;
    cr_assert_eq(gm_stream_create(scene.client, &stream), GM_OK);
    cr_expect_eq(gm_job_wait_stream(scene.job, 0, stream, 1U << 31), GM_EINVAL);
    for (const std::uint32_t group : {1U, 65535U, 65536U, GM_ALL_GROUPS - 1}) {
        cr_expect_eq(gm_job_wait_stream(scene.job, group, stream, 0), GM_EINVAL);
        cr_expect_eq(gm_job_wait(scene.job, group, -1), GM_EINVAL);
        cr_expect_eq(gm_job_poll(scene.job, group), GM_EINVAL);
    }
    cr_expect_eq(gm_job_wait(scene.job, 0, INT64_MAX), GM_OK);
    cr_expect_eq(gm_job_wait(scene.job, 0, INT64_MIN), GM_OK);
    std::uint32_t n = 0;
    cr_expect_eq(gm_job_errors(scene.job, nullptr, nullptr, 1, &n), GM_EINVAL);
    cr_expect_eq(gm_job_errors(scene.job, nullptr, nullptr, 0, nullptr), GM_EINVAL);
    gm_job_free(scene.job);

    gm_file* file = nullptr;
    std::uint64_t size = 100;
    cr_expect_eq(gm_file_open(scene.client, "v/a", 4, &file, &size), GM_EINVAL);
    cr_expect_eq(gm_file_open(scene.client, "v/a", GM_MAKE_DIRS, &file, &size), GM_EINVAL);
    cr_expect_eq(gm_file_open(scene.client, "v/c", GM_CREATE | 8, &file, &size), GM_EINVAL);
    gm_info info{};
    cr_expect_eq(gm_query(scene.client, &info), GM_EINVAL);
    info.size = 12;
    cr_expect_eq(gm_query(scene.client, &info), GM_EINVAL);
    gm_result result{};
    cr_expect_eq(gm_cq_reap(scene.client, &result, -1), GM_EINVAL);
    cr_expect_eq(gm_cq_reap(scene.client, nullptr, 1), GM_EINVAL);
    scene.client.fill(scene.memory, std::byte{0xee}, kFileBytes);
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, a_failed_save_call_leaves_the_draft_as_it_was) {
    Scene scene;
    const gm_range range{0, 100, scene.memory, 0, 0};
    gm_stream stream = nullptr;
    cr_assert_eq(gm_stream_create(scene.client, &stream), GM_OK);
    cr_assert_eq(gm_stream_destroy(scene.client, stream), GM_OK);
    gm_opts opts = options();
    opts.after = stream;
    if (backend == GM_BACKEND_HOST)  // CUDA's driver may crash over such a stream
        scene.expect_refused(gm_save(scene.draft, &range, 1, &opts, &scene.job), "no stream");

    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, a_file_of_another_context_is_refused) {
    Scene scene;
    Client other(scene.daemon.socket());
    gm_file* files[] = {scene.file, other.open("v/a")};
    const std::uint32_t counts[] = {1, 1};
    const gm_range ranges[] = {{0, 100, scene.memory, 0, 0}, {0, 100, scene.memory + 100, 0, 0}};

    scene.expect_refused(
        gm_prefetch_many(scene.client, files, counts, 2, ranges, nullptr, &scene.job), "others'");
    files[1] = scene.draft;
    scene.expect_refused(
        gm_prefetch_many(scene.client, files, counts, 2, ranges, nullptr, &scene.job), "a draft");
    files[1] = scene.file;
    cr_expect_eq(gm_prefetch_many(scene.client, files, counts, 2, ranges, nullptr, nullptr), GM_OK);
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, what_is_no_path_to_a_file_is_told) {
    Scene scene;
    const std::string too_long(5000, 'x');
    const std::string long_name = "v/" + std::string(256, 'x');
    std::uint64_t size = 100;
    gm_file* file = nullptr;

    for (const char* path : {"", "/", "v", "v/", "v/..", "../v/a", "v/../v/a", too_long.c_str()}) {
        cr_expect_eq(gm_file_open(scene.client, path, 0, &file, &size), GM_EINVAL, "%s", path);
        cr_expect_eq(file, nullptr);
    }
    for (const char* path : {"", "v/..", "..", "v/../c", too_long.c_str(), long_name.c_str()}) {
        cr_expect_eq(gm_file_open(scene.client, path, GM_CREATE, &file, &size), GM_EINVAL, "%s",
                     path);
        cr_expect_eq(file, nullptr);
    }
    for (const char* path : {"none/c", "v/a/c"})
        cr_expect_eq(gm_file_open(scene.client, path, GM_CREATE, &file, &size), GM_ENOENT);
    cr_expect_eq(size, 100);
    size = 0;
    cr_expect_eq(gm_file_open(scene.client, "v/c", GM_CREATE, &file, &size), GM_EINVAL);
    cr_expect_eq(gm_file_open(scene.client, "v/c", GM_CREATE, &file, nullptr), GM_EINVAL);
    for (size = UINT64_MAX; size > 64 * kMiB; size /= 2)
        cr_expect_eq(gm_file_open(scene.client, "v/c", GM_CREATE, &file, &size), GM_ENOSPC);
    cr_expect_eq(gm_query(scene.client, nullptr), GM_EINVAL);  // and the connection stands
    scene.expect_saves();
}

DeviceTest(gpumap_bad_input, device_memory_and_streams_that_are_not_there_are_refused) {
    Scene scene;
    gm_devptr memory = 0;

    cr_expect_eq(gm_device_alloc(scene.client, 0, &memory), GM_EINVAL);
    cr_expect_eq(gm_device_alloc(scene.client, 1, nullptr), GM_EINVAL);
    for (const std::uint64_t bytes : {UINT64_MAX, UINT64_MAX - 255})
        cr_expect_eq(gm_device_alloc(scene.client, bytes, &memory), GM_ENOMEM);
    cr_expect_eq(memory, 0);
    cr_expect_eq(gm_device_free(scene.client, scene.memory + 8), GM_EINVAL);
    cr_expect_eq(gm_stream_create(scene.client, nullptr), GM_EINVAL);
    cr_expect_eq(gm_stream_sync(scene.client, nullptr), GM_EINVAL);
    cr_expect_eq(gm_stream_destroy(scene.client, nullptr), GM_EINVAL);
    cr_expect_eq(gm_stream_destroy(scene.client, &scene), GM_EINVAL);
    std::size_t length = 1;
    cr_expect_eq(gm_stats_json(scene.client, nullptr, &length), GM_EINVAL);
    cr_expect_eq(gm_stats_json(scene.client, nullptr, nullptr), GM_EINVAL);
    length = 0;
    cr_expect_eq(gm_stats_json(scene.client, nullptr, &length), GM_ESHORT);
    cr_expect_gt(length, 1);
    scene.expect_saves();
}
