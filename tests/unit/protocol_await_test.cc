// Clients of the mapper's socket that await what a fill brings.
#include <criterion/criterion.h>

#include "tests/unit/protocol_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using namespace kvfs::protocol;

TestSuite(protocol_await, .timeout = 60);

namespace {

/// A client with a lease on a file that is being filled, by a store that does not answer yet.
struct Filling {
    Daemon daemon{{.below = Daemon::Below::faulty}};
    Ino ino = daemon.put_below("a", Daemon::bytes(1, 100'000));
    Raw raw{daemon.socket()};
    std::uint64_t lease = 0;

    Filling() {
        daemon.faulty().hang();
        raw.ask(hello());
        raw.ask(numbers(Op::lease, ino));
        const LeaseEntry entry = lease_in(raw);
        cr_assert_eq(entry.kind, EntryKind::filling);
        lease = entry.lease;
    }
    ~Filling() { daemon.faulty().release(); }
};

Bytes await(std::uint64_t lease, std::uint64_t bytes, std::uint64_t request) {
    Bytes payload;
    append(payload, Await{.lease = lease, .bytes = bytes});
    return packet(Op::await, 1, payload, request);
}

}  // namespace

Test(protocol_await, what_is_awaited_is_answered_when_it_has_landed_and_holds_up_nothing) {
    Filling on;

    on.raw.send(await(on.lease, 100'000, 7));
    cr_expect_eq(on.raw.ask(packet(Op::stats, 0, {}, 8)).request, 8);
    cr_expect_eq(on.raw.ask(await(on.lease + 1, 1, 9)).status, ENOENT);
    on.daemon.faulty().release();

    Header header;
    const Bytes reply = on.raw.receive();
    cr_assert_eq(reply.size(), sizeof header + sizeof(Landed));
    std::memcpy(&header, reply.data(), sizeof header);
    cr_expect_eq(header.request, 7);
    cr_expect_eq(header.status, 0);
    cr_expect_eq(on.raw.ask(await(on.lease, 100'001, 10)).status, EINVAL);
    cr_expect_eq(on.raw.ask(await(on.lease, 5, 11)).status, 0);
    cr_expect_eq(on.raw.payload<Landed>().bytes, 100'000);
}

Test(protocol_await, what_is_awaited_of_a_lease_that_was_given_back_is_answered) {
    Filling on;
    on.raw.send(await(on.lease, 1, 1));
    Bytes release;
    append(release, Release{.lease = on.lease, .bytes = 0});

    const Header reply = on.raw.ask(packet(Op::release, 1, release));

    cr_expect_eq(reply.op, Op::await);
    cr_expect_eq(reply.status, ENOENT);
}

Test(protocol_await, two_awaits_for_one_lease_end_the_connection) {
    Filling on;

    on.raw.send(await(on.lease, 1, 1));
    on.raw.send(await(on.lease, 1, 2));

    cr_expect(on.raw.ended());
}
