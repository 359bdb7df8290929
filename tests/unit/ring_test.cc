#include "fs/io/ring.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "tests/support/temp_dir.h"

using kvfs::Mapping;
using kvfs::Ring;
using kvfs::UniqueFd;

namespace {

constexpr std::size_t kPage = 4096;

std::unique_ptr<Ring> make_ring(unsigned depth = 8) {
    auto ring = Ring::create({.depth = depth});
    cr_assert(ring.ok(), "%s", ring.ok() ? "" : ring.error().message().c_str());
    return *std::move(ring);
}

Mapping pages(std::size_t count, char fill = 0) {
    auto memory = Mapping::anonymous(count * kPage);
    cr_assert(memory.ok());
    std::memset(memory->data(), fill, memory->size());
    return *std::move(memory);
}

UniqueFd make_file(int flags = 0, const char* name = "file") {
    const std::string path = kvfs::tests::make_temp_dir() + "/" + name;
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600));
    cr_assert(static_cast<bool>(fd));
    return fd;
}

std::int64_t read_now(Ring& ring, int fd, std::span<std::byte> into, std::uint64_t offset) {
    std::promise<std::int64_t> result;
    ring.read(fd, into, offset, [&](std::int64_t moved) { result.set_value(moved); });
    return result.get_future().get();
}

std::int64_t write_now(Ring& ring, int fd, std::span<const std::byte> from, std::uint64_t offset) {
    std::promise<std::int64_t> result;
    ring.write(fd, from, offset, [&](std::int64_t moved) { result.set_value(moved); });
    return result.get_future().get();
}

bool all(std::span<const std::byte> bytes, char value) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

}  // namespace

TestSuite(ring, .timeout = 30);

Test(ring, reads_what_it_wrote) {
    const auto ring = make_ring();
    const UniqueFd file = make_file(O_DIRECT);
    const Mapping from = pages(256, 'x');
    const Mapping into = pages(256);

    cr_assert_eq(write_now(*ring, file.get(), from.bytes(), kPage), 256 * 4096);

    cr_assert_eq(read_now(*ring, file.get(), into.bytes(), kPage), 256 * 4096);
    cr_expect(all(into.bytes(), 'x'));
}

Test(ring, a_read_is_short_only_at_the_end_of_the_file) {
    const auto ring = make_ring();
    const UniqueFd file = make_file(O_DIRECT);
    const Mapping memory = pages(4, 'x');
    cr_assert_eq(write_now(*ring, file.get(), memory.bytes().first(2 * kPage), 0), 8192);
    cr_assert_eq(::ftruncate(file.get(), 5000), 0);

    cr_expect_eq(read_now(*ring, file.get(), memory.bytes(), 0), 5000);
    cr_expect_eq(read_now(*ring, file.get(), memory.bytes(), kPage), 5000 - 4096);
    cr_expect_eq(read_now(*ring, file.get(), memory.bytes(), 2 * kPage), 0);
}

Test(ring, a_transfer_that_stops_in_the_middle_is_continued) {
    const auto ring = make_ring();
    std::array<int, 2> ends{};
    cr_assert_eq(::pipe(ends.data()), 0);
    const UniqueFd out(ends[0]);
    UniqueFd in(ends[1]);
    std::array<std::byte, 10> into{};
    std::promise<std::int64_t> result;
    auto moved = result.get_future();
    cr_assert_eq(::write(in.get(), "abc", 3), 3);

    ring->read(out.get(), into, 0, [&](std::int64_t bytes) { result.set_value(bytes); });
    cr_expect_eq(moved.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    cr_assert_eq(::write(in.get(), "defghij", 7), 7);

    cr_expect_eq(moved.get(), 10);
    cr_expect_eq(std::memcmp(into.data(), "abcdefghij", 10), 0);
}

Test(ring, errors_are_negative_errno_values) {
    const auto ring = make_ring();
    const Mapping memory = pages(1);
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));

    cr_expect_eq(read_now(*ring, -1, memory.bytes(), 0), -EBADF);
    cr_expect_eq(write_now(*ring, full.get(), memory.bytes(), 0), -ENOSPC);
}

Test(ring, more_transfers_than_its_depth_all_complete) {
    const UniqueFd file = make_file(O_DIRECT);
    const Mapping from = pages(1, 'x');
    std::atomic<int> completed = 0;
    {
        const auto ring = make_ring(2);
        for (unsigned i = 0; i < 500; ++i)
            ring->write(file.get(), from.bytes(), i * kPage,
                        [&](std::int64_t moved) { completed += moved == 4096; });
    }  // destruction waits
    cr_expect_eq(completed.load(), 500);
}

Test(ring, a_done_may_start_the_next_transfer) {
    const auto ring = make_ring(1);
    const UniqueFd file = make_file();
    const Mapping from = pages(1, 'x');
    std::promise<void> all_written;
    std::function<void(std::uint64_t)> write_page = [&](std::uint64_t page) {
        ring->write(file.get(), from.bytes(), page * kPage, [&, page](std::int64_t moved) {
            cr_assert_eq(moved, 4096);
            page == 99 ? all_written.set_value() : write_page(page + 1);
        });
    };
    write_page(0);
    all_written.get_future().get();
    cr_expect_eq(::lseek(file.get(), 0, SEEK_END), 100 * 4096);
}

Test(ring, a_thread_that_submits_and_ends_loses_nothing) {
    const UniqueFd file = make_file(O_DIRECT);
    const Mapping from = pages(16, 'x');
    std::atomic<int> completed = 0;
    std::atomic<std::int64_t> failure = 0;
    {
        const auto ring = make_ring(64);
        for (unsigned round = 0; round < 20; ++round) {
            std::thread([&] {
                for (unsigned i = 0; i < 32; ++i)
                    ring->write(file.get(), from.bytes(), (round * 32 + i) * 16 * kPage,
                                [&](std::int64_t moved) {
                                    if (moved != 16 * 4096) failure = moved;
                                    ++completed;
                                });
            }).join();
        }
    }
    cr_expect_eq(completed.load(), 640);
    cr_expect_eq(failure.load(), 0, "a transfer ended with %ld", static_cast<long>(failure));
}

// The kernel cancels what a thread has submitted when the thread ends: here, a wait for a pipe.
Test(ring, a_transfer_outlives_the_thread_that_submitted_it) {
    const auto ring = make_ring();
    std::array<int, 2> ends{};
    cr_assert_eq(::pipe(ends.data()), 0);
    const UniqueFd out(ends[0]);
    const UniqueFd in(ends[1]);
    std::array<std::byte, 3> into{};
    std::promise<std::int64_t> result;
    auto moved = result.get_future();

    std::thread([&] {
        ring->read(out.get(), into, 0, [&](std::int64_t bytes) { result.set_value(bytes); });
    }).join();
    cr_expect_eq(moved.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    cr_assert_eq(::write(in.get(), "abc", 3), 3);

    cr_expect_eq(moved.get(), 3);
}

Test(ring, threads_share_it) {
    const UniqueFd file = make_file(O_DIRECT);
    const auto ring = make_ring(4);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (char letter = 'a'; letter < 'e'; ++letter)
        threads.emplace_back([&, letter] {
            const Mapping from = pages(1, letter);
            const Mapping into = pages(1);
            for (unsigned i = 0; i < 50; ++i) {
                const std::uint64_t at = (i * 4U + static_cast<unsigned>(letter - 'a')) * kPage;
                wrong += write_now(*ring, file.get(), from.bytes(), at) != 4096;
                wrong += read_now(*ring, file.get(), into.bytes(), at) != 4096;
                wrong += !all(into.bytes(), letter);
            }
        });
    for (std::thread& thread : threads) thread.join();
    cr_expect_eq(wrong.load(), 0);
}

Test(ring, registered_memory_moves_data_like_any_other) {
    const auto ring = make_ring();
    const UniqueFd file = make_file(O_DIRECT);
    const Mapping memory = pages(64, 'x');
    cr_assert(ring->register_region(memory.bytes()).ok());

    cr_assert_eq(write_now(*ring, file.get(), memory.bytes(), 0), 64 * 4096);
    std::memset(memory.data(), 0, memory.size());
    const auto inside = memory.bytes().subspan(3 * kPage, 5 * kPage);

    cr_assert_eq(read_now(*ring, file.get(), inside, 0), 5 * 4096);
    cr_expect(all(inside, 'x'));
    cr_expect(all(memory.bytes().first(3 * kPage), 0));
    cr_expect(all(memory.bytes().subspan(8 * kPage), 0));
}

// A fixed buffer is pages, not addresses: memory mapped over it later is not what transfers use.
Test(ring, registered_memory_is_a_fixed_buffer_until_it_is_registered_again) {
    const auto ring = make_ring();
    const UniqueFd file = make_file();
    const Mapping memory = pages(4, 'x');
    cr_assert_eq(write_now(*ring, file.get(), memory.bytes(), 0), 4 * 4096);
    cr_assert(ring->register_region(memory.bytes()).ok());
    cr_assert_neq(::mmap(memory.data(), memory.size(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                  MAP_FAILED);

    cr_assert_eq(read_now(*ring, file.get(), memory.bytes(), 0), 4 * 4096);
    cr_expect(all(memory.bytes(), 0));

    cr_assert(ring->register_region(memory.bytes()).ok());
    cr_assert_eq(read_now(*ring, file.get(), memory.bytes(), 0), 4 * 4096);
    cr_expect(all(memory.bytes(), 'x'));
}

Test(ring, a_region_replaces_every_region_that_it_overlaps) {
    const auto ring = make_ring();
    const UniqueFd file = make_file();
    const Mapping memory = pages(8, 'x');
    cr_assert_eq(write_now(*ring, file.get(), memory.bytes(), 0), 8 * 4096);
    cr_assert(ring->register_region(memory.bytes().subspan(2 * kPage, 2 * kPage)).ok());
    cr_assert(ring->register_region(memory.bytes().subspan(6 * kPage, 2 * kPage)).ok());
    cr_assert_neq(::mmap(memory.data(), memory.size(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                  MAP_FAILED);

    cr_assert(ring->register_region(memory.bytes()).ok());

    for (const std::size_t at : {2, 6})
        cr_assert_eq(read_now(*ring, file.get(), memory.bytes().subspan(at * kPage, kPage), 0),
                     4096);
    cr_expect(all(memory.bytes().subspan(2 * kPage, kPage), 'x'));
    cr_expect(all(memory.bytes().subspan(6 * kPage, kPage), 'x'));
}

Test(ring, transfers_across_the_border_of_a_region_go_the_plain_way) {
    const auto ring = make_ring();
    const UniqueFd file = make_file();
    const Mapping memory = pages(8, 'x');
    cr_assert(ring->register_region(memory.bytes().subspan(2 * kPage, 2 * kPage)).ok());

    cr_expect_eq(write_now(*ring, file.get(), memory.bytes(), 0), 8 * 4096);
    cr_expect_eq(read_now(*ring, file.get(), memory.bytes().first(3 * kPage), 0), 3 * 4096);
    const auto across_its_end = memory.bytes().subspan(3 * kPage, 2 * kPage);
    cr_expect_eq(read_now(*ring, file.get(), across_its_end, 0), 2 * 4096);
}

Test(ring, memory_that_cannot_be_registered_still_works) {
    const auto ring = make_ring();
    const UniqueFd file = make_file();
    const Mapping memory = pages(2, 'x');
    cr_assert_eq(write_now(*ring, file.get(), memory.bytes(), 0), 2 * 4096);
    cr_assert_eq(::mprotect(memory.data(), kPage, PROT_NONE), 0);

    cr_expect_not(ring->register_region(memory.bytes()).ok());

    cr_assert_eq(::mprotect(memory.data(), kPage, PROT_READ | PROT_WRITE), 0);
    cr_expect_eq(read_now(*ring, file.get(), memory.bytes(), 0), 2 * 4096);
}
