// What the client makes of daemons that break the rules, hang, or die.
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>
#include <random>
#include <thread>

#include "gpumap/connection.h"
#include "gpumap/daemon.h"
#include "gpumap/host_device.h"
#include "tests/unit/gpumap_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;
using namespace kvfs::protocol;

TestSuite(gpumap_connection, .timeout = 60);

namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kMiB = 1 << 20;

template <typename T>
void append(Bytes& bytes, const T& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

/// The daemon's end of a socket, played by the test.
class Script {
  public:
    Script() {
        int ends[2];
        must(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
        ours_ = UniqueFd(ends[0]);
        theirs_ = UniqueFd(ends[1]);
    }
    UniqueFd their_end() { return std::move(theirs_); }
    void send(Header header, const Bytes& payload) {
        header.bytes = static_cast<std::uint32_t>(payload.size());
        Bytes packet;
        append(packet, header);
        packet.insert(packet.end(), payload.begin(), payload.end());
        send_raw(packet);
    }
    void send_raw(const Bytes& packet) {
        static_cast<void>(::send(ours_.get(), packet.data(), packet.size(), MSG_NOSIGNAL));
    }
    void welcome() {
        Header header;
        header.op = Op::hello;
        Bytes payload;
        append(payload, Welcome{kChunkBytes, 16, kMiB});
        send(header, payload);
    }
    Header receive() {
        Bytes packet(kPacketBytesMax);
        Header header;
        if (::recv(ours_.get(), packet.data(), packet.size(), 0) >=
            static_cast<ssize_t>(sizeof header))
            std::memcpy(&header, packet.data(), sizeof header);
        return header;
    }
    void hang_up() { ours_.reset(); }

  private:
    UniqueFd ours_;
    UniqueFd theirs_;
};

std::unique_ptr<gpumap::Connection> connected(Script& script, int timeout_ms = 5000) {
    script.welcome();
    auto connection = must(gpumap::Connection::over(script.their_end(), "script",
                                                    std::chrono::milliseconds(timeout_ms)));
    script.receive();
    connection->start([] { return Deadline::max(); });
    return connection;
}

gm_info info_of(Client& client) {
    gm_info info{};
    info.size = sizeof info;
    gm_query(client, &info);
    return info;
}

}  // namespace

Test(gpumap_connection, answers_of_several_packets_are_put_together) {
    Script script;
    auto connection = connected(script);
    std::thread daemon([&] {
        Header header = script.receive();
        header.flags = kMore;
        script.send(header, Bytes(3, std::byte{1}));
        header.flags = 0;
        script.send(header, Bytes(2, std::byte{2}));
    });

    const gpumap::Answer answer = connection->call(Op::stats, 0, {});

    daemon.join();
    cr_expect_eq(answer.status, 0);
    cr_assert_eq(answer.payload.size(), 5);
    cr_expect(answer.payload[4] == std::byte{2});
}

Test(gpumap_connection, an_answer_that_comes_late_finds_its_request) {
    Script script;
    auto connection = connected(script);
    std::atomic<int> late = -1;
    connection->request(Op::await, 1, Bytes(sizeof(Await)),
                        [&](const gpumap::Answer& answer) { late = answer.status; });
    std::thread daemon([&] {
        Header await = script.receive();
        script.send(script.receive(), Bytes(4));
        await.status = EIO;
        script.send(await, {});
    });

    cr_expect_eq(connection->call(Op::stats, 0, {}).payload.size(), 4);

    daemon.join();
    cr_expect(comes_true([&] { return late == EIO; }));
}

Test(gpumap_connection, an_answer_to_what_was_not_asked_ends_the_connection) {
    Script script;
    auto connection = connected(script);
    std::thread daemon([&] {
        Header header = script.receive();
        header.request += 1;
        script.send(header, {});
    });

    cr_expect_eq(connection->call(Op::stats, 0, {}).status, ENOTCONN);

    daemon.join();
    cr_expect_not(connection->connected());
    cr_expect_neq(connection->reason().find("gm_close"), std::string::npos);
    cr_expect_eq(connection->call(Op::stats, 0, {}).status, ENOTCONN);
}

Test(gpumap_connection, a_daemon_that_says_nothing_is_given_up) {
    Script script;
    auto connection = connected(script, 100);

    cr_expect_eq(connection->call(Op::stats, 0, {}).status, ENOTCONN);
    cr_expect_not(connection->connected());
}

Test(gpumap_connection, a_daemon_that_says_nothing_is_given_up_after_a_quiet_time_too) {
    Script script;
    auto connection = connected(script, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // its thread waits for news by now

    cr_expect_eq(connection->call(Op::stats, 0, {}).status, ENOTCONN);
}

Test(gpumap_connection, a_hang_up_answers_all_that_wait) {
    Script script;
    auto connection = connected(script);
    std::thread daemon([&] {
        script.receive();
        script.hang_up();
    });
    cr_expect_eq(connection->call(Op::stats, 0, {}).status, ENOTCONN);
    daemon.join();
    // No SIGPIPE.
    connection->notify(Op::discard, 1, Bytes(8));
}

Test(gpumap_connection, requests_queue_while_the_daemon_does_not_read) {
    Script script;
    auto connection = connected(script);
    constexpr int kRequests = 200;
    std::atomic<int> answered = 0;
    for (int i = 0; i < kRequests; ++i)
        connection->request(Op::lookup, 1, Bytes(60'000),
                            [&](const gpumap::Answer& answer) { answered += answer.status == 0; });

    for (int i = 0; i < kRequests; ++i) script.send(script.receive(), {});

    for (int i = 0; answered < kRequests && i < 2000; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cr_expect_eq(answered, kRequests);
}

Test(gpumap_connection, another_version_is_refused_with_what_to_do) {
    Script script;
    Header header;
    header.op = Op::hello;
    header.version = kVersion + 3;
    header.status = EPROTONOSUPPORT;
    script.send(header, {});

    const auto connection =
        gpumap::Connection::over(script.their_end(), "script", std::chrono::seconds(1));

    cr_assert_not(connection.ok());
    cr_expect_eq(connection.error().code, EPROTONOSUPPORT);
    cr_expect_neq(connection.error().what.find("version " + std::to_string(kVersion + 3)),
                  std::string::npos);
}

Test(gpumap_connection, replies_are_parsed_within_their_bounds) {
    auto device = must(gpumap::HostDevice::create({.copy_threads = 0}));
    Bytes valid;
    append(valid, SlabEntry{.slab = 3, .generation = 1, .bytes = kMiB, .writable = 1});
    append(valid,
           LeaseEntry{.kind = EntryKind::dram, .lease = 1, .inode = 5, .size = 100, .parts = 2});
    append(valid, Segment{.slab = 3, .generation = 1, .offset = 0, .length = 60});
    append(valid, Segment{.slab = 3, .generation = 1, .offset = kMiB - 40, .length = 40});
    append(
        valid,
        LeaseEntry{.kind = EntryKind::file, .lease = 2, .inode = 6, .size = kMiB + 1, .parts = 2});
    append(valid, std::uint64_t{0x1122334455667788});
    append(valid, LeaseEntry{.kind = EntryKind::refused, .status = ENOENT, .inode = 7});
    const UniqueFd memory(::memfd_create("slab", MFD_CLOEXEC));
    must(::ftruncate(memory.get(), kMiB) == 0, "ftruncate");
    const auto parse = [&](const Bytes& payload) {
        gpumap::Slabs slabs(*device);
        gpumap::Answer answer;
        answer.payload = payload;
        for (int i = 0; i < 3; ++i) answer.fds.emplace_back(::dup(memory.get()));
        return gpumap::parse_leases(std::move(answer), slabs);
    };
    const auto whole = parse(valid);
    cr_assert(whole.ok(), "%s", whole.ok() ? "" : whole.error().what.c_str());
    cr_assert_eq(whole->size(), 3);
    cr_expect_eq((*whole)[0].lease->segments.size(), 2);
    cr_expect((*whole)[1].lease->on_ssd());
    cr_expect_eq((*whole)[2].status, ENOENT);

    std::mt19937_64 random(99);
    for (int i = 0; i < 20'000; ++i) {
        Bytes bytes = valid;
        for (std::size_t n = random() % 4 + 1; n > 0; --n)
            bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        if (random() % 4 == 0) bytes.resize(random() % bytes.size());
        const auto parsed = parse(bytes);
        if (!parsed) continue;
        for (const auto& answer : *parsed) {
            if (answer.lease == nullptr) continue;
            for (const auto& segment : answer.lease->segments) {
                const auto slab = segment.slab->memory.bytes();
                cr_assert(segment.memory >= slab.data() &&
                          segment.memory + segment.length <= slab.data() + slab.size());
            }
        }
    }
}

Test(gpumap_connection, no_daemon_is_told_with_what_to_do) {
    gm_config config{};
    config.size = sizeof config;
    config.socket_path = "/nonexistent/socket";
    gm_ctx* ctx = nullptr;

    cr_expect_eq(gm_open(&config, &ctx), GM_ENOTCONN);
    cr_expect_eq(ctx, nullptr);
    cr_expect_neq(std::string(gm_message()).find("kvfsd"), std::string::npos);
    ::setenv("KVFS_LIBCUDA", "/nonexistent/libcuda.so.1", 1);
    config.backend = GM_BACKEND_CUDA;
    cr_expect_eq(gm_open(&config, &ctx), GM_ENOTSUP);
    config.backend = 9;
    cr_expect_eq(gm_open(&config, &ctx), GM_EINVAL);
    config.size = 0;
    cr_expect_eq(gm_open(&config, &ctx), GM_EINVAL);
}

Test(gpumap_connection, a_daemon_that_ends_ends_no_job_wrongly_and_later_calls_say_so) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(1, kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    gm_file* draft = client.create("v/new", 1000);
    const gm_devptr memory = client.allocate(kMiB);
    const gm_range range{0, kMiB, memory, 0, 0};
    cr_assert_eq(gm_prefetch(file, &range, 1, nullptr, nullptr), GM_OK);

    daemon.stop();
    for (int i = 0; info_of(client).connected == 1 && i < 1000; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));

    cr_expect_eq(info_of(client).connected, 0);
    cr_expect_neq(std::string(info_of(client).connection_reason).find("gm_open"),
                  std::string::npos);
    cr_expect_eq(gm_prefetch(file, &range, 1, nullptr, nullptr), GM_ENOTCONN);
    cr_expect_neq(std::string(gm_message()).find("gm_open"), std::string::npos);
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_ENOTCONN);
    const char* path = "v/a";
    gm_stat stat{};
    cr_expect_eq(gm_lookup(client, &path, 1, &stat), GM_ENOTCONN);
    std::uint64_t size = 10;
    cr_expect_eq(gm_file_open(client, "v/b", GM_CREATE, &file, &size), GM_ENOTCONN);
    cr_expect(client.fetch(memory, kMiB) == bytes);
}

Test(gpumap_connection, jobs_under_way_end_when_the_daemon_does) {
    for (int round = 0; round < 20; ++round) {
        Daemon daemon;
        std::vector<gm_file*> files;
        for (int i = 0; i < 8; ++i) daemon.put("f" + std::to_string(i), Daemon::bytes(i, kMiB));
        Client client(daemon.socket());
        for (int i = 0; i < 8; ++i) files.push_back(client.open("v/f" + std::to_string(i)));
        const gm_devptr memory = client.allocate(8 * kMiB);
        std::vector<gm_job*> jobs;
        std::thread killer([&] { daemon.stop(); });
        for (int i = 0; i < 8; ++i) {
            const gm_range range{0, kMiB, memory + i * kMiB, 0, 0};
            gm_job* job = nullptr;
            if (gm_prefetch(files[i], &range, 1, nullptr, &job) == GM_OK) jobs.push_back(job);
        }
        killer.join();
        for (gm_job* job : jobs) {
            const gm_status status = gm_job_wait(job, GM_ALL_GROUPS, 20'000'000);
            cr_expect(status == GM_OK || status == GM_EIO || status == GM_ESTALE, "%d", status);
        }
    }
}

Test(gpumap_connection, statistics_are_json_of_any_length) {
    Daemon daemon;
    Client client(daemon.socket());
    std::size_t length = 0;
    cr_assert_eq(gm_stats_json(client, nullptr, &length), GM_ESHORT);
    std::string text(length + 100, '?');
    length = text.size();
    cr_assert_eq(gm_stats_json(client, text.data(), &length), GM_OK);
    cr_expect_eq(std::strlen(text.c_str()) + 1, length);
    cr_expect(text[0] == '{');
}
