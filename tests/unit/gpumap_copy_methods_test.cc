// Which copies go how, and that each way brings the same bytes.
#include <criterion/criterion.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "gpumap/copy_methods.h"
#include "tests/unit/gpumap_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using gpumap::CopyAbilities;
using gpumap::CopyMethod;
using gpumap::CudaOptions;
using gpumap::Direction;
using gpumap::LocatedCopy;

TestSuite(gpumap_copy_methods, .timeout = 60);

namespace {

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

const CopyAbilities kAll{
    .batch = true, .kernels = true, .stage_bytes = 4 * kMiB, .kernel_pieces = 4096};

std::byte* host(std::uint64_t offset) { return reinterpret_cast<std::byte*>(0x10000000 + offset); }

CudaOptions options(CopyMethod method = CopyMethod::automatic) {
    CudaOptions made;
    made.method = method;
    made.small_bytes = 32 * kKiB;
    return made;
}

/// `count` copies of `bytes`, which lie `apart` in host memory and scattered in the device.
std::vector<LocatedCopy> pieces(std::size_t count, std::uint64_t bytes, std::uint64_t apart) {
    std::vector<LocatedCopy> made;
    for (std::size_t i = 0; i < count; ++i)
        made.push_back({{0x9000000000 + (i * 7919 % count) * 2 * bytes, host(i * apart), bytes},
                        1,
                        0xa000000000 + i * apart});
    return made;
}

}  // namespace

Test(gpumap_copy_methods, small_pieces_that_lie_together_are_staged) {
    const auto choice = choose(Direction::in, pieces(256, 8 * kKiB, 8 * kKiB), kAll, options());

    cr_expect_eq(choice.small_method, CopyMethod::stage);
    cr_expect_eq(choice.small.size(), 256);
    cr_expect_eq(runs_of(choice.small).size(), 1);
    cr_expect(choice.batched.empty() && choice.one_by_one.empty());
}

Test(gpumap_copy_methods, small_pieces_that_lie_apart_are_gathered) {
    const auto choice = choose(Direction::in, pieces(256, 8 * kKiB, 64 * kKiB), kAll, options());

    cr_expect_eq(choice.small_method, CopyMethod::gather);
    cr_expect_eq(choice.small.size(), 256);
}

Test(gpumap_copy_methods, what_does_not_fit_into_staging_is_gathered) {
    CopyAbilities little = kAll;
    little.stage_bytes = kMiB;
    const auto choice = choose(Direction::in, pieces(256, 8 * kKiB, 8 * kKiB), little, options());

    cr_expect_eq(choice.small_method, CopyMethod::gather);
}

Test(gpumap_copy_methods, larger_pieces_go_in_batches_and_few_one_by_one) {
    const auto many = choose(Direction::in, pieces(64, 32 * kKiB, 64 * kKiB), kAll, options());
    const auto few = choose(Direction::in, pieces(15, 8 * kKiB, 64 * kKiB), kAll, options());

    cr_expect_eq(many.batched.size(), 64);
    cr_expect(many.small.empty() && many.one_by_one.empty());
    cr_expect_eq(few.one_by_one.size(), 15);
    cr_expect(few.small.empty() && few.batched.empty());
}

Test(gpumap_copy_methods, from_the_device_no_kernel_copies) {
    const auto choice = choose(Direction::out, pieces(256, 8 * kKiB, 8 * kKiB), kAll, options());

    cr_expect_eq(choice.batched.size(), 256);
    cr_expect(choice.small.empty());
}

Test(gpumap_copy_methods, neighbours_on_both_sides_are_one_copy) {
    std::vector<LocatedCopy> copies = {{{0x1000, host(0), 100}, 1, 0},
                                       {{0x1064, host(100), 50}, 1, 0},
                                       {{0x1096, host(150), 50}, 2, 0},
                                       {{0x2000, host(200), 50}, 2, 0}};
    const auto choice = choose(Direction::in, copies, kAll, options());

    // The third begins where the second ends, but in other pinned memory; the fourth's neighbour
    // is none in the device.
    cr_assert_eq(choice.one_by_one.size(), 3);
    cr_expect_eq(choice.one_by_one[0].bytes, 150);
    cr_expect_eq(choice.one_by_one[1].bytes, 50);
    cr_expect_eq(choice.one_by_one[2].bytes, 50);
}

Test(gpumap_copy_methods, memory_that_is_not_pinned_is_copied_one_by_one) {
    auto copies = pieces(64, 8 * kKiB, 64 * kKiB);
    for (LocatedCopy& one : copies) one.pin = 0;
    for (const CopyMethod method :
         {CopyMethod::automatic, CopyMethod::batch, CopyMethod::stage, CopyMethod::gather}) {
        const auto choice = choose(Direction::in, copies, kAll, options(method));
        cr_expect_eq(choice.one_by_one.size(), 64);
        cr_expect(choice.batched.empty() && choice.small.empty());
    }
}

Test(gpumap_copy_methods, what_a_driver_lacks_is_not_chosen) {
    const auto nothing = choose(Direction::in, pieces(256, 8 * kKiB, 8 * kKiB), {}, options());
    const CopyAbilities batches{
        .batch = true, .kernels = false, .stage_bytes = 0, .kernel_pieces = 0};
    const auto batched = choose(Direction::in, pieces(256, 8 * kKiB, 8 * kKiB), batches, options());

    cr_expect_eq(nothing.one_by_one.size(), 256);
    cr_expect_eq(batched.batched.size(), 256);
}

Test(gpumap_copy_methods, no_byte_is_chosen_twice_or_not_at_all) {
    const std::uint64_t seed = std::random_device{}();
    cr_log_info("seed %lu", seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 500; ++round) {
        std::vector<LocatedCopy> copies;
        std::uint64_t at = 0;
        std::map<std::uint64_t, std::uint64_t> wanted;  // by device address, the host's
        for (std::size_t i = 0, n = random() % 64; i < n; ++i) {
            const std::uint64_t bytes = random() % 3 == 0 ? 64 + random() % 64 : 4;
            at += random() % 2 * 16;
            const std::uint64_t device = 0x5000 + at + random() % 2 * 0x100000;
            copies.push_back({{device, host(at), bytes}, random() % 3, 0xa000000000 + at});
            for (std::uint64_t b = 0; b < bytes; ++b) wanted[device + b] = at + b;
            at += bytes;
        }
        CudaOptions some = options(static_cast<CopyMethod>(random() % 5));
        some.small_bytes = 32;
        some.few = random() % 8;
        some.run_bytes = 16;
        CopyAbilities can = kAll;
        can.batch = random() % 4 != 0;
        can.kernels = random() % 4 != 0;
        const auto choice =
            choose(random() % 2 == 0 ? Direction::in : Direction::out, copies, can, some);

        std::map<std::uint64_t, std::uint64_t> got;
        const auto add = [&](const gpumap::Copy& copy) {
            for (std::uint64_t b = 0; b < copy.bytes; ++b) {
                const bool is_new = got.emplace(copy.device + b,
                                                static_cast<std::uint64_t>(copy.host - host(0)) + b)
                                        .second;
                cr_assert(is_new, "seed %lu round %d: a byte twice", seed, round);
            }
        };
        for (const auto& copy : choice.one_by_one) add(copy);
        for (const auto& copy : choice.batched) add(copy);
        for (const auto& one : choice.small) add(one.copy);
        cr_assert(got == wanted, "seed %lu round %d", seed, round);
        cr_assert(can.batch || choice.batched.empty());
        cr_assert(can.kernels || choice.small.empty());
    }
}

namespace {

/// Loads and saves pieces of all alignments by `method`, and compares each byte.
void moves_every_byte(const char* method) {
    use_fake_cuda();
    ::setenv("KVFS_CUDA", (std::string("small=32768,few=2,slice=50,method=") + method).c_str(), 1);
    Daemon daemon;
    const auto bytes = Daemon::bytes(7, 3 * kMiB + 77);
    daemon.put("dram", bytes);
    daemon.put_below("ssd", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(8 * kMiB);
    std::mt19937_64 random(11);
    for (const char* name : {"v/dram", "v/ssd"}) {
        client.fill(memory, std::byte{0x11}, 8 * kMiB);
        std::vector<std::byte> wanted(8 * kMiB, std::byte{0x11});
        std::vector<gm_range> ranges;
        std::uint64_t to = 0;
        for (std::uint64_t at = 0; at < bytes.size();) {
            const std::uint64_t length = std::min<std::uint64_t>(
                bytes.size() - at, random() % 10 == 0 ? 100'000 : random() % 9000);
            to += random() % 64;
            ranges.push_back(
                {at, length, memory + to, static_cast<std::uint32_t>(random() % 3), 0});
            std::memcpy(wanted.data() + to, bytes.data() + at, length);
            to += length;
            at += length + random() % 2 * 512;
        }
        gm_file* file = client.open(name);
        const gm_status status = gm_prefetch(
            file, ranges.data(), static_cast<std::uint32_t>(ranges.size()), nullptr, nullptr);
        cr_assert_eq(status, GM_OK, "%s", gm_message());
        cr_expect(client.fetch(memory, 8 * kMiB) == wanted, "%s from %s", method, name);

        gm_file* draft = client.create("v/saved", bytes.size());
        cr_assert_eq(gm_save(draft, ranges.data(), static_cast<std::uint32_t>(ranges.size()),
                             nullptr, nullptr),
                     GM_OK, "%s", gm_message());
        cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK);
        const auto saved = daemon.read("saved");
        cr_assert_eq(saved.size(), bytes.size());
        for (const gm_range& range : ranges)
            cr_expect_eq(std::memcmp(saved.data() + range.file_off, bytes.data() + range.file_off,
                                     range.len),
                         0);
        gm_file_close(draft);
        gm_file_close(file);
    }
    cr_expect_eq(FakeCuda::complaint(), "");
}

}  // namespace

Test(gpumap_copy_methods, single_copies_move_every_byte) {
    moves_every_byte("copies");
    cr_expect_eq(FakeCuda::calls("cuMemcpyBatchAsync") + FakeCuda::calls("cuLaunchKernel"), 0);
}

Test(gpumap_copy_methods, batches_move_every_byte) {
    moves_every_byte("batch");
    cr_expect_gt(FakeCuda::calls("cuMemcpyBatchAsync"), 0);
    cr_expect_eq(FakeCuda::largest_batch(), 50);  // as KVFS_CUDA says
    cr_expect_eq(FakeCuda::calls("cuLaunchKernel"), 0);
}

Test(gpumap_copy_methods, staging_moves_every_byte) {
    moves_every_byte("stage");
    cr_expect_gt(FakeCuda::calls("cuLaunchKernel"), 0);
}

Test(gpumap_copy_methods, gathering_moves_every_byte) {
    moves_every_byte("gather");
    cr_expect_gt(FakeCuda::calls("cuLaunchKernel"), 0);
}

Test(gpumap_copy_methods, the_chosen_methods_together_move_every_byte) {
    moves_every_byte("auto");
    cr_expect_gt(FakeCuda::calls("cuLaunchKernel"), 0);
    cr_expect_gt(FakeCuda::calls("cuMemcpyBatchAsync"), 0);
}

Test(gpumap_copy_methods, pieces_that_overlap_in_host_memory_are_each_in_one_run) {
    std::vector<LocatedCopy> copies;
    const std::pair<std::uint64_t, std::uint64_t> pieces_at[] = {
        {0, 100}, {50, 100}, {60, 10}, {150, 10}, {400, 8}};
    for (const auto& [at, bytes] : pieces_at)
        copies.push_back({{0x9000 + at * 16, host(at), bytes}, 1, 0xa000000000 + at});

    const auto runs = gpumap::runs_of(copies);

    cr_assert_eq(runs.size(), 2);
    cr_expect_eq(runs[0].host, host(0));
    cr_expect_eq(runs[0].bytes, 160);
    cr_expect_eq(runs[1].host, host(400));
    cr_expect_eq(runs[1].at, gpumap::kRunAlignment);
}

Test(gpumap_copy_methods, staging_moves_ranges_that_overlap_in_the_file) {
    use_fake_cuda();
    ::setenv("KVFS_CUDA", "small=32768,few=2,method=stage", 1);
    Daemon daemon;
    const auto bytes = Daemon::bytes(8, kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(kMiB);
    std::vector<gm_range> ranges;
    for (std::uint64_t i = 0; i < 64; ++i)
        ranges.push_back({i * 500, 3000, memory + i * 4096, 0, 0});

    cr_assert_eq(gm_prefetch(client.open("v/a"), ranges.data(), 64, nullptr, nullptr), GM_OK);

    const auto got = client.fetch(memory, kMiB);
    for (std::uint64_t i = 0; i < 64; ++i)
        cr_expect_eq(std::memcmp(&got[i * 4096], &bytes[i * 500], 3000), 0, "range %lu", i);
    cr_expect_gt(FakeCuda::calls("cuLaunchKernel"), 0);
}
