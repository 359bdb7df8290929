// Clients of the mapper's socket that await what a fill brings.
#include <criterion/criterion.h>

#include "tests/unit/protocol_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using namespace kvfs::protocol;

TestSuite(protocol_await, .timeout = 60);

Test(protocol_await, what_is_awaited_is_answered_when_it_has_landed_and_holds_up_nothing) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const Ino ino = daemon.put_below("a", Daemon::bytes(1, 100'000));
    daemon.faulty().hang();
    Raw raw(daemon.socket());
    raw.ask(hello());
    raw.ask(numbers(Op::lease, ino));
    const LeaseEntry lease = lease_in(raw);
    cr_assert_eq(lease.kind, EntryKind::filling);
    const auto await = [&](std::uint64_t number, std::uint64_t bytes, std::uint64_t request) {
        Bytes payload;
        append(payload, Await{.lease = number, .bytes = bytes});
        return packet(Op::await, 1, payload, request);
    };

    raw.send(await(lease.lease, 100'000, 7));
    cr_expect_eq(raw.ask(packet(Op::stats, 0, {}, 8)).request, 8);
    cr_expect_eq(raw.ask(await(lease.lease + 1, 1, 9)).status, ENOENT);
    daemon.faulty().release();

    Header header;
    const Bytes reply = raw.receive();
    cr_assert_eq(reply.size(), sizeof header + sizeof(Landed));
    std::memcpy(&header, reply.data(), sizeof header);
    cr_expect_eq(header.request, 7);
    cr_expect_eq(header.status, 0);
    cr_expect_eq(raw.ask(await(lease.lease, 100'001, 10)).status, EINVAL);
    cr_expect_eq(raw.ask(await(lease.lease, 5, 11)).status, 0);
    cr_expect_eq(raw.payload<Landed>().bytes, 100'000);
}

Test(protocol_await, what_is_awaited_of_a_lease_that_was_given_back_is_answered) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const Ino ino = daemon.put_below("a", Daemon::bytes(1, 100'000));
    daemon.faulty().hang();
    Raw raw(daemon.socket());
    raw.ask(hello());
    raw.ask(numbers(Op::lease, ino));
    const std::uint64_t lease = lease_in(raw).lease;
    Bytes payload;
    append(payload, Await{.lease = lease, .bytes = 1});
    raw.send(packet(Op::await, 1, payload));
    Bytes release;
    append(release, Release{.lease = lease, .bytes = 0});

    const Header reply = raw.ask(packet(Op::release, 1, release));

    cr_expect_eq(reply.op, Op::await);
    cr_expect_eq(reply.status, ENOENT);
    daemon.faulty().release();
}

Test(protocol_await, two_awaits_for_one_lease_end_the_connection) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const Ino ino = daemon.put_below("a", Daemon::bytes(1, 100'000));
    daemon.faulty().hang();
    Raw raw(daemon.socket());
    raw.ask(hello());
    raw.ask(numbers(Op::lease, ino));
    Bytes payload;
    append(payload, Await{.lease = lease_in(raw).lease, .bytes = 1});

    raw.send(packet(Op::await, 1, payload, 1));
    raw.send(packet(Op::await, 1, payload, 2));

    cr_expect(raw.ended());
    daemon.faulty().release();
}
