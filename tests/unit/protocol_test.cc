// The mapper's socket as seen by clients that are broken, hostile, or dying.
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "fs/base/log.h"
#include "fs/mapper/request.h"
#include "tests/unit/protocol_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using namespace kvfs::protocol;

TestSuite(protocol, .timeout = 60);

namespace {

std::vector<Bytes> valid_requests() {
    Bytes paths;
    append_path(paths, "v/a");
    append_path(paths, "");
    append_path(paths, "v/none");
    Bytes draft;
    append(draft, DraftRequest{.size = 5000, .mode = 0644, .flags = kMakeDirectories});
    append_path(draft, "v/d/new");
    append_path(draft, "v/a");
    Bytes release;
    append(release, Release{.lease = 1, .bytes = 99});
    Bytes await;
    append(await, Await{.lease = 1, .bytes = 5000});
    return {hello(),
            packet(Op::await, 1, await),
            packet(Op::lookup, 3, paths),
            numbers(Op::lease, 1ULL, 2ULL, 3ULL, 99ULL),
            packet(Op::release, 1, release),
            packet(Op::draft, 2, draft),
            numbers(Op::publish, 1ULL),
            numbers(Op::discard, 1ULL, 2ULL),
            packet(Op::stats, 0, {}),
            packet(Op::bye, 0, {})};
}

/// A request with a few bytes changed, cut off or added.
Bytes mutate(Bytes bytes, std::mt19937_64& random) {
    const auto below = [&](std::size_t bound) { return random() % bound; };
    for (std::size_t i = below(4); i > 0 && !bytes.empty(); --i)
        bytes[below(bytes.size())] = static_cast<std::byte>(random());
    if (below(4) == 0) bytes.resize(below(bytes.size() + 1));
    if (below(4) == 0) bytes.resize(bytes.size() + below(100), std::byte{0x41});
    // Half of them with a header that agrees with the length, to get further inside.
    if (below(2) == 0 && bytes.size() >= sizeof(Header)) {
        Header header;
        std::memcpy(&header, bytes.data(), sizeof header);
        header.magic = kMagic;
        header.version = kVersion;
        header.status = header.flags = 0;
        header.bytes = static_cast<std::uint32_t>(bytes.size() - sizeof header);
        std::memcpy(bytes.data(), &header, sizeof header);
    }
    return bytes;
}

}  // namespace

Test(protocol, requests_of_every_operation_are_understood) {
    for (const Bytes& request : valid_requests()) {
        const auto parsed = mapper::parse_request(request);
        cr_expect(parsed.ok(), "%s", parsed.ok() ? "" : parsed.error().what.c_str());
    }
}

Test(protocol, what_is_no_request_is_refused) {
    Bytes bad_magic = hello();
    bad_magic[0] = std::byte{0};
    Bytes too_long = hello();
    too_long.push_back({});
    Bytes with_nul;
    append_path(with_nul, std::string_view("a\0b", 3));
    Bytes long_path;
    append_path(long_path, std::string(kPathBytesMax + 1, 'a'));
    Bytes no_size;
    append(no_size, DraftRequest{.size = 0, .mode = 0644, .flags = 0});
    append_path(no_size, "v/a");
    append_path(no_size, "");
    Bytes no_parent;
    append(no_parent, DraftRequest{.size = 1, .mode = 0644, .flags = 0});
    append_path(no_parent, "v/a");
    const Bytes refused[] = {{},
                             Bytes(31),
                             Bytes(kPacketBytesMax + 1),
                             bad_magic,
                             too_long,
                             packet(Op::lookup, 1, with_nul),
                             packet(Op::lookup, 1, long_path),
                             packet(Op::lookup, 0xffffffff, {}),
                             packet(Op::lease, 0, {}),
                             packet(Op::lease, 2, Bytes(8)),
                             packet(Op::lease, 0x20000001, Bytes(8)),
                             packet(Op::draft, 2, no_size),
                             packet(Op::draft, 1, no_parent),
                             packet(Op::draft, 2, no_parent),
                             packet(Op::await, 1, Bytes(8)),
                             packet(Op::await, 2, Bytes(32)),
                             packet(Op::bye, 1, {}),
                             packet(Op{77}, 1, {})};
    for (const Bytes& bytes : refused) {
        const auto parsed = mapper::parse_request(bytes);
        cr_assert_not(parsed.ok());
        cr_expect_eq(parsed.error().code, EBADMSG);
    }
}

Test(protocol, mutated_requests_are_parsed_within_their_bounds) {
    std::mt19937_64 random(20240607);
    const auto requests = valid_requests();
    std::size_t understood = 0;
    for (int i = 0; i < 200'000; ++i) {
        const Bytes bytes = mutate(requests[random() % requests.size()], random);
        const auto parsed = mapper::parse_request(bytes);
        if (!parsed) continue;
        ++understood;
        for (const std::string_view path : parsed->paths) {
            const auto* begin = reinterpret_cast<const std::byte*>(path.data());
            cr_assert(begin >= bytes.data() && begin + path.size() <= bytes.data() + bytes.size());
        }
    }
    cr_expect_gt(understood, 1000);
}

Test(protocol, another_version_is_told_which_one_this_is) {
    Daemon daemon;
    Raw raw(daemon.socket());
    Bytes other = hello();
    const std::uint16_t version = kVersion + 1;
    std::memcpy(other.data() + offsetof(Header, version), &version, sizeof version);

    const Header reply = raw.ask(other);

    cr_expect_eq(reply.status, EPROTONOSUPPORT);
    cr_expect_eq(reply.version, kVersion);
    cr_expect(raw.ended());
}

Test(protocol, a_client_that_breaks_the_rules_is_disconnected_and_no_other) {
    Daemon daemon;
    Raw good(daemon.socket());
    Raw bad(daemon.socket());
    Raw silent(daemon.socket());
    cr_assert_eq(good.ask(hello()).status, 0);
    cr_assert_eq(bad.ask(hello()).status, 0);

    bad.send(Bytes(100, std::byte{0x55}));
    silent.send(packet(Op::stats, 0, {}));

    cr_expect(bad.ended());
    cr_expect(silent.ended());
    const Header reply = good.ask(packet(Op::stats, 0, {}));
    cr_expect_eq(reply.status, 0);
    cr_expect_gt(reply.bytes, 10);
}

Test(protocol, mutated_requests_over_the_socket_leave_the_daemon_whole) {
    spdlog::set_level(spdlog::level::off);
    Daemon daemon;
    daemon.put("a", Daemon::bytes(1, 10'000));
    std::mt19937_64 random(7);
    const auto requests = valid_requests();
    for (int client = 0; client < 150; ++client) {
        Raw raw(daemon.socket());
        if (random() % 8 != 0) raw.send(hello());
        for (int i = 0; i < 30; ++i) {
            if (!raw.send(mutate(requests[random() % requests.size()], random))) break;
            while (raw.receive(0).size() > 0) {
            }
        }
        // Said bye: nothing of it lingers for as long as this process lives.
        Raw clean(daemon.socket());
        cr_assert_eq(clean.ask(hello()).status, 0, "after client %d", client);
        clean.send(packet(Op::bye, 0, {}));
    }
    cr_expect(daemon.read("a") == Daemon::bytes(1, 10'000));
    cr_expect(comes_true([&] { return daemon.server().clients() == 0; }));
}

Test(protocol, a_client_cannot_give_back_what_another_holds) {
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(1, 100'000));
    daemon.settle(ino);
    const std::uint64_t before = daemon.cache().arena().used();
    Raw holder(daemon.socket());
    Raw other(daemon.socket());
    holder.ask(hello());
    other.ask(hello());
    holder.ask(numbers(Op::lease, ino));
    const LeaseEntry lease = lease_in(holder);
    cr_assert_neq(lease.lease, 0);

    Bytes release;
    append(release, Release{.lease = lease.lease, .bytes = 0});
    other.send(packet(Op::release, 1, release));
    other.send(numbers(Op::discard, lease.lease));
    cr_expect_eq(other.ask(numbers(Op::publish, lease.lease)).status, ENOENT);
    daemon.remove("a");

    cr_expect_eq(daemon.cache().arena().used(), before);
    holder.send(packet(Op::release, 1, release));
    cr_expect(comes_true([&] { return daemon.cache().arena().used() < before; }));
}

Test(protocol, reading_through_a_lease_is_counted_but_not_beyond_belief) {
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(1, 1000));
    Raw raw(daemon.socket());
    raw.ask(hello());
    raw.ask(numbers(Op::lease, ino));
    Bytes release;
    append(release, Release{.lease = lease_in(raw).lease, .bytes = ~0ULL});
    const std::uint64_t before = daemon.cache().counters().dram_read_bytes;

    raw.send(packet(Op::release, 1, release));
    raw.ask(packet(Op::stats, 0, {}));

    cr_expect_eq(daemon.cache().counters().dram_read_bytes - before, 1000);
}

Test(protocol, a_number_does_not_open_what_its_path_would_not) {
    // As root every mode is passed over: what another user may is asked of the same code.
    Daemon daemon;
    const Ino secret = daemon.make_directory("secret", 0700, 1234);
    auto created =
        must(daemon.files().create(secret, "open", {.mode = S_IFREG | 0644, .uid = 1234}));
    daemon.files().release(std::move(created.handle));
    const Ino ino = created.attributes.inode.ino;
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(4321) != 0 || ::setuid(4321) != 0) ::_exit(77);
        Raw raw(daemon.socket());
        raw.ask(hello());
        raw.ask(numbers(Op::lease, ino));
        ::_exit(lease_in(raw).status == EACCES ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WEXITSTATUS(status) == 77) cr_skip_test("cannot become another user");
    cr_expect_eq(status, 0);
}

Test(protocol, leases_outlive_a_hang_up_until_the_process_has_ended) {
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(1, 1 << 20));
    daemon.settle(ino);
    int hung_up[2];
    int end[2];
    must(::pipe(hung_up) == 0 && ::pipe(end) == 0, "pipe");
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(end[1]);
        {
            Raw raw(daemon.socket());
            raw.ask(hello());
            raw.ask(numbers(Op::lease, ino));
        }
        char byte = 'x';
        if (::write(hung_up[1], &byte, 1) != 1 || ::read(end[0], &byte, 1) < 0) ::_exit(1);
        ::_exit(0);
    }
    char byte = 0;
    cr_assert_eq(::read(hung_up[0], &byte, 1), 1);
    cr_assert(comes_true([&] { return daemon.server().clients() == 0; }));
    daemon.remove("a");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));

    cr_expect_geq(daemon.cache().arena().used(), 1 << 20);
    ::close(end[1]);
    ::waitpid(child, nullptr, 0);
    cr_expect(comes_true([&] { return daemon.cache().arena().used() == 0; }));
}

Test(protocol, clients_beyond_the_most_are_turned_away) {
    Daemon daemon({.clients_max = 2});
    Raw first(daemon.socket());
    Raw second(daemon.socket());
    first.ask(hello());
    second.ask(hello());
    {
        Raw third(daemon.socket());
        cr_expect_eq(third.ask(hello()).status, EAGAIN);
    }
    second.send(packet(Op::bye, 0, {}));
    cr_expect(comes_true([&] {
        Raw again(daemon.socket());
        return again.ask(hello()).status == 0 && again.send(packet(Op::bye, 0, {}));
    }));
}

Test(protocol, descriptors_are_bounded) {
    Daemon daemon;
    constexpr std::uint32_t kFiles = kFileLeasesMax + 10;
    Bytes inodes;
    std::vector<Ino> all;
    for (std::uint32_t i = 0; i < kFiles; ++i)
        all.push_back(daemon.put("f" + std::to_string(i), Daemon::bytes(i, 100)));
    for (const Ino ino : all) {
        daemon.push_out(ino);
        append(inodes, ino);
    }
    Raw raw(daemon.socket());
    raw.ask(hello());
    raw.send(packet(Op::lease, kFiles, inodes));
    std::uint32_t granted = 0;
    std::uint32_t refused = 0;
    Bytes records;
    for (;;) {
        const Bytes reply = raw.receive();
        Header header;
        cr_assert_geq(reply.size(), sizeof header);
        std::memcpy(&header, reply.data(), sizeof header);
        records.insert(records.end(), reply.begin() + sizeof header, reply.end());
        if ((header.flags & kMore) == 0) break;
    }
    for (std::size_t at = 0; at + sizeof(LeaseEntry) <= records.size();) {
        LeaseEntry entry;
        std::memcpy(&entry, records.data() + at, sizeof entry);
        at += sizeof entry + entry.parts * sizeof(std::uint32_t);
        granted += entry.kind == EntryKind::file;
        refused += entry.kind == EntryKind::refused && entry.status == EAGAIN;
    }
    cr_expect_eq(granted, kFileLeasesMax);
    cr_expect_eq(refused, 10);
}

Test(protocol, a_socket_that_is_in_use_is_left_and_a_dead_one_replaced) {
    Daemon daemon;

    const auto second = MapperServer::start(daemon.files(), {.socket_path = daemon.socket()});
    cr_assert_not(second.ok());
    cr_expect_eq(second.error().code, EBUSY);
    Raw still(daemon.socket());
    cr_expect_eq(still.ask(hello()).status, 0);

    const std::string dead = daemon.path("dead");
    {
        const UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, dead.data(), dead.size());
        must(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
             "bind");
    }
    const auto replaced = MapperServer::start(daemon.files(), {.socket_path = dead});
    cr_expect(replaced.ok());
    const auto too_long =
        MapperServer::start(daemon.files(), {.socket_path = "/" + std::string(200, 'x')});
    cr_assert_not(too_long.ok());
    cr_expect_eq(too_long.error().code, ENAMETOOLONG);
}
