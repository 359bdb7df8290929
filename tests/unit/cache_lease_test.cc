// Leases that bring the file from its store into DRAM, and what they tell of it.
#include <criterion/criterion.h>

#include "fs/base/crc32c.h"
#include "tests/support/cache_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using kvfs::Error;

TestSuite(cache_lease, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kOdd = 2 * kMiB - 12'345;

}  // namespace

Test(cache_lease, a_lease_may_bring_the_file_into_dram_and_tells_how_much_has_come) {
    CacheFixture on;
    on.store_file(1, kOdd);
    on.push_out(1);
    on.store->hang();
    const auto first = on.cache->lease(*on.cache->acquire(1), Fill::if_room);
    const auto second = on.cache->lease(*on.cache->acquire(1));

    cr_assert(first.ok() && second.ok());
    cr_assert(first->content != nullptr && second->content == first->content);
    cr_expect_eq(first->content->progress().bytes, 0);
    on.store->release();
    cr_expect(first->content->wait(0, kOdd, deadline_after(std::chrono::seconds(10))).ok());
    cr_expect_eq(first->content->progress().bytes, kOdd);
    cr_expect_eq(on.cache->counters().fills, 1);
}

Test(cache_lease, a_lease_does_not_wait_for_room) {
    CacheFixture on(1ULL << 30, std::chrono::seconds(300));  // longer than the suite's
    on.store_file(1, 4 * kMiB);
    on.push_out(1);
    std::vector<Lease> held;
    for (ObjectId id = 2; id < 16; ++id) {
        on.store_file(id, kMiB);
        held.push_back(*on.cache->lease(*on.cache->acquire(id)));
    }

    const auto lease = on.cache->lease(*on.cache->acquire(1), Fill::if_room);

    cr_assert(lease.ok());
    cr_expect(lease->content == nullptr);
    cr_expect(lease->reader != nullptr);
}

Test(cache_lease, what_has_come_is_counted_from_the_front) {
    Room room;
    auto arena = Arena::create({.bytes = 16 << 20});
    cr_assert(arena.ok());
    auto memory = (*arena)->allocate(1, 4 * kChunkBytes);
    cr_assert(memory.ok());
    Content content(std::move(*memory), 4 * kChunkBytes - 5, room);
    content.start_fill(4);
    int news = 0;
    content.on_news([&] { ++news; });

    content.landed(1);
    cr_expect_eq(content.progress().bytes, 0);
    content.landed(0);
    cr_expect_eq(content.progress().bytes, 2 * kChunkBytes);
    content.fail(Error{EBADMSG, "corrupt"});
    cr_expect_eq(content.progress().bytes, 2 * kChunkBytes);
    cr_expect_eq(content.progress().error.code, EBADMSG);
    content.landed(2);

    cr_expect_eq(news, 3);
    const auto until = deadline_after(std::chrono::seconds(10));
    cr_expect(content.wait(0, 3 * kChunkBytes, until).ok());
    cr_expect_eq(content.wait(0, 4 * kChunkBytes - 5, until).error().code, EIO);
}
