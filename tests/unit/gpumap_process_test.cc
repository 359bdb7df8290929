// Processes that share files, and what becomes of what a process or the daemon leaves behind.
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_process, .timeout = 60);
TestSuite(gpumap_process_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// These tests fork while other threads run, and a child may find the lock of AddressSanitizer's
// allocator held, for ever: they are not for that build.
#ifndef __SANITIZE_ADDRESS__
int in_child = -1;  ///< of a child: where its parent's word comes

/// A process that runs `body`, whose result is its exit code. `body` gets the writing end of a pipe
/// of which this holds the reading end.
class Process {
  public:
    template <typename Body>
    explicit Process(Body body) {
        must(::pipe(pipe_.data()) == 0 && ::pipe(word_.data()) == 0, "pipe");
        child_ = ::fork();
        if (child_ == 0) {
            in_child = word_[0];
            ::_exit(body(pipe_[1]));
        }
        ::close(pipe_[1]);
        ::close(word_[0]);
    }
    ~Process() {
        if (child_ > 0) kill();
        ::close(pipe_[0]);
        ::close(word_[1]);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    /// Lets the process go on that waits for a word.
    void give_word() { must(::write(word_[1], "x", 1) == 1, "write"); }
    /// Waits until the process says that it has got there.
    void wait_for_word() {
        char word = 0;
        must(::read(pipe_[0], &word, 1) == 1, "the child ended early");
    }
    void kill() {
        ::kill(child_, SIGKILL);
        wait();
    }
    int wait() {
        int status = -1;
        ::waitpid(std::exchange(child_, -1), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    }

  private:
    std::array<int, 2> pipe_{};
    std::array<int, 2> word_{};
    pid_t child_ = -1;
};

void say(int pipe) { must(::write(pipe, "x", 1) == 1, "write"); }
void await_word() {
    char word = 0;
    must(::read(in_child, &word, 1) == 1, "the parent ended early");
}
#endif

gm_status start_load(Client& client, const char* path, gm_devptr memory, std::uint64_t bytes,
                     gm_job** job) {
    gm_file* file = client.open(path);
    const gm_range range{0, bytes, memory, 0, 0};
    const gm_status status = gm_prefetch(file, &range, 1, nullptr, job);
    gm_file_close(file);
    return status;
}

/// Waits until some bytes of the context's jobs have been moved.
bool some_moved(Client& client) {
    return comes_true([&] {
        gm_info info{};
        info.size = sizeof info;
        gm_query(client, &info);
        return info.dram_bytes + info.file_bytes + info.saved_bytes > 0;
    });
}

}  // namespace

#ifndef __SANITIZE_ADDRESS__
DeviceTest(gpumap_process, eight_processes_load_one_file_from_ssd_and_then_from_dram) {
    Daemon daemon({.dram_bytes = 64 * kMiB});
    const auto bytes = Daemon::bytes(1, 8 * kMiB + 321);
    daemon.put_below("a", bytes);
    std::vector<std::unique_ptr<Process>> processes;
    for (int i = 0; i < 8; ++i)
        processes.push_back(std::make_unique<Process>([&](int) {
            Client client(daemon.socket());
            const gm_devptr memory = client.allocate(bytes.size());
            for (int round = 0; round < 2; ++round) {
                client.fill(memory, std::byte{0}, bytes.size());
                if (start_load(client, "v/a", memory, bytes.size(), nullptr) != GM_OK) return 1;
                if (client.fetch(memory, bytes.size()) != bytes) return 2;
            }
            return backend == GM_BACKEND_CUDA && !FakeCuda::complaint().empty() ? 3 : 0;
        }));
    for (auto& process : processes) cr_expect_eq(process->wait(), 0);
    Client loads_the_driver(daemon.socket());
}

DeviceTest(gpumap_process, eight_processes_that_load_one_cold_file_read_it_from_ssd_once) {
    Daemon daemon({.dram_bytes = 64 * kMiB});
    const auto bytes = Daemon::bytes(1, 12 * kMiB + 321);
    daemon.put_below("a", bytes);
    std::vector<std::unique_ptr<Process>> processes;
    for (int i = 0; i < 8; ++i)
        processes.push_back(std::make_unique<Process>([&](int pipe) {
            Client client(daemon.socket());
            const gm_devptr memory = client.allocate(bytes.size());
            client.fill(memory, std::byte{0}, bytes.size());
            say(pipe);
            await_word();
            if (start_load(client, "v/a", memory, bytes.size(), nullptr) != GM_OK) return 1;
            return client.fetch(memory, bytes.size()) == bytes ? 0 : 2;
        }));
    for (auto& process : processes) process->wait_for_word();
    const std::uint64_t before = daemon.cache().counters().store_read_bytes;

    for (auto& process : processes) process->give_word();

    for (auto& process : processes) cr_expect_eq(process->wait(), 0);
    cr_expect_eq(daemon.cache().counters().store_read_bytes - before, bytes.size());
    cr_expect_eq(daemon.cache().counters().fills, 1);
    Client loads_the_driver(daemon.socket());
}

DeviceTest(gpumap_process, a_process_that_is_killed_while_its_file_is_filled_leaves_no_lease) {
    Daemon daemon({.below = Daemon::Below::faulty});
    const auto bytes = Daemon::bytes(6, 8 * kMiB);
    const Ino ino = daemon.put_below("a", bytes);
    daemon.faulty().hang();
    Process process([&](int pipe) {
        Client client(daemon.socket());
        gm_job* job = nullptr;
        start_load(client, "v/a", client.allocate(8 * kMiB), 8 * kMiB, &job);
        // Answered after the lease.
        gm_stat stat{};
        const char* path = "v/a";
        gm_lookup(client, &path, 1, &stat);
        say(pipe);
        ::pause();
        return 0;
    });
    process.wait_for_word();
    cr_expect(daemon.in_dram(ino));

    process.kill();

    cr_expect(comes_true([&] { return daemon.server().clients() == 0; }));
    daemon.faulty().release();
    cr_expect(daemon.read("a") == bytes);
    daemon.push_out(ino);  // would never end were it leased
    Client loads_the_driver(daemon.socket());
}

DeviceTest(gpumap_process, a_process_that_is_killed_in_a_load_leaves_no_lease) {
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(2, 8 * kMiB));
    Process process([&](int pipe) {
        set_device({.delay_us = 50'000});
        Client client(daemon.socket());
        gm_job* job = nullptr;
        start_load(client, "v/a", client.allocate(8 * kMiB), 8 * kMiB, &job);
        some_moved(client);
        say(pipe);
        ::pause();
        return 0;
    });
    process.wait_for_word();

    process.kill();

    cr_expect(comes_true([&] { return daemon.server().clients() == 0; }));
    daemon.push_out(ino);  // would never end were it leased
    cr_expect_not(daemon.in_dram(ino));
    Client loads_the_driver(daemon.socket());
}

DeviceTest(gpumap_process, a_process_that_is_killed_in_a_save_leaves_no_file_and_no_memory) {
    Daemon daemon;
    const std::uint64_t used = daemon.cache().arena().used();
    Process process([&](int pipe) {
        set_device({.delay_us = 50'000});
        Client client(daemon.socket());
        const gm_devptr memory = client.allocate(8 * kMiB);
        gm_file* draft = client.create("v/a", 8 * kMiB);
        const gm_range range{0, 8 * kMiB, memory, 0, 0};
        gm_job* save = nullptr;
        gm_save(draft, &range, 1, nullptr, &save);
        some_moved(client);
        say(pipe);
        ::pause();
        return 0;
    });
    process.wait_for_word();
    cr_expect_gt(daemon.cache().arena().used(), used);

    process.kill();

    cr_expect(comes_true([&] { return daemon.cache().arena().used() == used; }));
    cr_expect(!daemon.exists("a"));
    Client loads_the_driver(daemon.socket());
}

DeviceTest(gpumap_process, a_child_of_fork_is_refused_its_parents_context_and_opens_its_own) {
    set_device({.delay_us = 20'000});
    Daemon daemon({.dram_bytes = 128 * kMiB});
    const auto bytes = Daemon::bytes(7, 16 * kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    gm_file* draft = client.create("v/b", 100);
    const gm_devptr memory = client.allocate(bytes.size());
    const gm_range range{0, bytes.size(), memory, 0, 0};
    gm_job* job = nullptr;
    cr_assert_eq(gm_prefetch(file, &range, 1, nullptr, &job), GM_OK);
    Process process([&](int) {
        gm_info info{};
        info.size = sizeof info;
        std::byte byte{};
        if (gm_query(client, &info) != GM_ENOTCONN) return 1;
        if (std::strstr(gm_message(), "fork") == nullptr) return 2;
        if (gm_prefetch(file, &range, 1, nullptr, nullptr) != GM_ENOTCONN) return 3;
        if (gm_commit(draft, 0, nullptr) != GM_ENOTCONN) return 4;
        if (gm_job_wait(job, GM_ALL_GROUPS, -1) != GM_ENOTCONN) return 5;
        if (gm_job_cancel(job) != GM_ENOTCONN) return 6;
        if (gm_device_copy_out(client, &byte, memory, 1, nullptr) != GM_ENOTCONN) return 7;
        if (gm_cq_fd(client) != GM_ENOTCONN) return 8;
        gm_job_free(job);
        gm_file_close(draft);
        gm_close(client);
        backend = GM_BACKEND_HOST;  // CUDA's driver is its parent's
        Client own(daemon.socket());
        const gm_devptr its_memory = own.allocate(bytes.size());
        if (start_load(own, "v/a", its_memory, bytes.size(), nullptr) != GM_OK) return 9;
        return own.fetch(its_memory, bytes.size()) == bytes ? 0 : 10;
    });

    cr_expect_eq(process.wait(), 0);

    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_OK);
    cr_expect(client.fetch(memory, bytes.size()) == bytes);
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
    cr_expect_eq(daemon.read("b").size(), 100);
    gm_job_free(job);
}
#endif

DeviceTest(gpumap_process, what_is_evicted_during_a_load_is_loaded_whole) {
    set_device({.delay_us = 20'000});
    Daemon daemon;
    const auto bytes = Daemon::bytes(3, 16 * kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(bytes.size());
    gm_job* job = nullptr;
    cr_assert_eq(start_load(client, "v/a", memory, bytes.size(), &job), GM_OK);
    cr_assert(some_moved(client));
    daemon.remove("a");

    // Until the job ends, others fill the DRAM tier over and over.
    for (int i = 0; gm_job_poll(job, GM_ALL_GROUPS) == GM_PENDING; ++i)
        daemon.settle(daemon.put("other" + std::to_string(i % 8), Daemon::bytes(4, 2 * kMiB)));

    cr_expect_eq(gm_job_poll(job, GM_ALL_GROUPS), GM_OK);
    cr_expect(client.fetch(memory, bytes.size()) == bytes);
    gm_job_free(job);
}

DeviceTest(gpumap_process, a_daemon_that_ends_in_a_load_and_a_save_ends_neither_wrongly) {
    set_device({.delay_us = 20'000});
    Daemon daemon({.dram_bytes = 128 * kMiB});
    const auto bytes = Daemon::bytes(5, 16 * kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(bytes.size());
    const gm_devptr saved = client.allocate(bytes.size());
    client.fill(saved, std::byte{7}, bytes.size());
    gm_file* draft = client.create("v/b", bytes.size());
    const gm_range range{0, bytes.size(), saved, 0, 0};
    gm_job* load = nullptr;
    gm_job* save = nullptr;
    gm_job* commit = nullptr;
    cr_assert_eq(start_load(client, "v/a", memory, bytes.size(), &load), GM_OK);
    cr_assert_eq(gm_save(draft, &range, 1, nullptr, &save), GM_OK);
    cr_assert_eq(gm_commit(draft, 0, &commit), GM_OK);
    cr_assert(some_moved(client));

    daemon.stop();

    // What was leased before is memory of this process: it goes well or not, but never half.
    const gm_status loaded = gm_job_wait(load, GM_ALL_GROUPS, -1);
    cr_expect(loaded == GM_OK || loaded == GM_EIO, "%s", gm_strerror(loaded));
    if (loaded == GM_OK) cr_expect(client.fetch(memory, bytes.size()) == bytes);
    const gm_status kept = gm_job_wait(save, GM_ALL_GROUPS, -1);
    cr_expect(kept == GM_OK || kept == GM_EIO, "%s", gm_strerror(kept));
    const gm_status committed = gm_job_wait(commit, GM_ALL_GROUPS, -1);
    cr_expect(committed == GM_OK || committed == GM_EIO, "%s", gm_strerror(committed));
    const auto file = daemon.read("b");
    if (committed == GM_OK) cr_expect_eq(file.size(), bytes.size());
    cr_expect(file.empty() || file == std::vector<std::byte>(bytes.size(), std::byte{7}));
    for (gm_job* job : {load, save, commit}) gm_job_free(job);
    gm_file_close(draft);
}
