// libgpumap against a kvfsd process: other users, other processes, and the daemon's death.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "gpumap.h"
#include "tests/support/gpumap_client.h"
#include "tests/support/mounted.h"
#include "tests/support/spawn.h"

using namespace kvfs::tests;

namespace {

namespace stdfs = std::filesystem;
constexpr std::size_t kMiB = 1 << 20;

/// A kvfsd without a mount, in a directory of its own.
struct Place {
    std::string path = "/var/tmp/kvfs-mapper." + std::to_string(::getpid()) + ".XXXXXX";
    Child daemon{};

    std::string socket() const { return path + "/socket"; }
};
Place* place = nullptr;

Words kvfsd() {
    const char* bin = std::getenv("KVFS_BIN");
    cr_assert(bin != nullptr, "KVFS_BIN is not set: run the tests through make check");
    return {std::string(bin) + "/kvfsd", "--foreground", "--no-mount",   "--dram", "64MiB", "--ssd",
            place->path + "/ssd",        "--socket",     place->socket()};
}

void start_daemon() {
    place->daemon = spawn(kvfsd());
    cr_assert(first_line(place->daemon) == "ready");
}

void set_up() {
    place = new Place;
    cr_assert(::mkdtemp(place->path.data()) != nullptr);
    stdfs::permissions(place->path, stdfs::perms(0755));
    start_daemon();
}

void tear_down() {
    if (place->daemon.pid > 0) ::kill(place->daemon.pid, SIGKILL);
    if (place->daemon.pid > 0) finish(place->daemon);
    std::error_code ignored;
    stdfs::remove_all(place->path, ignored);
    delete place;
}

void kill_daemon() {
    ::kill(place->daemon.pid, SIGKILL);
    finish(place->daemon);
    place->daemon.pid = -1;
}

gm_status load(gm_ctx* ctx, const std::string& path, std::string& bytes) {
    gm_file* file = nullptr;
    std::uint64_t size = 0;
    gm_status status = gm_file_open(ctx, path.c_str(), 0, &file, &size);
    if (status != GM_OK) return status;
    bytes.assign(size, '?');
    const gm_range range{0, size, address(bytes), 0, 0};
    status = gm_prefetch(file, &range, 1, nullptr, nullptr);
    gm_file_close(file);
    return status;
}

std::uint32_t tier(gm_ctx* ctx, const char* path) {
    gm_stat stat{};
    gm_lookup(ctx, &path, 1, &stat);
    return stat.status == GM_OK ? stat.tier : std::uint32_t{GM_TIER_NONE};
}

/// Runs `body` in a process of user 4321 and gives its exit code; 77: cannot become that user.
template <typename Body>
int as_another_user(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(4321) != 0 || ::setuid(4321) != 0) ::_exit(77);
        ::_exit(body());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TestSuite(mapper, .init = set_up, .fini = tear_down, .timeout = 60);

Test(mapper, what_one_process_saves_another_loads) {
    const std::string bytes = pattern(5 * kMiB + 11, 1);
    const pid_t child = ::fork();
    if (child == 0) {
        gm_ctx* ctx = connect_on_host(place->socket());
        const gm_status saved = save(ctx, "v/d/a", bytes);
        gm_close(ctx);
        ::_exit(saved == GM_OK ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    gm_ctx* ctx = connect_on_host(place->socket());

    std::string loaded;
    cr_expect_eq(load(ctx, "v/d/a", loaded), GM_OK, "%s", gm_message());

    cr_expect(loaded == bytes);
    gm_close(ctx);
}

Test(mapper, more_than_dram_holds_is_loaded_from_ssd) {
    gm_ctx* ctx = connect_on_host(place->socket());
    constexpr unsigned kFiles = 24;
    for (unsigned i = 0; i < kFiles; ++i)
        cr_assert_eq(save(ctx, "v/f" + std::to_string(i), pattern(5 * kMiB + i, i)), GM_OK, "%s",
                     gm_message());
    cr_expect_eq(tier(ctx, "v/f0"), GM_TIER_SSD);
    for (unsigned i = 0; i < kFiles; ++i) {
        std::string loaded;
        cr_assert_eq(load(ctx, "v/f" + std::to_string(i), loaded), GM_OK, "%s", gm_message());
        cr_expect(loaded == pattern(5 * kMiB + i, i), "file %u", i);
    }
    gm_info info{};
    info.size = sizeof info;
    gm_query(ctx, &info);
    cr_expect_gt(info.file_bytes, 0);
    gm_close(ctx);
}

Test(mapper, jobs_end_when_the_daemon_is_killed_and_a_new_one_has_the_files) {
    gm_ctx* ctx = connect_on_host(place->socket());
    cr_assert_eq(save(ctx, "v/old", pattern(4 * kMiB, 7)), GM_OK, "%s", gm_message());
    // Written behind: until it is on SSD as well, a daemon that dies takes it along.
    for (unsigned i = 0; tier(ctx, "v/old") != GM_TIER_SSD && i < 40; ++i)
        cr_assert_eq(save(ctx, "v/f" + std::to_string(i), pattern(4 * kMiB, i)), GM_OK);
    gm_file* file = nullptr;
    std::uint64_t size = 0;
    cr_assert_eq(gm_file_open(ctx, "v/old", 0, &file, &size), GM_OK, "%s", gm_message());
    std::string into(size, '?');
    std::vector<gm_job*> jobs;
    std::thread killer(kill_daemon);
    for (int i = 0; i < 50; ++i) {
        const gm_range range{0, size, address(into), 0, 0};
        gm_job* job = nullptr;
        if (gm_prefetch(file, &range, 1, nullptr, &job) == GM_OK) jobs.push_back(job);
    }
    killer.join();
    for (gm_job* job : jobs) {
        const gm_status status = gm_job_wait(job, GM_ALL_GROUPS, 20'000'000);
        cr_expect(status == GM_OK || status == GM_EIO, "%s", gm_strerror(status));
        gm_job_free(job);
    }
    cr_expect(eventually([&] {
        const char* path = "v/old";
        gm_stat stat{};
        return gm_lookup(ctx, &path, 1, &stat) == GM_ENOTCONN;
    }));
    cr_expect_neq(std::strstr(gm_message(), "gm_open"), nullptr, "%s", gm_message());
    gm_close(ctx);

    start_daemon();
    ctx = connect_on_host(place->socket());
    std::string loaded;
    cr_expect_eq(load(ctx, "v/old", loaded), GM_OK, "%s", gm_message());
    cr_expect(loaded == pattern(4 * kMiB, 7));
    gm_close(ctx);
}

Test(mapper, a_daemon_that_is_told_to_end_does_not_wait_for_clients) {
    gm_ctx* ctx = connect_on_host(place->socket());
    cr_assert_eq(save(ctx, "v/a", pattern(kMiB, 1)), GM_OK, "%s", gm_message());

    ::kill(place->daemon.pid, SIGTERM);
    const Outcome outcome = finish(place->daemon);
    place->daemon.pid = -1;

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    cr_expect_not(stdfs::exists(place->socket()));
    gm_close(ctx);
}

Test(mapper, a_second_daemon_at_the_same_socket_is_refused) {
    Words words = kvfsd();
    words[6] = place->path + "/other";
    Child second = spawn(words);
    const Outcome outcome = finish(second);

    cr_expect_neq(outcome.code, 0);
    cr_expect_neq(outcome.err.find("another daemon listens"), std::string::npos, "%s",
                  outcome.err.c_str());
    gm_close(connect_on_host(place->socket()));
}

Test(mapper, another_user_reads_what_modes_allow_and_cannot_write_memory) {
    gm_ctx* ctx = connect_on_host(place->socket());
    cr_assert_eq(save(ctx, "v/a", pattern(kMiB, 3)), GM_OK, "%s", gm_message());
    gm_close(ctx);  // or the child would inherit its mappings

    const int code = as_another_user([&] {
        gm_ctx* theirs = connect_on_host(place->socket());
        std::string loaded;
        if (load(theirs, "v/a", loaded) != GM_OK || loaded != pattern(kMiB, 3)) return 1;
        if (save(theirs, "v/b", "bytes") != GM_EACCES) return 2;
        // The daemon's memory is mapped for reading, and cannot be made writable.
        std::ifstream maps("/proc/self/maps");
        int found = 0;
        for (std::string line; std::getline(maps, line);) {
            if (line.find("kvfs-slab") == std::string::npos) continue;
            ++found;
            if (line.find(" r--s ") == std::string::npos) return 3;
            auto* at = reinterpret_cast<void*>(std::strtoull(line.c_str(), nullptr, 16));
            if (::mprotect(at, 4096, PROT_READ | PROT_WRITE) == 0) return 4;
        }
        gm_close(theirs);
        return found > 0 ? 0 : 5;
    });

    if (code == 77) cr_skip_test("cannot become another user");
    cr_expect_eq(code, 0, "step %d", code);
}

Test(mapper, another_user_gets_nothing_of_a_private_directory) {
    ::umask(077);
    gm_ctx* ctx = connect_on_host(place->socket());
    cr_assert_eq(save(ctx, "v/a", pattern(kMiB, 3)), GM_OK, "%s", gm_message());

    const int code = as_another_user([&] {
        gm_ctx* theirs = connect_on_host(place->socket());
        std::string loaded;
        const gm_status status = load(theirs, "v/a", loaded);
        gm_close(theirs);
        return status == GM_EACCES ? 0 : 1;
    });

    if (code == 77) cr_skip_test("cannot become another user");
    cr_expect_eq(code, 0, "step %d", code);
    gm_close(ctx);
}

Test(mapper, statistics_tell_what_was_read) {
    gm_ctx* ctx = connect_on_host(place->socket());
    cr_assert_eq(save(ctx, "v/a", pattern(kMiB, 3)), GM_OK, "%s", gm_message());
    std::string loaded;
    cr_assert_eq(load(ctx, "v/a", loaded), GM_OK);
    std::string text(1 << 16, '\0');
    std::size_t length = text.size();

    cr_assert_eq(gm_stats_json(ctx, text.data(), &length), GM_OK, "%s", gm_message());

    cr_expect_neq(text.find("1048576"), std::string::npos, "%s", text.c_str());
    gm_close(ctx);
}

TestSuite(mapper_mounted, .init = mount_up, .fini = mount_down, .timeout = 60);

TestSuite(semantics_mapper, .init = mount_up, .fini = mount_down, .timeout = 60);

Test(semantics_mapper, N14_a_file_is_there_once_close_has_returned) {
    gm_ctx* ctx = connect_on_host(mounted->path());
    stdfs::create_directory(mounted->path("v"));
    for (int i = 0; i < 200; ++i) {
        const std::string name = "v/" + std::to_string(i);
        write_file(mounted->path(name), pattern(10'000, i));
        std::string loaded;
        cr_assert_eq(load(ctx, name.c_str(), loaded), GM_OK, "%d: %s", i, gm_message());
        cr_expect(loaded == pattern(10'000, i));
    }
    gm_close(ctx);
}

Test(semantics_mapper, N14_a_file_with_a_second_descriptor_open_is_not_there_yet) {
    gm_ctx* ctx = connect_on_host(mounted->path());
    stdfs::create_directory(mounted->path("v"));
    const int first =
        ::open(mounted->path("v/a").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert_eq(::write(first, "half", 4), 4);
    const int second = ::dup(first);
    ::close(first);
    std::string loaded;
    cr_expect_eq(load(ctx, "v/a", loaded), GM_ENOENT);
    cr_assert_eq(::write(second, "+half", 5), 5);
    ::close(second);
    cr_expect_eq(load(ctx, "v/a", loaded), GM_OK, "%s", gm_message());
    cr_expect_eq(loaded, "half+half");
    gm_close(ctx);
}

Test(mapper_mounted, the_mount_point_names_the_socket_and_both_see_the_same_files) {
    gm_ctx* ctx = connect_on_host(mounted->path());
    stdfs::create_directory(mounted->path("v"));
    write_file(mounted->path("v/a"), pattern(3 * kMiB + 1, 1));

    std::string loaded;
    cr_expect_eq(load(ctx, "v/a", loaded), GM_OK, "%s", gm_message());
    cr_expect(loaded == pattern(3 * kMiB + 1, 1));
    cr_assert_eq(save(ctx, "v/b", pattern(2 * kMiB, 2)), GM_OK, "%s", gm_message());
    cr_expect(read_file(mounted->path("v/b")) == pattern(2 * kMiB, 2));
    gm_close(ctx);
}
