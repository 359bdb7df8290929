#include "fs/store/arena.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "fs/base/mapping.h"

using kvfs::Allocation;
using kvfs::Arena;
using kvfs::Extent;
using kvfs::Mapping;
using kvfs::VolumeId;

namespace {

constexpr std::uint64_t kUnit = Arena::kUnitBytes;
constexpr VolumeId kRed = 11;
constexpr VolumeId kBlue = 22;

std::unique_ptr<Arena> make_arena(std::uint64_t slabs, std::uint64_t units_a_slab) {
    auto arena = Arena::create({.bytes = std::max(slabs * units_a_slab, std::uint64_t{16}) * kUnit,
                                .slab_bytes = units_a_slab * kUnit});
    cr_assert(arena.ok(), "%s", arena.ok() ? "" : arena.error().message().c_str());
    return *std::move(arena);
}

Allocation take(Arena& arena, VolumeId volume, std::uint64_t units) {
    auto allocation = arena.allocate(volume, units * kUnit);
    cr_assert(allocation.ok(), "%llu units", static_cast<unsigned long long>(units));
    return *std::move(allocation);
}

bool is_full(Arena& arena, VolumeId volume, std::uint64_t units) {
    const auto allocation = arena.allocate(volume, units * kUnit);
    return !allocation.ok() && allocation.error().code == ENOSPC;
}

std::set<std::uint32_t> slabs_of(const Allocation& allocation) {
    std::set<std::uint32_t> slabs;
    for (const Extent& extent : allocation.extents()) slabs.insert(extent.slab);
    return slabs;
}

void fill(const Allocation& allocation, int value) {
    for (const auto span : allocation.spans(0, allocation.bytes()))
        std::memset(span.data(), value, span.size());
}

bool holds(std::span<const std::byte> bytes, int value) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

bool holds(const Allocation& allocation, int value) {
    const auto spans = allocation.spans(0, allocation.bytes());
    return std::all_of(spans.begin(), spans.end(), [&](auto span) { return holds(span, value); });
}

Mapping map_slab(Arena& arena, const Arena::SharedSlab& shared, int protection = PROT_READ) {
    auto mapping = Mapping::shared(shared.fd.get(), arena.slab_bytes(), protection);
    cr_assert(mapping.ok());
    return *std::move(mapping);
}

Arena::SharedSlab share(Arena& arena, std::uint32_t slab, bool writable = false) {
    auto shared = arena.share(slab, writable);
    cr_assert(shared.ok());
    return *std::move(shared);
}

}  // namespace

TestSuite(arena, .timeout = 30);

Test(arena, a_size_is_rounded_up_to_units) {
    const auto arena = make_arena(4, 16);
    const auto one_byte = arena->allocate(kRed, 1);
    const auto more = arena->allocate(kRed, kUnit + 1);

    cr_assert(one_byte.ok() && more.ok());
    cr_expect_eq(one_byte->bytes(), kUnit);
    cr_expect_eq(more->bytes(), 2 * kUnit);
    cr_expect_eq(arena->used(), 3 * kUnit);
}

Test(arena, nothing_is_allocated_for_an_empty_file_which_may_grow) {
    const auto arena = make_arena(4, 16);
    auto allocation = take(*arena, kRed, 0);
    cr_expect_eq(allocation.bytes(), 0U);
    cr_expect(allocation.extents().empty());
    cr_expect_eq(arena->available(kBlue), arena->capacity());

    cr_assert(arena->grow(allocation, 5).ok());
    cr_expect_eq(allocation.bytes(), kUnit);
}

Test(arena, what_is_given_back_can_be_allocated_again) {
    const auto arena = make_arena(2, 16);
    {
        const auto first = take(*arena, kRed, 16);
        const auto second = take(*arena, kRed, 16);
        cr_expect(is_full(*arena, kRed, 1));
        cr_expect_eq(arena->available(kRed), 0U);
    }
    cr_expect_eq(arena->used(), 0U);
    cr_expect_eq(arena->available(kBlue), arena->capacity());
    take(*arena, kBlue, 32);
}

Test(arena, a_file_is_one_extent_when_a_run_holds_it) {
    const auto arena = make_arena(4, 16);
    for (int i = 0; i < 8; ++i) {
        const auto allocation = take(*arena, kRed, 7);
        cr_expect_eq(allocation.extents().size(), 1U);
    }
}

Test(arena, any_file_fits_while_the_free_bytes_suffice) {
    const auto arena = make_arena(4, 16);
    std::vector<Allocation> singles;
    while (arena->available(kRed) > 0) singles.push_back(take(*arena, kRed, 1));
    for (std::size_t i = 0; i < singles.size(); i += 2) singles[i] = Allocation{};

    const auto scattered = take(*arena, kRed, 32);

    cr_expect_eq(scattered.bytes(), 32 * kUnit);
    cr_expect_eq(scattered.extents().size(), 32U);
    cr_expect(is_full(*arena, kRed, 1));
}

Test(arena, an_extent_never_crosses_slabs) {
    const auto arena = make_arena(4, 16);
    const auto allocation = take(*arena, kRed, 40);

    cr_expect_eq(allocation.extents().size(), 3U);
    for (const Extent& extent : allocation.extents())
        cr_expect_leq(extent.offset + extent.length, arena->slab_bytes());
}

Test(arena, volumes_never_share_a_slab) {
    const auto arena = make_arena(4, 16);
    const auto red = take(*arena, kRed, 1);
    const auto blue = take(*arena, kBlue, 1);

    cr_expect_neq(red.extents()[0].slab, blue.extents()[0].slab);
    cr_expect_eq(arena->available(kRed), (15 + 32) * kUnit);
    cr_expect(is_full(*arena, kRed, 48));
    const auto rest = take(*arena, kRed, 47);
    for (const std::uint32_t slab : slabs_of(rest)) cr_expect_neq(slab, blue.extents()[0].slab);
}

Test(arena, a_volume_stays_in_its_slabs_while_they_have_room) {
    const auto arena = make_arena(16, 16);
    std::vector<Allocation> files;
    std::set<std::uint32_t> slabs;
    for (int i = 0; i < 32; ++i) {
        files.push_back(take(*arena, kRed, 1));
        slabs.merge(slabs_of(files.back()));
    }
    cr_expect_eq(slabs.size(), 2U);
}

Test(arena, growing_goes_on_in_place_where_it_can) {
    const auto arena = make_arena(4, 16);
    auto growing = take(*arena, kRed, 2);
    fill(growing, 'g');
    cr_assert(arena->grow(growing, 3 * kUnit).ok());
    cr_expect_eq(growing.extents().size(), 1U);
    cr_expect_eq(growing.bytes(), 5 * kUnit);

    const auto wall = take(*arena, kRed, 1);
    cr_assert(arena->grow(growing, kUnit).ok());
    cr_expect_eq(growing.extents().size(), 2U);
    cr_expect_eq(growing.bytes(), 6 * kUnit);
    cr_expect(holds(growing.spans(0, 2 * kUnit)[0], 'g'));
}

Test(arena, what_cannot_grow_is_left_as_it_was) {
    const auto arena = make_arena(2, 16);
    auto allocation = take(*arena, kRed, 10);
    const auto other = take(*arena, kBlue, 1);
    const auto before = arena->used();

    cr_expect_eq(arena->grow(allocation, 7 * kUnit).error().code, ENOSPC);
    cr_expect_eq(arena->grow(allocation, ~0ULL).error().code, ENOSPC);

    cr_expect_eq(arena->used(), before);
    cr_expect_eq(allocation.bytes(), 10 * kUnit);
    cr_expect(arena->grow(allocation, 6 * kUnit).ok());
}

Test(arena, shrinking_gives_back_the_end) {
    const auto arena = make_arena(4, 16);
    auto allocation = take(*arena, kRed, 40);

    allocation.shrink(17 * kUnit + 1);
    cr_expect_eq(allocation.bytes(), 18 * kUnit);
    cr_expect_eq(arena->used(), 18 * kUnit);
    cr_expect_eq(allocation.extents().size(), 2U);
    allocation.shrink(30 * kUnit);
    cr_expect_eq(allocation.bytes(), 18 * kUnit);
    allocation.shrink(0);
    cr_expect_eq(arena->used(), 0U);
    cr_expect(allocation.extents().empty());
}

Test(arena, spans_cover_any_range_in_file_order) {
    const auto arena = make_arena(4, 16);
    const auto allocation = take(*arena, kRed, 40);
    std::vector<std::byte*> at(allocation.bytes() / kUnit);
    for (std::size_t unit = 0, extent = 0, in = 0; unit < at.size(); ++unit) {
        at[unit] = arena->data(allocation.extents()[extent]) + in;
        in += kUnit;
        if (in == allocation.extents()[extent].length) ++extent, in = 0;
    }
    for (const std::uint64_t offset : {std::uint64_t{0}, kUnit - 1, 15 * kUnit + 7, 16 * kUnit})
        for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, kUnit, 20 * kUnit}) {
            std::uint64_t position = offset;
            for (const auto span : allocation.spans(offset, length))
                for (std::size_t i = 0; i < span.size(); i += 4093) {
                    const std::uint64_t byte = position + i;
                    cr_assert_eq(&span[i], at[byte / kUnit] + byte % kUnit);
                    if (i + 4093 >= span.size()) position += span.size();
                }
            cr_assert_eq(position, offset + length);
        }
}

Test(arena, a_moved_allocation_gives_back_once) {
    const auto arena = make_arena(2, 16);
    auto first = take(*arena, kRed, 3);
    auto second = take(*arena, kRed, 2);
    Allocation third = std::move(first);
    cr_expect_eq(arena->used(), 5 * kUnit);
    third = std::move(second);
    cr_expect_eq(arena->used(), 2 * kUnit);
    third = Allocation{};
    cr_expect_eq(arena->used(), 0U);
}

Test(arena, clients_see_the_bytes_of_a_shared_slab) {
    const auto arena = make_arena(2, 16);
    const auto allocation = take(*arena, kRed, 16);
    fill(allocation, 'r');
    const Extent& extent = allocation.extents()[0];

    const auto shared = share(*arena, extent.slab);

    cr_expect_eq(shared.volume, kRed);
    cr_expect_eq(shared.generation, arena->generation(extent.slab));
    cr_expect(holds(map_slab(*arena, shared).bytes(), 'r'));
}

Test(arena, a_read_only_share_cannot_write) {
    const auto arena = make_arena(2, 16);
    const auto allocation = take(*arena, kRed, 16);
    const auto shared = share(*arena, 0);

    cr_expect_not(
        Mapping::shared(shared.fd.get(), arena->slab_bytes(), PROT_READ | PROT_WRITE).ok());
    cr_expect_eq(::pwrite(shared.fd.get(), "x", 1, 0), -1);
    struct stat status {};
    cr_assert_eq(::fstat(shared.fd.get(), &status), 0);
    cr_expect_eq(status.st_mode & 0777, 0600U);  // others cannot reopen it through /proc
}

Test(arena, a_writable_share_writes_what_the_daemon_reads) {
    const auto arena = make_arena(2, 16);
    const auto allocation = take(*arena, kRed, 16);
    const auto shared = share(*arena, allocation.extents()[0].slab, true);
    const Mapping client = map_slab(*arena, shared, PROT_READ | PROT_WRITE);
    std::memset(client.data(), 'c', client.size());
    cr_expect(holds(allocation, 'c'));
}

Test(arena, no_client_can_change_the_size_of_a_slab) {
    const auto arena = make_arena(2, 16);
    const auto shared = share(*arena, 0, true);
    cr_expect_eq(::ftruncate(shared.fd.get(), 0), -1);
    cr_expect_eq(::ftruncate(shared.fd.get(), 1 << 30), -1);
    cr_expect_eq(::fcntl(shared.fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

Test(arena, a_shared_slab_passes_to_another_volume_with_fresh_memory) {
    const auto arena = make_arena(1, 16);
    std::vector<std::byte*> listened;
    arena->set_slab_listener(
        [&](std::span<std::byte> memory) { listened.push_back(memory.data()); });
    auto red = take(*arena, kRed, 16);
    fill(red, 'r');
    std::byte* const address = arena->data(red.extents()[0]);
    const auto shared = share(*arena, 0);
    const Mapping client = map_slab(*arena, shared);
    red = Allocation{};

    const auto blue = take(*arena, kBlue, 16);

    cr_expect_eq(arena->data(blue.extents()[0]), address);
    cr_expect_eq(arena->generation(0), shared.generation + 1);
    cr_expect(holds(blue, 0));
    fill(blue, 'b');
    cr_expect(holds(client.bytes(), 'r'));
    const auto reshared = share(*arena, 0);
    cr_expect_eq(reshared.volume, kBlue);
    cr_expect(holds(map_slab(*arena, reshared).bytes(), 'b'));
    cr_assert_eq(listened.size(), 2U);
    cr_expect_eq(listened[0], address);
    cr_expect_eq(listened[1], address);
}

Test(arena, a_shared_slab_goes_back_to_its_volume_as_it_is) {
    const auto arena = make_arena(1, 16);
    auto red = take(*arena, kRed, 16);
    const auto shared = share(*arena, 0);
    red = Allocation{};
    red = take(*arena, kRed, 16);
    cr_expect_eq(arena->generation(0), shared.generation);
}

Test(arena, slabs_that_need_no_exchange_are_taken_first) {
    const auto arena = make_arena(2, 16);
    auto red = take(*arena, kRed, 1);
    const std::uint32_t slab = red.extents()[0].slab;
    share(*arena, slab);
    red = Allocation{};

    const auto blue = take(*arena, kBlue, 1);
    cr_expect_neq(blue.extents()[0].slab, slab);
    red = take(*arena, kRed, 1);
    cr_expect_eq(red.extents()[0].slab, slab);
}

Test(arena, clients_never_see_what_an_earlier_volume_wrote) {
    const auto arena = make_arena(1, 256);
    auto red = take(*arena, kRed, 256);
    fill(red, 'r');
    red = Allocation{};

    // Handed out before the slab is shared, handed out after, and never handed out.
    const auto early = take(*arena, kBlue, 3);
    cr_expect(holds(early, 0));
    const auto shared = share(*arena, 0);
    const auto late = take(*arena, kBlue, 5);

    cr_expect_eq(shared.generation, 1U);
    cr_expect(holds(map_slab(*arena, shared).bytes(), 0));
    cr_expect_eq(arena->used(), 8 * kUnit);
}

Test(arena, sharing_leaves_the_bytes_of_the_present_volume) {
    const auto arena = make_arena(1, 256);
    auto red = take(*arena, kRed, 256);
    fill(red, 'r');
    red = Allocation{};
    std::vector<Allocation> blue;
    for (int i = 0; i < 64; ++i) {
        blue.push_back(take(*arena, kBlue, 2));
        fill(blue.back(), 'b');
    }
    for (std::size_t i = 0; i < blue.size(); i += 3) blue[i] = Allocation{};
    share(*arena, 0);
    for (std::size_t i = 0; i < blue.size(); ++i) cr_expect(i % 3 == 0 || holds(blue[i], 'b'));
}

Test(arena, threads_get_memory_of_their_own) {
    const auto arena = make_arena(8, 32);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (unsigned number = 1; number <= 4; ++number)
        threads.emplace_back([&, number] {
            std::mt19937 random(number);
            std::vector<Allocation> files;
            for (int step = 0; step < 400; ++step) {
                const VolumeId volume = 1 + random() % 3;
                if (auto file = arena->allocate(volume, (1 + random() % 20) * kUnit)) {
                    if (random() % 2 == 0) static_cast<void>(arena->grow(*file, kUnit));
                    fill(*file, static_cast<int>(number));
                    if (random() % 8 == 0) share(*arena, file->extents()[0].slab);
                    files.push_back(*std::move(file));
                }
                if (files.empty() || random() % 3 == 0) continue;
                const std::size_t victim = random() % files.size();
                if (!holds(files[victim], static_cast<int>(number))) ++wrong;
                files.erase(files.begin() + static_cast<std::ptrdiff_t>(victim));
            }
        });
    for (std::thread& thread : threads) thread.join();
    cr_expect_eq(wrong.load(), 0);
    cr_expect_eq(arena->used(), 0U);
    for (const VolumeId volume : {1, 2, 3, 4})
        cr_expect_eq(arena->available(volume), arena->capacity());
}

Test(arena, default_slabs_are_at_least_sixteen_and_leave_little_over) {
    for (const std::uint64_t bytes : {1ULL << 20, 100ULL << 20, 129ULL << 20}) {
        const auto arena = Arena::create({.bytes = bytes});
        cr_assert(arena.ok());
        cr_expect_geq((*arena)->slab_count(), 16U);
        cr_expect_leq((*arena)->capacity(), bytes);
        cr_expect_gt((*arena)->capacity(), bytes - bytes / 16);
        cr_expect_eq((*arena)->slab_bytes() % kUnit, 0U);
    }
}

Test(arena, sizes_that_make_no_sense_are_refused) {
    cr_expect_eq(Arena::create({.bytes = kUnit * 16 - 1}).error().code, EINVAL);
    cr_expect_eq(Arena::create({.bytes = 64 << 20, .slab_bytes = kUnit + 1}).error().code, EINVAL);
    cr_expect_eq(Arena::create({.bytes = 64 << 20, .slab_bytes = 128 << 20}).error().code, EINVAL);
    cr_expect_eq(Arena::create({.bytes = 1ULL << 40, .slab_bytes = 128ULL << 30}).error().code,
                 EINVAL);
}

Test(arena, memory_that_the_machine_does_not_have_is_refused_before_it_is_touched) {
    const auto arena = Arena::create({.bytes = 1ULL << 50});
    cr_assert_not(arena.ok());
    cr_expect_eq(arena.error().code, ENOMEM);
    cr_expect(arena.error().what.find("--dram") != std::string::npos);
}

Test(arena, says_which_pages_it_has) {
    const auto arena = Arena::create({.bytes = 64 << 20, .huge_pages = false});
    cr_assert(arena.ok());
    cr_expect((*arena)->page_kind() == "4 KiB");
}
