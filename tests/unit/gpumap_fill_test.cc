// Loads of files that the daemon is bringing from the store into DRAM meanwhile.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_fill, .timeout = 60);
TestSuite(gpumap_fill_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

gm_info info_of(Client& client) {
    gm_info info{};
    info.size = sizeof info;
    gm_query(client, &info);
    return info;
}

/// A load of the whole file `name`, in ranges of 1 MiB.
struct Load {
    Load(Client& its_client, const std::string& name, std::uint64_t its_bytes)
        : client(its_client), bytes(its_bytes), memory(client.allocate(bytes)) {
        client.fill(memory, std::byte{0xee}, bytes);
        std::vector<gm_range> ranges;
        for (std::uint64_t at = 0; at < bytes; at += kMiB)
            ranges.push_back({at, std::min(kMiB, bytes - at), memory + at + ranges.size(),
                              static_cast<std::uint32_t>(at / kMiB), 0});
        memory_bytes = bytes + ranges.size();
        gm_device_free(client, memory);
        const gm_devptr moved = client.allocate(memory_bytes);
        for (gm_range& range : ranges) range.dst += moved - memory;
        memory = moved;
        client.fill(memory, std::byte{0xee}, memory_bytes);
        gm_file* file = client.open(name);
        must(gm_prefetch(file, ranges.data(), static_cast<std::uint32_t>(ranges.size()), nullptr,
                         &job) == GM_OK,
             gm_message());
        gm_file_close(file);
    }
    ~Load() {
        gm_job_free(job);
        gm_device_free(client, memory);
    }
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    gm_status wait(std::int64_t timeout_us = -1) const {
        return gm_job_wait(job, GM_ALL_GROUPS, timeout_us);
    }
    /// What has come of range `index`.
    std::vector<std::byte> range(std::uint64_t index) const {
        return client.fetch(memory + index * (kMiB + 1), std::min(kMiB, bytes - index * kMiB));
    }
    bool is_whole(const std::vector<std::byte>& wanted) const {
        for (std::uint64_t at = 0; at < bytes; at += kMiB) {
            const auto got = range(at / kMiB);
            if (std::memcmp(got.data(), wanted.data() + at, got.size()) != 0) return false;
        }
        return true;
    }

    Client& client;
    std::uint64_t bytes;
    gm_devptr memory;
    std::uint64_t memory_bytes = 0;
    gm_job* job = nullptr;
};

}  // namespace

DeviceTest(gpumap_fill, a_client_shares_a_fill_that_a_program_has_started) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto bytes = Daemon::bytes(1, 5 * kMiB + 77);
    daemon.put_below("a", bytes);
    const std::uint64_t before = daemon.cache().counters().store_read_bytes;
    Client client(daemon.socket());
    daemon.faulty().hang();
    std::thread program([&] { cr_expect(daemon.read("a") == bytes); });
    cr_assert(comes_true([&] { return daemon.cache().counters().fills == 1; }));
    Load load(client, "v/a", bytes.size());
    cr_expect_eq(load.wait(20'000), GM_PENDING);

    daemon.faulty().release();

    cr_expect_eq(load.wait(), GM_OK, "%s", gm_message());
    program.join();
    cr_expect(load.is_whole(bytes));
    cr_expect_eq(daemon.cache().counters().fills, 1);
    cr_expect_eq(daemon.cache().counters().store_read_bytes - before, bytes.size());
    cr_expect_eq(info_of(client).dram_bytes, bytes.size());
}

DeviceTest(gpumap_fill, a_fill_that_a_client_waits_for_holds_up_none_of_its_other_calls) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto cold = Daemon::bytes(2, 3 * kMiB);
    const auto hot = Daemon::bytes(3, kMiB);
    daemon.put_below("cold", cold);
    daemon.put("hot", hot);
    Client client(daemon.socket());
    daemon.faulty().hang();
    Load waits(client, "v/cold", cold.size());

    Load goes_on(client, "v/hot", hot.size());

    cr_expect_eq(goes_on.wait(), GM_OK);
    cr_expect(goes_on.is_whole(hot));
    cr_expect_eq(waits.wait(0), GM_PENDING);
    daemon.faulty().release();
    cr_expect_eq(waits.wait(), GM_OK);
    cr_expect(waits.is_whole(cold));
}

DeviceTest(gpumap_fill, a_corrupt_chunk_fails_what_has_not_landed_and_never_reaches_the_device) {
    Daemon daemon({.below = Daemon::Below::faulty, .dram_bytes = 64 * kMiB});
    const auto bytes = Daemon::bytes(4, 12 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();
    Load load(client, "v/a", bytes.size());
    cr_assert(daemon.faulty().wait_for_pending(6, deadline_after(std::chrono::seconds(10))));
    gm_file_close(client.open("v/a"));  // answered after the lease: until then it would be refused
    daemon.faulty().set_faults({.read_flips_a_bit = 1});  // of those that are still to be asked for

    daemon.faulty().release();

    cr_expect_eq(load.wait(), GM_ECHECKSUM);
    std::uint64_t failed = 0;
    for (std::uint32_t i = 0; i < 12; ++i) {
        const auto got = load.range(i);
        const bool is_good = std::memcmp(got.data(), bytes.data() + i * kMiB, kMiB) == 0;
        const gm_status status = gm_job_poll(load.job, i);
        cr_expect_eq(is_good, status == GM_OK, "range %u", i);
        cr_expect(is_good || got == std::vector<std::byte>(kMiB, std::byte{0xee}));
        failed += status == GM_ECHECKSUM;
    }
    cr_expect_gt(failed, 0);
    cr_expect(comes_true([&] { return !daemon.exists("a"); }), "the name stays");
}

DeviceTest(gpumap_fill, a_store_that_fails_in_the_middle_is_an_error_and_then_a_miss) {
    Daemon daemon({.below = Daemon::Below::faulty, .dram_bytes = 64 * kMiB});
    const auto bytes = Daemon::bytes(5, 12 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();
    {
        Load load(client, "v/a", bytes.size());
        cr_assert(daemon.faulty().wait_for_pending(6, deadline_after(std::chrono::seconds(10))));
        gm_file_close(client.open("v/a"));  // answered after the lease: until then it is a miss
        daemon.faulty().set_faults({.read_fails = 1});  // of those that are still to be asked for

        daemon.faulty().release();

        cr_expect_eq(load.wait(), GM_EIO);
        cr_expect_eq(gm_job_poll(load.job, 11), GM_EIO);
    }
    daemon.faulty().set_faults({});
    cr_expect(comes_true([&] {
        gm_file* file = nullptr;
        const gm_status status = gm_file_open(client, "v/a", 0, &file, nullptr);
        gm_file_close(file);
        return status == GM_ENOENT;
    }));
}

DeviceTest(gpumap_fill, a_daemon_that_ends_while_a_file_is_filled_ends_the_load) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto bytes = Daemon::bytes(6, 3 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();
    Load load(client, "v/a", bytes.size());
    cr_assert(comes_true([&] { return daemon.cache().counters().fills == 1; }));

    daemon.stop();

    cr_expect_eq(load.wait(), GM_EIO);
    daemon.faulty().release();
}

DeviceTest(gpumap_fill, a_cancelled_load_does_not_wait_for_the_store) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto bytes = Daemon::bytes(7, 3 * kMiB);
    const Ino ino = daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();
    Load load(client, "v/a", bytes.size());
    cr_assert(comes_true([&] { return daemon.cache().counters().fills == 1; }));

    gm_job_cancel(load.job);

    cr_expect_eq(load.wait(), GM_ECANCELLED);
    daemon.faulty().release();
    cr_expect(daemon.read("a") == bytes);
    daemon.push_out(ino);  // its lease is given back
    Load again(client, "v/a", bytes.size());
    cr_expect_eq(again.wait(), GM_OK);
}

DeviceTest(gpumap_fill, what_is_removed_while_it_is_filled_is_loaded_whole) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto bytes = Daemon::bytes(8, 7 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();
    Load load(client, "v/a", bytes.size());
    cr_assert(comes_true([&] { return daemon.cache().counters().fills == 1; }));
    gm_file_close(client.open("v/a"));  // answered after the lease: until then it would be refused
    daemon.remove("a");

    daemon.faulty().release();
    // Until the job ends, others fill the DRAM tier over and over.
    for (int i = 0; gm_job_poll(load.job, GM_ALL_GROUPS) == GM_PENDING; ++i)
        daemon.settle(daemon.put("other" + std::to_string(i % 8), Daemon::bytes(9, 2 * kMiB)));

    cr_expect_eq(load.wait(), GM_OK);
    cr_expect(load.is_whole(bytes));
}

DeviceTest(gpumap_fill, a_store_that_does_not_answer_ends_the_load_after_the_io_timeout) {
    Daemon daemon({.below = Daemon::Below::faulty, .io_timeout = std::chrono::seconds(1)});
    const auto bytes = Daemon::bytes(10, 3 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    daemon.faulty().hang();

    Load load(client, "v/a", bytes.size());

    cr_expect_eq(load.wait(), GM_ETIMEDOUT);
    daemon.faulty().release();
}

DeviceTest(gpumap_fill, where_clients_are_several_a_cold_file_comes_into_dram) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(11, 3 * kMiB);
    const Ino ino = daemon.put_below("a", bytes);
    Client client(daemon.socket());
    Client other(daemon.socket());

    Load load(client, "v/a", bytes.size());

    cr_expect_eq(load.wait(), GM_OK);
    cr_expect(load.is_whole(bytes));
    cr_expect(daemon.in_dram(ino));
    cr_expect_eq(info_of(client).file_bytes, 0);
}

DeviceTest(gpumap_fill, what_dram_has_no_room_for_a_client_reads_by_itself) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(12, 7 * kMiB);
    const Ino ino = daemon.put_below("a", bytes);
    std::vector<Lease> held;  // all of DRAM, but for less than the file needs
    for (int i = 0; i < 15; ++i) {
        const Ino its_ino = daemon.put("held" + std::to_string(i), Daemon::bytes(i, 2 * kMiB));
        daemon.settle(its_ino);
        held.push_back(must(daemon.files().lease(its_ino)));
    }
    Client client(daemon.socket());
    Client other(daemon.socket());

    Load load(client, "v/a", bytes.size());

    cr_expect_eq(load.wait(), GM_OK);
    cr_expect(load.is_whole(bytes));
    cr_expect_not(daemon.in_dram(ino));
    cr_expect_eq(info_of(client).file_bytes, bytes.size());
}
