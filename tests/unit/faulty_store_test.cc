#include "tests/support/faulty_store.h"

#include <criterion/criterion.h>

#include <bit>
#include <chrono>
#include <future>

#include "tests/support/store_calls.h"

// The store that tests of failing devices stand on must fail as it is told.

using namespace kvfs;         // NOLINT(google-build-using-namespace)
using namespace kvfs::tests;  // NOLINT(google-build-using-namespace)

namespace {

constexpr std::size_t kSize = 8192;

unsigned bits_that_differ(std::span<const std::byte> a, std::span<const std::byte> b) {
    unsigned count = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        count += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(a[i] ^ b[i])));
    return count;
}

std::uint64_t failures_of(std::uint64_t seed) {
    FaultyStore store({.seed = seed, .put_fails = 0.5, .error = ENOSPC});
    const Mapping bytes = patterned(kSize, 7);
    std::uint64_t failures = 0;  // a bit for each put
    for (ObjectId id = 0; id < 32; ++id) {
        const Status status = put_now(store, id, bytes.bytes());
        cr_expect(status.ok() || status.error().code == ENOSPC);
        failures = failures << 1 | (status.ok() ? 0U : 1U);
    }
    return failures;
}

}  // namespace

TestSuite(faulty_store, .timeout = 30);

Test(faulty_store, puts_fail_as_often_as_told_and_the_same_for_a_seed) {
    cr_expect_eq(failures_of(1), failures_of(1));
    cr_expect_neq(failures_of(1), failures_of(2));
    cr_expect_neq(failures_of(1), 0U);
}

Test(faulty_store, reads_and_opens_fail_when_told) {
    FaultyStore store;
    const Mapping bytes = patterned(kSize, 7);
    cr_assert(put_now(store, 1, bytes.bytes()).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());
    store.set_faults({.open_fails = 1, .read_fails = 1, .error = ESTALE});
    const Mapping into = patterned(kSize, 0xbad);
    cr_expect_eq(store.open(1).error().code, ESTALE);
    cr_expect_eq(read_now(**reader, 0, into.bytes()), -ESTALE);
}

Test(faulty_store, a_flip_changes_one_bit) {
    FaultyStore store({.read_flips_a_bit = 1});
    const Mapping bytes = patterned(kSize, 7);
    const Mapping into = patterned(kSize, 0xbad);
    cr_assert(put_now(store, 1, bytes.bytes()).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());
    cr_assert_eq(read_now(**reader, 0, into.bytes()), static_cast<std::int64_t>(kSize));
    cr_expect_eq(bits_that_differ(into.bytes(), bytes.bytes()), 1U);
}

Test(faulty_store, what_hangs_ends_with_the_release) {
    FaultyStore store;
    const Mapping bytes = patterned(kSize, 7);
    std::promise<Status> status;
    auto over = status.get_future();
    store.hang();
    store.put(1, {.path = "a", .size = kSize}, {bytes.bytes()},
              [&](Status it) { status.set_value(std::move(it)); });
    cr_expect_eq(over.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    cr_expect_eq(store.pending(), 1U);
    store.release();
    cr_expect(over.get().ok());
    cr_expect(store.wait_for_pending(0, deadline_after(std::chrono::seconds(10))));
    cr_expect(reads_as(store, 1, bytes.bytes()));
}

Test(faulty_store, delays_delay) {
    FaultyStore store({.delay_max = std::chrono::milliseconds(40)});
    const Mapping bytes = patterned(kSize, 7);
    const auto start = Clock::now();
    for (ObjectId id = 0; id < 8; ++id) cr_assert(put_now(store, id, bytes.bytes()).ok());
    cr_expect(Clock::now() - start > std::chrono::milliseconds(40));
}
