// Saving through the whole client: drafts, commits, and what becomes of failures.
#include <criterion/criterion.h>

#include <cstdlib>
#include <cstring>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_save, .timeout = 60);
TestSuite(gpumap_save_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// Device memory with the bytes in it.
gm_devptr upload(Client& client, const std::vector<std::byte>& bytes) {
    const gm_devptr memory = client.allocate(bytes.size());
    gm_device_copy_in(client, memory, bytes.data(), bytes.size(), nullptr);
    return memory;
}

gm_status look_up(Client& client, const char* path) {
    gm_stat stat{};
    gm_lookup(client, &path, 1, &stat);
    return stat.status;
}

}  // namespace

DeviceTest(gpumap_save, a_committed_file_has_the_saved_bytes) {
    Daemon daemon;
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(1, 5 * kMiB + 17);
    const gm_devptr memory = upload(client, bytes);
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range ranges[] = {{kMiB, bytes.size() - kMiB, memory + kMiB, 1, 0},
                               {0, kMiB, memory, 0, 0}};

    cr_assert_eq(gm_save(draft, ranges, 2, nullptr, nullptr), GM_OK, "%s", gm_message());
    cr_expect_eq(look_up(client, "v/a"), GM_ENOENT);
    cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
    gm_file_close(draft);

    cr_expect(daemon.read("a") == bytes);
    gm_file* file = client.open("v/a");
    const gm_devptr back = client.allocate(bytes.size());
    const gm_range whole{0, bytes.size(), back, 0, 0};
    cr_assert_eq(gm_prefetch(file, &whole, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
    cr_expect(client.fetch(back, bytes.size()) == bytes);
}

DeviceTest(gpumap_save, a_file_that_was_opened_in_dram_is_the_same_on_ssd) {
    Daemon daemon;
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(3, 2 * kMiB);
    const gm_devptr memory = upload(client, bytes);
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
    cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
    gm_file_close(draft);
    gm_file* file = client.open("v/a");
    const Ino parent = must(daemon.files().lookup(kRootIno, "v")).inode.ino;
    const Inode in_dram = must(daemon.files().lookup(parent, "a")).inode;
    daemon.push_out(in_dram.ino);

    cr_expect_eq(must(daemon.files().lookup(parent, "a")).inode.mtime_ns, in_dram.mtime_ns);
    cr_expect_eq(gm_prefetch(file, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
    gm_file_close(file);
}

Test(gpumap_save_cuda, a_save_does_not_wait_for_a_load_that_began_before_it) {
    use_fake_cuda();
    set_device({.delay_us = 20'000});
    Daemon daemon({.dram_bytes = 256 * kMiB});
    constexpr std::uint64_t kLoaded = 48 * kMiB;
    daemon.put("a", Daemon::bytes(1, kLoaded));
    Client client(daemon.socket(), 20'000, 8 << 20, 4);  // a batch at a time
    gm_file* file = client.open("v/a");
    const gm_range whole{0, kLoaded, client.allocate(kLoaded), 0, 0};
    gm_file* draft = client.create("v/b", kMiB);
    const gm_range range{0, kMiB, client.allocate(kMiB), 0, 0};
    gm_job* load = nullptr;
    cr_assert_eq(gm_prefetch(file, &whole, 1, nullptr, &load), GM_OK);
    gm_info info{};
    info.size = sizeof info;
    while (gm_query(client, &info) == GM_OK && info.dram_bytes == 0) continue;

    cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());

    cr_assert_eq(gm_query(client, &info), GM_OK);
    cr_expect_lt(info.dram_bytes, kLoaded / 2);
    cr_expect_eq(gm_job_wait(load, GM_ALL_GROUPS, -1), GM_OK);
    gm_job_free(load);
    cr_expect_eq(FakeCuda::complaint(), "");
}

DeviceTest(gpumap_save, commit_waits_for_saves_that_were_started_before) {
    set_device({.delay_us = 20'000});
    Daemon daemon;
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(2, 8 * kMiB);
    const gm_devptr memory = upload(client, bytes);
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    gm_job* save = nullptr;
    gm_job* commit = nullptr;

    cr_assert_eq(gm_save(draft, &range, 1, nullptr, &save), GM_OK);
    cr_assert_eq(gm_commit(draft, 0, &commit), GM_OK);
    gm_file_close(draft);
    cr_assert_eq(gm_job_wait(commit, GM_ALL_GROUPS, -1), GM_OK);

    cr_expect_eq(gm_job_poll(save, GM_ALL_GROUPS), GM_OK);
    cr_expect(daemon.read("a") == bytes);
}

DeviceTest(gpumap_save, a_file_that_is_closed_without_commit_never_was) {
    Daemon daemon;
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(3, kMiB);
    const gm_devptr memory = upload(client, bytes);
    const std::uint64_t used = daemon.cache().arena().used();
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK);

    gm_file_close(draft);

    cr_expect_eq(look_up(client, "v/a"), GM_ENOENT);
    cr_expect(comes_true([&] { return daemon.cache().arena().used() == used; }));
}

DeviceTest(gpumap_save, commit_replaces_an_older_file_at_once) {
    Daemon daemon;
    daemon.put("a", Daemon::bytes(4, 1000));
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(5, 2000);
    const gm_devptr memory = upload(client, bytes);
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK);
    cr_expect(daemon.read("a") == Daemon::bytes(4, 1000));

    cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK);

    cr_expect(daemon.read("a") == bytes);
}

DeviceTest(gpumap_save, a_failed_save_publishes_nothing) {
    set_device({.fail_save = 2});
    Daemon daemon;
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(6, 3 * kMiB);
    const gm_devptr memory = upload(client, bytes);
    gm_file* draft = client.create("v/a", bytes.size());
    const gm_range first{0, kMiB, memory, 0, 0};
    const gm_range second{kMiB, 2 * kMiB, memory + kMiB, 0, 0};

    cr_expect_eq(gm_save(draft, &first, 1, nullptr, nullptr), GM_OK);
    cr_expect_eq(gm_save(draft, &second, 1, nullptr, nullptr), GM_EDEVICE);
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_EDEVICE);

    cr_expect_eq(look_up(client, "v/a"), GM_ENOENT);
    cr_expect_eq(gm_save(draft, &first, 1, nullptr, nullptr), GM_EINVAL);
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_EINVAL);
    gm_file_close(draft);
}

DeviceTest(gpumap_save, ranges_beyond_the_draft_are_short) {
    Daemon daemon;
    Client client(daemon.socket());
    gm_file* draft = client.create("v/a", 1000);
    const gm_range range{900, 101, client.allocate(200), 0, 0};

    cr_expect_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_ESHORT);
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_ESHORT);
    cr_expect_eq(look_up(client, "v/a"), GM_ENOENT);
}

DeviceTest(gpumap_save, drafts_are_not_read_and_files_are_not_saved_into) {
    Daemon daemon;
    daemon.put("b", Daemon::bytes(7, 100));
    Client client(daemon.socket());
    gm_file* draft = client.create("v/a", 1000);
    gm_file* file = client.open("v/b");
    const gm_range range{0, 100, client.allocate(200), 0, 0};

    cr_expect_eq(gm_prefetch(draft, &range, 1, nullptr, nullptr), GM_EINVAL);
    cr_expect_eq(gm_save(file, &range, 1, nullptr, nullptr), GM_EINVAL);
    cr_expect_eq(gm_commit(file, 0, nullptr), GM_EINVAL);
}

DeviceTest(gpumap_save, directories_are_made_when_asked_for) {
    Daemon daemon;
    Client client(daemon.socket());
    std::uint64_t size = 100;
    gm_file* draft = nullptr;

    cr_expect_eq(gm_file_open(client, "v/x/y/a", GM_CREATE, &draft, &size), GM_ENOENT);
    cr_assert_eq(gm_file_open(client, "v/x/y/a", GM_CREATE | GM_MAKE_DIRS, &draft, &size), GM_OK,
                 "%s", gm_message());
    cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK);

    cr_expect_eq(look_up(client, "v/x/y/a"), GM_OK);
}

DeviceTest(gpumap_save, a_draft_larger_than_a_file_may_be_is_refused) {
    Daemon daemon;
    Client client(daemon.socket());
    std::uint64_t size = 1ULL << 40;
    gm_file* draft = nullptr;

    cr_expect_eq(gm_file_open(client, "v/a", GM_CREATE, &draft, &size), GM_ENOSPC);
    cr_expect_eq(draft, nullptr);
}

DeviceTest(gpumap_save, saving_more_than_dram_holds_pushes_older_files_out) {
    Daemon daemon;
    Client client(daemon.socket());
    for (std::uint64_t i = 0; i < 24; ++i) {
        const auto bytes = Daemon::bytes(i, 4 * kMiB);
        const gm_devptr memory = upload(client, bytes);
        const std::string path = "v/f" + std::to_string(i);
        gm_file* draft = client.create(path, bytes.size());
        const gm_range range{0, bytes.size(), memory, 0, 0};
        cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
        cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
        gm_file_close(draft);
        gm_device_free(client, memory);
    }
    for (std::uint64_t i = 0; i < 24; ++i) {
        const auto bytes = Daemon::bytes(i, 4 * kMiB);
        gm_file* file = client.open("v/f" + std::to_string(i));
        const gm_devptr memory = client.allocate(bytes.size());
        const gm_range range{0, bytes.size(), memory, 0, 0};
        cr_assert_eq(gm_prefetch(file, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
        cr_expect(client.fetch(memory, bytes.size()) == bytes);
        gm_device_free(client, memory);
        gm_file_close(file);
    }
}

DeviceTest(gpumap_save, a_parent_is_a_hint_and_no_name_for_it_fails_the_save) {
    Daemon daemon;
    daemon.put("first", Daemon::bytes(1, 100));
    Client client(daemon.socket());
    const auto bytes = Daemon::bytes(2, 2000);
    const gm_range range{0, bytes.size(), upload(client, bytes), 0, 0};
    const std::string too_long(100'000, 'x');

    for (const char* parent : {"v/first", "/v/first", static_cast<const char*>(nullptr), "", "v",
                               "v/none", "..", "\xff\n", too_long.c_str()}) {
        gm_file* draft = nullptr;
        cr_assert_eq(gm_file_create(client, "v/d/a", parent, GM_MAKE_DIRS, bytes.size(), &draft),
                     GM_OK, "%s", gm_message());
        cr_assert_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK);
        cr_assert_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
        gm_file_close(draft);
        cr_expect_eq(look_up(client, "v/d/a"), GM_OK);
        const std::string said = parent == nullptr ? "" : parent;
        const bool is_one = said == "v/first" || said == "/v/first";
        cr_expect_eq(daemon.parent_of("v/d/a"), is_one ? "/v/first" : "", "%.20s", said.c_str());
    }

    gm_file* draft = nullptr;
    cr_expect_eq(gm_file_create(client, "v/b", nullptr, GM_CREATE, 100, &draft), GM_EINVAL);
    cr_expect_eq(gm_file_create(client, "v/b", nullptr, 0, 0, &draft), GM_EINVAL);
    cr_expect_eq(gm_file_create(client, nullptr, nullptr, 0, 100, &draft), GM_EINVAL);
    cr_expect_eq(gm_file_create(nullptr, "v/b", nullptr, 0, 100, &draft), GM_EINVAL);
    cr_expect_eq(gm_file_create(client, "v/b", nullptr, 0, 100, nullptr), GM_EINVAL);
    cr_expect_eq(gm_file_create(client, "none/b", nullptr, 0, 100, &draft), GM_ENOENT);
    cr_expect_eq(draft, nullptr);
}
