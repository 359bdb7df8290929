#include <criterion/criterion.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "fs/base/crc32c.h"
#include "gpumap/plan.h"

using namespace kvfs;
using namespace kvfs::gpumap;

TestSuite(gpumap_plan, .timeout = 20);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

Plan plan_of(const std::vector<gm_range>& ranges, std::uint64_t file_size) {
    const FileRanges file{file_size, ranges};
    auto plan = make_plan(std::span(&file, 1));
    cr_assert(plan.ok());
    return *std::move(plan);
}

}  // namespace

Test(gpumap_plan, neighbours_in_file_and_device_become_one_piece) {
    const Plan plan =
        plan_of({{0, 10, 1000, 0, 0}, {10, 20, 1010, 0, 0}, {30, 5, 1030, 0, 0}}, 100);

    cr_assert_eq(plan.pieces.size(), 1);
    cr_expect_eq(plan.pieces[0].length, 35);
    cr_expect_eq(plan.pieces[0].n_ranges, 3);
}

Test(gpumap_plan, a_gap_in_the_device_keeps_pieces_apart) {
    const Plan plan = plan_of({{0, 10, 1000, 0, 0}, {10, 20, 1011, 0, 0}}, 100);

    cr_expect_eq(plan.pieces.size(), 2);
}

Test(gpumap_plan, another_group_keeps_pieces_apart) {
    const Plan plan = plan_of({{0, 10, 1000, 0, 0}, {10, 20, 1010, 1, 0}}, 100);

    cr_assert_eq(plan.pieces.size(), 2);
    cr_expect_eq(plan.group_bytes[0], 10);
    cr_expect_eq(plan.group_bytes[1], 20);
}

Test(gpumap_plan, ranges_in_any_order_are_sorted_by_group_and_offset) {
    const Plan plan = plan_of({{50, 10, 1, 7, 0}, {20, 10, 520, 2, 0}, {10, 10, 510, 2, 0}}, 100);

    cr_assert_eq(plan.groups.size(), 2);
    cr_expect_eq(plan.groups[0], 2);
    cr_expect_eq(plan.groups[1], 7);
    cr_assert_eq(plan.pieces.size(), 2);
    cr_expect_eq(plan.pieces[0].file_off, 10);
    cr_expect_eq(plan.pieces[0].length, 20);
    cr_expect_eq(plan.ranges[0].index, 2);
    cr_expect_eq(plan.ranges[1].index, 1);
}

Test(gpumap_plan, what_lies_beyond_the_file_is_too_short) {
    const Plan plan =
        plan_of({{90, 11, 1, 0, 0}, {UINT64_MAX, 2, 1, 0, 0}, {90, 10, 1, 0, 0}}, 100);

    cr_assert_eq(plan.too_short.size(), 2);
    cr_expect_eq(plan.too_short[0].first, 0);
    cr_expect_eq(plan.too_short[1].first, 1);
    cr_expect_eq(plan.pieces.size(), 1);
}

Test(gpumap_plan, empty_ranges_make_groups_but_no_pieces) {
    const Plan plan = plan_of({{100, 0, 0, 3, 0}}, 100);

    cr_expect_eq(plan.groups.size(), 1);
    cr_expect_eq(plan.pieces.size(), 0);
    cr_expect_eq(plan.too_short.size(), 0);
}

Test(gpumap_plan, wrong_groups_and_addresses_are_refused) {
    const gm_range wrong_group{0, 1, 1, GM_ALL_GROUPS, 0};
    const gm_range wraps{0, 2, UINT64_MAX, 0, 0};
    const FileRanges first{100, {&wrong_group, 1}};
    const gm_range null{0, 1, 0, 0, 0};
    const FileRanges second{100, {&wraps, 1}};
    const FileRanges third{100, {&null, 1}};

    cr_expect_not(make_plan(std::span(&first, 1)).ok());
    cr_expect_not(make_plan(std::span(&second, 1)).ok());
    cr_expect_not(make_plan(std::span(&third, 1)).ok());
}

Test(gpumap_plan, files_have_their_own_pieces) {
    const gm_range one{0, 10, 1000, 0, 0};
    const gm_range two{10, 10, 1010, 0, 0};
    const FileRanges files[] = {{100, {&one, 1}}, {100, {}}, {100, {&two, 1}}};
    auto plan = make_plan(files);
    cr_assert(plan.ok());

    cr_assert_eq(plan->first_piece.size(), 4);
    cr_expect_eq(plan->first_piece[1], 1);
    cr_expect_eq(plan->first_piece[2], 1);
    cr_expect_eq(plan->first_piece[3], 2);
}

Test(gpumap_plan, a_chunk_is_read_once_for_all_groups_that_want_some_of_it) {
    // Block-major: 4 blocks of 1 MiB, each with 4 layers.
    std::vector<gm_range> ranges;
    for (std::uint64_t b = 0; b < 4; ++b) {
        for (std::uint32_t l = 0; l < 4; ++l)
            ranges.push_back({b * kMiB + l * kMiB / 4, kMiB / 4, (l * 4 + b + 1) * kMiB, l, 0});
    }
    const Plan plan = plan_of(ranges, 4 * kMiB);

    const auto reads = cut_at_chunks(plan, 0);

    std::uint32_t chunks = 0;
    std::size_t parts = 0;
    for (const auto& [group, read] : reads) {
        cr_expect_eq(group, 0);
        chunks += read.chunks;
        parts += read.parts.size();
    }
    cr_expect_eq(chunks, 4);
    cr_expect_eq(parts, 16);
}

Test(gpumap_plan, the_end_of_a_file_is_read_chunk_by_chunk) {
    const Plan plan = plan_of({{0, 10 * kMiB, kMiB, 0, 0}}, 10 * kMiB);

    std::vector<std::uint32_t> chunks;
    for (const auto& [group, read] : cut_at_chunks(plan, 0)) chunks.push_back(read.chunks);

    cr_expect(chunks == std::vector<std::uint32_t>({4, 2, 1, 1, 1, 1}));
}

Test(gpumap_plan, paged_layers_are_in_order_of_group_and_file) {
    // By turns, as a grid gives them; one group backwards.
    std::vector<gm_range> ranges;
    for (std::uint64_t b = 0; b < 50; ++b) {
        for (std::uint32_t l = 0; l < 4; ++l) {
            const std::uint64_t block = l == 2 ? 49 - b : b;
            ranges.push_back({(block * 4 + l) * 10, 10, (block * 4 + l + 1) * 100, l * 7, 0});
        }
    }
    const Plan plan = plan_of(ranges, 2000);

    cr_assert_eq(plan.ranges.size(), 200);
    for (std::uint32_t i = 0; i < 200; ++i) {
        const std::uint64_t block = i % 50;
        const std::uint32_t layer = i / 50;
        cr_expect_eq(plan.ranges[i].group, layer);
        cr_expect_eq(plan.ranges[i].file_off, (block * 4 + layer) * 10);
        cr_expect_eq(plan.ranges[i].index, (layer == 2 ? 49 - block : block) * 4 + layer);
    }
    cr_expect_eq(plan.groups[3], 21);
    cr_expect_eq(plan.group_pieces[2], 50);
}

Test(gpumap_plan, any_ranges_of_any_files_are_in_order_and_keep_their_numbers) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        std::mt19937_64 random(seed);
        std::vector<std::vector<gm_range>> ranges(1 + random() % 3);
        std::vector<FileRanges> files;
        struct Wanted {
            std::size_t file;
            gm_range range;
            std::uint32_t index;
        };
        std::vector<Wanted> wanted;
        std::uint32_t index = 0;
        const std::uint64_t groups = 1 + random() % 12;
        for (std::size_t f = 0; f < ranges.size(); ++f) {
            for (std::uint64_t n = random() % 30; n > 0; --n, ++index) {
                // Some are empty, and some beyond the file.
                const gm_range range{random() % 1100, random() % 4 * 10, 1 + random() % 5000,
                                     static_cast<std::uint32_t>(random() % groups * 7), 0};
                ranges[f].push_back(range);
                if (range.len > 0 && range.file_off + range.len <= 1000)
                    wanted.push_back({f, range, index});
            }
            files.push_back({1000, ranges[f]});
        }
        std::stable_sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) {
            return std::tie(a.file, a.range.group, a.range.file_off) <
                   std::tie(b.file, b.range.group, b.range.file_off);
        });

        const auto plan = make_plan(files);

        cr_assert(plan.ok(), "seed %lu", seed);
        cr_assert_eq(plan->ranges.size(), wanted.size(), "seed %lu", seed);
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            cr_assert_eq(plan->ranges[i].index, wanted[i].index, "seed %lu", seed);
            cr_assert_eq(plan->ranges[i].device, wanted[i].range.dst, "seed %lu", seed);
            cr_assert_eq(plan->groups[plan->ranges[i].group], wanted[i].range.group);
        }
    }
}

Test(gpumap_plan, reads_are_cut_at_chunks_and_parts_do_not_cross_them) {
    const Plan plan = plan_of({{kMiB - 10, 5 * kMiB, kMiB, 0, 0}}, 8 * kMiB);

    const auto reads = cut_at_chunks(plan, 0);

    std::uint64_t bytes = 0;
    for (const auto& [group, read] : reads) {
        cr_expect_leq(read.chunks, kReadChunksMax);
        for (const auto& part : read.parts) {
            cr_expect_eq(part.file_off / kChunkBytes,
                         (part.file_off + part.bytes - 1) / kChunkBytes);
            cr_expect_geq(part.file_off / kChunkBytes, read.first_chunk);
            cr_expect_lt(part.file_off / kChunkBytes, read.first_chunk + read.chunks);
            bytes += part.bytes;
        }
    }
    cr_expect_eq(bytes, 5 * kMiB);
}

Test(gpumap_plan, copies_are_cut_where_segments_are) {
    std::vector<std::byte> first(100);
    std::vector<std::byte> second(50);
    FileLease lease;
    lease.size = 150;
    lease.segments.push_back({0, first.data(), 100, nullptr});
    lease.segments.push_back({100, second.data(), 50, nullptr});
    const Plan plan = plan_of({{90, 20, 5000, 1, 0}, {0, 10, 1, 2, 0}}, 150);

    std::vector<Copy> copies;
    cut_at_segments(plan, 0, lease,
                    [&](std::uint32_t, const Copy& copy) { copies.push_back(copy); });

    cr_assert_eq(copies.size(), 3);
    cr_expect_eq(copies[0].host, first.data() + 90);
    cr_expect_eq(copies[0].bytes, 10);
    cr_expect_eq(copies[1].host, second.data());
    cr_expect_eq(copies[1].device, 5010);
    cr_expect_eq(copies[2].host, first.data());
    cr_expect_eq(file_offset(plan, copies[1]), 100);
    cr_expect_eq(file_offset(plan, copies[2]), 0);
}
