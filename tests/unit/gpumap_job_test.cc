// How jobs are waited for, ordered, cancelled and told of.
#include <criterion/criterion.h>
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "gpumap/outcome.h"
#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_job, .timeout = 60);
TestSuite(gpumap_job_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

gm_opts options() {
    gm_opts opts{};
    opts.size = sizeof opts;
    return opts;
}

/// A file of 16 MiB in DRAM and a device whose every batch (4 MiB) takes a while.
struct SlowDevice {
    SlowDevice() { set_device({.delay_us = 30'000}); }
};
struct Slow : SlowDevice {
    Daemon daemon{{.dram_bytes = 128 * kMiB}};
    std::vector<std::byte> bytes = Daemon::bytes(1, 16 * kMiB);
    Ino ino = daemon.put("a", bytes);
    Client client{daemon.socket()};
    gm_file* file = client.open("v/a");
    gm_devptr memory = client.allocate(16 * kMiB);

    /// One group for each 4 MiB.
    std::vector<gm_range> ranges() const {
        std::vector<gm_range> all;
        for (std::uint32_t g = 0; g < 4; ++g)
            all.push_back({g * 4 * kMiB, 4 * kMiB, memory + g * 4 * kMiB, g, 0});
        return all;
    }
    gm_job* start(const gm_opts& opts) {
        gm_job* job = nullptr;
        const auto all = ranges();
        cr_assert_eq(gm_prefetch(file, all.data(), 4, &opts, &job), GM_OK, "%s", gm_message());
        return job;
    }
};

}  // namespace

DeviceTest(gpumap_job, waiting_ends_when_the_time_has_passed) {
    Slow slow;
    gm_job* job = slow.start(options());

    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, 0), GM_PENDING);
    cr_expect_eq(gm_job_wait(job, 3, 1000), GM_PENDING);
    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, 10'000'000), GM_OK);
    cr_expect_eq(gm_job_wait(job, 77, 0), GM_EINVAL);
    gm_job_free(job);
}

DeviceTest(gpumap_job, a_stream_waits_for_a_group_and_then_sees_its_bytes) {
    Slow slow;
    gm_stream stream = nullptr;
    cr_assert_eq(gm_stream_create(slow.client, &stream), GM_OK);
    gm_job* job = slow.start(options());
    std::vector<std::byte> seen(4 * kMiB);

    cr_assert_eq(gm_job_wait_stream(job, 2, stream, 0), GM_OK);
    gm_device_copy_out(slow.client, seen.data(), slow.memory + 8 * kMiB, seen.size(), stream);
    cr_assert_eq(gm_stream_sync(slow.client, stream), GM_OK);

    cr_expect_eq(gm_job_poll(job, 2), GM_OK);
    cr_expect_eq(std::memcmp(seen.data(), slow.bytes.data() + 8 * kMiB, seen.size()), 0);
    cr_expect_eq(gm_stream_destroy(slow.client, stream), GM_OK);
    cr_expect_eq(gm_stream_destroy(slow.client, stream), GM_EINVAL);
    gm_job_free(job);
}

DeviceTest(gpumap_job, a_failed_group_releases_its_stream) {
    set_device({.delay_us = 20'000, .fail_load = 1});
    Daemon daemon;
    daemon.put("a", Daemon::bytes(1, 1000));
    Client client(daemon.socket());
    gm_stream stream = nullptr;
    gm_stream_create(client, &stream);
    const gm_range range{0, 1000, client.allocate(1000), 0, 0};
    gm_job* job = nullptr;
    gm_prefetch(client.open("v/a"), &range, 1, nullptr, &job);

    cr_assert_eq(gm_job_wait_stream(job, 0, stream, 0), GM_OK);
    cr_assert_eq(gm_stream_sync(client, stream), GM_OK);

    cr_expect_eq(gm_job_poll(job, 0), GM_EDEVICE);
    cr_expect_eq(gm_job_wait_stream(job, 0, stream, 0), GM_OK);
    gm_job_free(job);
}

DeviceTest(gpumap_job, a_job_starts_after_what_its_stream_has_queued) {
    Slow slow;
    gm_stream stream = nullptr;
    gm_stream_create(slow.client, &stream);
    gm_job* first = slow.start(options());
    gm_job_wait_stream(first, GM_ALL_GROUPS, stream, 0);
    gm_opts opts = options();
    opts.after = stream;

    gm_job* second = slow.start(opts);
    cr_assert_eq(gm_job_wait(second, 0, -1), GM_OK);

    cr_expect_eq(gm_job_poll(first, GM_ALL_GROUPS), GM_OK);
    opts.after = reinterpret_cast<gm_stream>(0x1000);
    gm_job* none = nullptr;
    const auto ranges = slow.ranges();
    cr_expect_eq(gm_prefetch(slow.file, ranges.data(), 4, &opts, &none), GM_EINVAL);
    gm_job_free(first);
    gm_job_free(second);
}

DeviceTest(gpumap_job, a_cancelled_job_ends_once_the_device_is_done_with_it) {
    set_device({.delay_us = 30'000});
    Daemon daemon({.dram_bytes = 256 * kMiB});
    const auto bytes = Daemon::bytes(1, 64 * kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    const gm_devptr memory = client.allocate(64 * kMiB);
    const gm_range range{0, 64 * kMiB, memory, 0, 0};
    gm_job* job = nullptr;
    gm_prefetch(file, &range, 1, nullptr, &job);
    while (gm_job_wait(job, GM_ALL_GROUPS, 1000) == GM_PENDING) {
        gm_info info{};
        info.size = sizeof info;
        gm_query(client, &info);
        if (info.dram_bytes > 0) break;
    }

    cr_expect_eq(gm_job_cancel(job), GM_OK);
    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_ECANCELLED);

    // Nothing is written any more.
    const auto at_end = client.fetch(memory, 64 * kMiB);
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    cr_expect(client.fetch(memory, 64 * kMiB) == at_end);
    std::uint32_t n = 0;
    gm_job_errors(job, nullptr, nullptr, 0, &n);
    cr_expect_eq(n, 1);
    cr_expect_eq(gm_job_cancel(job), GM_OK);
    gm_job_free(job);
}

DeviceTest(gpumap_job, what_has_not_begun_by_the_deadline_times_out) {
    Slow slow;
    gm_stream stream = nullptr;
    gm_stream_create(slow.client, &stream);
    gm_job* first = slow.start(options());
    gm_job_wait_stream(first, GM_ALL_GROUPS, stream, 0);
    gm_opts opts = options();
    opts.after = stream;
    opts.deadline_us = 5000;

    gm_job* second = slow.start(opts);

    cr_expect_eq(gm_job_wait(second, GM_ALL_GROUPS, -1), GM_ETIMEDOUT);
    cr_expect_eq(gm_job_wait(first, GM_ALL_GROUPS, -1), GM_OK);
    gm_job_free(first);
    gm_job_free(second);
}

DeviceTest(gpumap_job, urgent_jobs_overtake) {
    set_device({.delay_us = 10'000});
    Daemon daemon({.dram_bytes = 512 * kMiB});
    daemon.put("big", Daemon::bytes(1, 100 * kMiB));
    daemon.put("small", Daemon::bytes(2, kMiB));
    Client client(daemon.socket());
    const gm_range big{0, 100 * kMiB, client.allocate(100 * kMiB), 0, 0};
    const gm_range small{0, kMiB, client.allocate(kMiB), 0, 0};
    gm_opts urgent = options();
    urgent.priority = 10;
    gm_job* first = nullptr;
    gm_job* second = nullptr;

    gm_prefetch(client.open("v/big"), &big, 1, nullptr, &first);
    gm_prefetch(client.open("v/small"), &small, 1, &urgent, &second);

    cr_expect_eq(gm_job_wait(second, GM_ALL_GROUPS, -1), GM_OK);
    cr_expect_eq(gm_job_poll(first, GM_ALL_GROUPS), GM_PENDING);
    cr_expect_eq(gm_job_reprioritize(first, 20), GM_OK);
    cr_expect_eq(gm_job_wait(first, GM_ALL_GROUPS, -1), GM_OK);
    gm_job_free(first);
    gm_job_free(second);
}

DeviceTest(gpumap_job, the_completion_queue_tells_of_groups_and_of_the_end) {
    Slow slow;
    gm_opts opts = options();
    opts.flags = GM_NOTIFY_GROUPS;
    opts.cookie = 42;
    gm_job* job = slow.start(opts);
    std::vector<gm_result> results;

    while (results.empty() || results.back().group != GM_ALL_GROUPS) {
        pollfd readable{gm_cq_fd(slow.client), POLLIN, 0};
        cr_assert_eq(::poll(&readable, 1, 10'000), 1);
        gm_result some[2];
        const int n = gm_cq_reap(slow.client, some, 2);
        cr_assert_gt(n, 0);
        results.insert(results.end(), some, some + n);
    }

    cr_assert_eq(results.size(), 5);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        cr_expect_eq(results[i].cookie, 42);
        cr_expect_eq(results[i].status, GM_OK);
        cr_expect_eq(results[i].job, job);
        bytes += results[i].bytes;
    }
    cr_expect_eq(bytes, 16 * kMiB);
    cr_expect_eq(results[4].bytes, 16 * kMiB);
    pollfd readable{gm_cq_fd(slow.client), POLLIN, 0};
    cr_expect_eq(::poll(&readable, 1, 0), 0);
    gm_job_free(job);
}

DeviceTest(gpumap_job, a_freed_job_goes_on_and_is_told_of) {
    Slow slow;
    gm_opts opts = options();
    opts.flags = GM_NOTIFY;
    gm_job_free(slow.start(opts));

    pollfd readable{gm_cq_fd(slow.client), POLLIN, 0};
    cr_assert_eq(::poll(&readable, 1, 10'000), 1);
    gm_result result{};
    cr_assert_eq(gm_cq_reap(slow.client, &result, 1), 1);
    cr_expect_eq(result.status, GM_OK);
    cr_expect_eq(result.bytes, 16 * kMiB);
}

DeviceTest(gpumap_job, closing_the_context_ends_its_jobs) {
    set_device({.delay_us = 20'000});
    Daemon daemon({.dram_bytes = 256 * kMiB});
    daemon.put("a", Daemon::bytes(1, 64 * kMiB));
    Client other(daemon.socket());  // whose memory stays
    const gm_devptr memory = other.allocate(64 * kMiB);
    {
        Client client(daemon.socket());
        gm_stream stream = nullptr;
        gm_stream_create(client, &stream);
        const gm_range range{0, 64 * kMiB, memory, 0, 0};
        gm_job* job = nullptr;
        cr_assert_eq(gm_prefetch(client.open("v/a"), &range, 1, nullptr, &job), GM_OK);
        gm_job_wait_stream(job, 0, stream, 0);
    }
    const auto at_end = other.fetch(memory, 64 * kMiB);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cr_expect(other.fetch(memory, 64 * kMiB) == at_end);
    // Said bye: the daemon keeps nothing for it.
    cr_expect(comes_true([&] { return daemon.server().clients() == 1; }));
}

DeviceTest(gpumap_job, leases_are_given_back_when_jobs_end) {
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(1, 4 * kMiB));
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    const gm_range range{0, 4 * kMiB, client.allocate(4 * kMiB), 0, 0};
    cr_assert_eq(gm_prefetch(file, &range, 1, nullptr, nullptr), GM_OK);
    const std::uint64_t read = daemon.cache().counters().dram_read_bytes;

    daemon.push_out(ino);  // would never end were it leased

    cr_expect_geq(read, 0);
    cr_expect_not(daemon.in_dram(ino));
    cr_expect_geq(daemon.cache().counters().dram_read_bytes, 4 * kMiB);
}

Test(gpumap_job, outcomes_count_every_byte_once) {
    const gm_range ranges[] = {{0, 10, 1, 0, 0}, {10, 10, 100, 5, 0}};
    const gpumap::FileRanges file{100, ranges};
    const auto plan = gpumap::make_plan(std::span(&file, 1));
    cr_assert(plan.ok());
    gpumap::Outcome outcome(*plan);
    cr_assert_not(outcome.start({}, *plan));

    cr_expect_not(outcome.settle(0, 4, GM_OK));
    cr_expect_eq(outcome.poll(0), GM_PENDING);
    cr_expect_not(outcome.settle(0, 6, GM_OK));
    cr_expect_eq(outcome.poll(0), GM_OK);
    cr_expect_eq(outcome.poll(GM_ALL_GROUPS), GM_PENDING);
    outcome.fail(1, GM_EIO);
    cr_expect(outcome.settle(1, 10, GM_EIO));
    cr_expect_eq(outcome.poll(5), GM_EIO);
    cr_expect_eq(outcome.poll(GM_ALL_GROUPS), GM_EIO);
    cr_expect_eq(outcome.moved_bytes(), 10);
}
