// SSD directories as a running daemon meets them: one goes, one is drained, one is damaged.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"
#include "tests/support/second_ssd.h"

using namespace kvfs::tests;
using nlohmann::json;

namespace {

namespace stdfs = std::filesystem;

constexpr std::size_t kSize = 256 << 10;
constexpr int kFiles = 24;

std::string file(int i) { return mounted->path("kv/" + std::to_string(i)); }

json stats() { return json::parse(xattr_of(mounted->path(), "user.kvfs.stats")); }
json tier(const std::string& directory) {
    const json all = stats();
    for (const json& tier : all["tiers"])
        if (tier["name"] == "ssd:" + directory) return tier;
    cr_assert_fail("no tier in %s", directory.c_str());
    return {};
}

std::string object_in_second(int i) {
    return second_ssd() + mounted->object(inode_of(file(i))).substr(mounted->ssd().size());
}

/// A daemon over two directories that both hold some of the files, and none of them in DRAM.
void set_up() {
    stdfs::create_directory(second_ssd());
    mount_up_with({.dram = "16MiB", .arguments = {"--ssd", second_ssd()}});
    ::mkdir(mounted->path("kv").c_str(), 0755);
    for (int i = 0; i < kFiles; ++i) write_file(file(i), pattern(kSize, i));
    mounted->stop();
    mounted->start();
}
void tear_down() {
    mount_down();
    ::umount2(second_ssd().c_str(), MNT_DETACH);
    remove_second_ssd();
}

std::vector<int> in_second() {
    std::vector<int> found;
    for (int i = 0; i < kFiles; ++i)
        if (stdfs::exists(object_in_second(i))) found.push_back(i);
    return found;
}

/// EIO once at most, then ENOENT, at open already.
void expect_a_miss(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    if (fd >= 0) {
        char byte = 0;
        cr_expect_eq(::read(fd, &byte, 1), -1);
        cr_expect_eq(errno, EIO);
        ::close(fd);
    } else {
        cr_expect_eq(errno, ENOENT);
    }
    cr_expect(eventually([&] { return ::open(path.c_str(), O_RDONLY) < 0 && errno == ENOENT; }),
              "%s is still there", path.c_str());
}

void expect_the_rest_serves(const std::vector<int>& lost) {
    for (int i = 0; i < kFiles; ++i)
        if (std::find(lost.begin(), lost.end(), i) == lost.end())
            cr_expect(read_file(file(i)) == pattern(kSize, i), "file %d", i);
    for (int i = 100; i < 130; ++i) {
        write_file(file(i), pattern(kSize, i));
        cr_expect(read_file(file(i)) == pattern(kSize, i));
    }
    const int fd = ::open(file(100).c_str(), O_RDONLY);
    cr_expect_eq(::fsync(fd), 0, "%s", std::strerror(errno));
    ::close(fd);
}

}  // namespace

TestSuite(semantics_stores, .init = set_up, .fini = tear_down, .timeout = 120);

Test(semantics_stores, D7_a_directory_that_is_removed_costs_its_files_and_no_others) {
    const auto lost = in_second();
    cr_assert(lost.size() > 4 && lost.size() < kFiles);

    stdfs::remove_all(second_ssd());

    for (const int i : lost) expect_a_miss(file(i));
    expect_the_rest_serves(lost);
    cr_expect(eventually([] { return tier(second_ssd())["degraded"].get<bool>(); }));
    cr_expect(tier(second_ssd())["degraded_reason"].get<std::string>().find("is gone") !=
              std::string::npos);
    cr_expect(kvfs_tool({"df", mounted->path()}).out.find("degraded: ") != std::string::npos);
    cr_expect_not(tier(mounted->ssd())["degraded"].get<bool>());
    mounted->stop();
}

Test(semantics_stores, a_file_system_that_is_unmounted_costs_its_files_and_no_others) {
    // Bound to itself, so that there is something to unmount.
    mounted->stop();
    const std::string kept = second_ssd() + ".kept";
    stdfs::rename(second_ssd(), kept);
    stdfs::create_directory(second_ssd());
    const bool bound = ::mount(kept.c_str(), second_ssd().c_str(), nullptr, MS_BIND, nullptr) == 0;
    const int why = errno;
    if (bound) {
        mounted->start();
        const auto lost = in_second();
        cr_expect_gt(lost.size(), 4);

        cr_expect_eq(::umount2(second_ssd().c_str(), MNT_DETACH), 0);

        for (const int i : lost) expect_a_miss(file(i));
        expect_the_rest_serves(lost);
        cr_expect(stdfs::is_empty(second_ssd()), "it wrote below the mount point");
        mounted->stop();
    }
    stdfs::remove_all(kept);
    if (!bound) cr_skip_test("no bind mount here: %s", std::strerror(why));
}

Test(semantics_stores, S7_a_drained_directory_can_be_taken_away) {
    const auto moved = in_second();
    cr_assert_gt(moved.size(), 4);

    const Outcome drained = kvfs_tool({"drain", mounted->path(), second_ssd()});

    cr_expect_eq(drained.code, 0, "%s", drained.err.c_str());
    cr_expect(drained.out == second_ssd() + ": drained\n", "%s", drained.out.c_str());
    cr_expect_eq(tier(second_ssd())["files"].get<int>(), 0);
    cr_expect(tier(second_ssd())["draining"].get<bool>());
    cr_expect(kvfs_tool({"df", mounted->path()}).out.find("drained") != std::string::npos);
    cr_expect(xattr_of(mounted->path(), "user.kvfs.drain") == second_ssd() + "\n");
    cr_expect(stats()["counters"]["drained_bytes"].get<std::uint64_t>() >= moved.size() * kSize);
    stdfs::remove_all(second_ssd());
    expect_the_rest_serves({});
    mounted->stop();
    const Outcome checked = kvfs_tool({"fsck", "--verify", "--ssd", mounted->ssd()});
    cr_expect_eq(checked.code, 0, "%s%s", checked.out.c_str(), checked.err.c_str());
    mounted->start();  // makes the directory anew
    expect_the_rest_serves({});
}

Test(semantics_stores, S7_a_drain_is_remembered_over_restarts_until_it_is_stopped) {
    cr_assert_eq(kvfs_tool({"drain", mounted->path(), second_ssd()}).code, 0);
    mounted->kill();
    mounted->start();
    cr_expect(tier(second_ssd())["draining"].get<bool>());
    expect_the_rest_serves({});
    cr_expect_eq(tier(second_ssd())["files"].get<int>(), 0);

    cr_expect_eq(kvfs_tool({"drain", "--stop", "--socket", mounted->socket()}).code, 0);
    mounted->stop();
    mounted->start();
    cr_expect_not(tier(second_ssd())["draining"].get<bool>());
    for (int i = 200; i < 220; ++i) write_file(file(i), pattern(kSize, i));
    cr_expect(eventually([] { return tier(second_ssd())["files"].get<int>() > 0; }));
}

Test(semantics_stores, draining_can_be_stopped) {
    cr_expect_eq(kvfs_tool({"drain", "--no-wait", mounted->path(), second_ssd()}).code, 0);
    cr_expect_eq(kvfs_tool({"drain", "--stop", mounted->path()}).code, 0);
    cr_expect_not(tier(second_ssd())["draining"].get<bool>());
    expect_the_rest_serves({});
}

Test(semantics_stores, open_files_and_scratch_files_move_too) {
    const std::string scratch = mounted->path("scratch");
    ::mkdir(scratch.c_str(), 0755);
    cr_assert_eq(::setxattr(scratch.c_str(), "user.kvfs.scratch", "1", 1, 0), 0);
    for (int i = 0; i < 8; ++i) {
        const std::string path = scratch + "/" + std::to_string(i);
        write_file(path, pattern(kSize, 50 + i));
        cr_assert_eq(::truncate(path.c_str(), 8 << 20), 0);
    }
    const int fd = ::open(file(in_second().front()).c_str(), O_RDONLY);
    cr_assert_geq(fd, 0);

    cr_expect_eq(kvfs_tool({"drain", mounted->path(), second_ssd()}).code, 0);

    std::string bytes(kSize, '\0');
    cr_expect_eq(::pread(fd, bytes.data(), kSize, 0), static_cast<ssize_t>(kSize));
    ::close(fd);
    for (int i = 0; i < 8; ++i) {
        const std::string now = read_file(scratch + "/" + std::to_string(i));
        cr_expect_eq(now.size(), 8U << 20);
        cr_expect(now.substr(0, kSize) == pattern(kSize, 50 + i));
        cr_expect(now.find_first_not_of('\0', kSize) == std::string::npos);
        struct stat st {};
        ::stat((scratch + "/" + std::to_string(i)).c_str(), &st);
        cr_expect_lt(st.st_blocks, 2 * kSize / 512 + (1 << 20) / 512, "its holes were filled");
    }
    expect_the_rest_serves({});
}

Test(semantics_stores, what_cannot_be_drained_is_said) {
    const Outcome unknown = kvfs_tool({"drain", mounted->path(), "/nowhere"});
    cr_expect_eq(unknown.code, 1);
    cr_expect(unknown.err.find("/nowhere: no SSD directory of this daemon") != std::string::npos);
    cr_expect_eq(kvfs_tool({"drain", mounted->path()}).code, 2);
    cr_expect_eq(kvfs_tool({"drain", mounted->path(), second_ssd()}).code, 0);
    const Outcome last = kvfs_tool({"drain", mounted->path(), mounted->ssd()});
    cr_expect_eq(last.code, 1);
    cr_expect(last.err.find("is the only one that is not drained") != std::string::npos, "%s",
              last.err.c_str());
}

namespace {

void set_up_one() {
    mount_up_with({.dram = "16MiB", .ssd_size = "64MiB"});
    ::mkdir(mounted->path("kv").c_str(), 0755);
}

/// Waits until some directory has it.
void await_on_ssd(int i) {
    cr_assert(eventually(
        [&] { return xattr_of(file(i), "user.kvfs.tier").find("ssd") != std::string::npos; }));
}

Outcome add_second(const std::string& more = "") {
    return kvfs_tool({"add", mounted->path(), second_ssd() + more});
}

}  // namespace

TestSuite(semantics_added_stores, .init = set_up_one, .fini = tear_down, .timeout = 120);

Test(semantics_added_stores, S8_a_directory_that_is_added_takes_new_files_at_once) {
    write_file(file(100), pattern(kSize, 100));
    await_spilled(file(100));

    const Outcome added = add_second(",size=64MiB");

    cr_expect_eq(added.code, 0, "%s", added.err.c_str());
    cr_expect(added.out == second_ssd() + ": added, 64 MiB, holds 0 files\n", "%s",
              added.out.c_str());
    cr_expect(added.err.find("kvfsd --ssd " + second_ssd() + ",size=64MiB") != std::string::npos);
    cr_expect(xattr_of(mounted->path(), "user.kvfs.ssd") ==
              mounted->ssd() + "\n" + second_ssd() + "\n");
    for (int i = 0; i < kFiles; ++i) write_file(file(i), pattern(kSize, i));
    for (int i = 0; i < kFiles; ++i) await_on_ssd(i);
    cr_expect_gt(in_second().size(), 4);
    cr_expect_eq(tier(second_ssd())["files"].get<std::size_t>(), in_second().size());
    cr_expect_eq(kvfs_tool({"drain", mounted->path(), mounted->ssd()}).code, 0);
    expect_the_rest_serves({});
}

Test(semantics_added_stores, S8_what_an_added_directory_has_is_there_again) {
    cr_assert_eq(add_second().code, 0);
    for (int i = 0; i < kFiles; ++i) write_file(file(i), pattern(kSize, i));
    for (int i = 0; i < kFiles; ++i) await_on_ssd(i);
    const auto away = in_second();
    cr_assert(away.size() > 4 && away.size() < kFiles);
    mounted->stop();
    mounted->start();  // without it
    for (const int i : away) cr_expect_lt(::open(file(i).c_str(), O_RDONLY), 0);
    const std::string deleted = object_in_second(away.back());
    cr_assert_eq(::unlink(file(away.back()).c_str()), 0);

    const Outcome added = kvfs_tool({"add", "--socket", mounted->socket(), second_ssd()});

    cr_expect_eq(added.code, 0, "%s", added.err.c_str());
    cr_expect_eq(tier(second_ssd())["files"].get<std::size_t>(), away.size() - 1);
    cr_expect_eq(tier(second_ssd())["used_bytes"].get<std::size_t>(), (away.size() - 1) * kSize);
    write_file(file(away.back()), pattern(kSize, away.back()));
    expect_the_rest_serves({});
}

Test(semantics_added_stores, what_cannot_be_added_is_refused_as_at_the_start) {
    const std::string copy = mounted->scrap() + "/copy", plain = mounted->scrap() + "/plain";
    stdfs::create_directories(second_ssd());
    stdfs::create_directories(copy);
    stdfs::copy(mounted->ssd() + "/kvfs.json", copy + "/kvfs.json");
    write_file(plain, "");
    const int lock = ::open((second_ssd() + "/lock").c_str(), O_RDWR | O_CREAT, 0600);
    cr_assert_eq(::flock(lock, LOCK_EX), 0);
    const struct {
        std::string spec;
        int code;
        std::string says;
    } cases[] = {
        {second_ssd(), 1, "another kvfsd uses the SSD directory " + second_ssd()},
        {mounted->ssd(), 1, mounted->ssd() + " is a directory of this kvfsd already"},
        {mounted->ssd() + "/../ssd/", 1, mounted->ssd() + " is a directory of this kvfsd already"},
        {mounted->path("kv"), 1, "lies in the mount point " + mounted->path()},
        {copy, 1, "ssd:" + copy + " is a copy of ssd:" + mounted->ssd()},
        {plain, 1, "the SSD directory " + plain + " is not a directory"},
        {"/nowhere/at/all", 1, "the SSD directory /nowhere/at/all has no parent"},
        {second_ssd() + ",sizes=4", 2, "unknown sub-option 'sizes=4'"},
        {"", 2, "no directory given"},
    };
    for (const auto& one : cases) {
        const Outcome refused = kvfs_tool({"add", mounted->path(), one.spec});
        cr_expect_eq(refused.code, one.code, "%s", one.spec.c_str());
        cr_expect(refused.err.find(one.says) != std::string::npos, "'%s' instead of '%s'",
                  refused.err.c_str(), one.says.c_str());
    }
    cr_expect_eq(kvfs_tool({"add", mounted->path()}).code, 2);
    cr_expect_eq(kvfs_tool({"add", second_ssd(), second_ssd()}).code, 1, "no mount");
    cr_expect_eq(::setxattr(mounted->path().c_str(), "user.kvfs.ssd", "relative", 8, 0), -1);
    cr_expect_eq(errno, EINVAL);
    cr_expect_eq(
        stats()["refused"]["why"].get<std::string>().find("'relative' is no absolute path"), 0);
    ::close(lock);
    cr_expect_eq(add_second().code, 0);
    cr_expect_not(stats().contains("refused"));
}

Test(semantics_added_stores, S8_only_root_and_the_daemons_user_may_change_directories) {
    if (::geteuid() != 0) cr_skip_test("needs root, to be somebody else");
    cr_assert_eq(add_second().code, 0);
    cr_assert_eq(::chmod(mounted->path().c_str(), 0777), 0);
    cr_assert_eq(::chmod(stdfs::path(mounted->path()).parent_path().c_str(), 0755), 0);
    const std::string second = second_ssd();  // it depends on the process
    const pid_t other = ::fork();
    if (other == 0) {
        if (::setgid(4242) != 0 || ::setuid(4242) != 0) ::_exit(99);
        const std::string root = mounted->path();
        int bad = 0;
        for (const char* name : {"user.kvfs.ssd", "user.kvfs.drain"}) {
            const int done = ::setxattr(root.c_str(), name, second.data(), second.size(), 0);
            if (done == 0 || errno != EPERM) bad |= 1;
        }
        if (::removexattr(root.c_str(), "user.kvfs.drain") == 0 || errno != EPERM) bad |= 2;
        const Outcome by_socket =
            kvfs_tool({"drain", "--socket", mounted->socket(), "--no-wait", second});
        if (by_socket.code != 1 || by_socket.err.find("only root") == std::string::npos) bad |= 4;
        ::_exit(bad);
    }
    int status = 0;
    ::waitpid(other, &status, 0);
    cr_expect_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
    cr_expect_not(tier(second_ssd())["draining"].get<bool>());
}

namespace {

void set_up_scrub() { mount_up_with({.arguments = {"--scrub", "1GiB"}}); }

}  // namespace

TestSuite(semantics_scrub, .init = set_up_scrub, .fini = mount_down, .timeout = 120);

Test(semantics_scrub, D6_a_damaged_object_is_gone_before_anybody_reads_it) {
    write_file(mounted->path("good"), pattern(3 << 20, 1));
    write_file(mounted->path("bad"), pattern(3 << 20, 2));
    const std::string object = mounted->object(inode_of(mounted->path("bad")));
    mounted->stop();
    std::FILE* bytes = std::fopen(object.c_str(), "r+");
    cr_assert_not_null(bytes);
    std::fseek(bytes, (2 << 20) + 77, SEEK_SET);
    std::fputc(pattern(3 << 20, 2)[(2 << 20) + 77] ^ 4, bytes);
    std::fclose(bytes);

    mounted->start();

    struct stat st {};
    cr_expect(eventually(
        [&] { return ::stat(mounted->path("bad").c_str(), &st) != 0 && errno == ENOENT; }));
    cr_expect(eventually([] { return stats()["counters"]["scrub_rounds"].get<int>() == 1; }));
    cr_expect_eq(stats()["counters"]["scrub_errors"].get<int>(), 1);
    cr_expect_eq(stats()["counters"]["scrubbed_bytes"].get<int>(), (3 << 20) + (2 << 20));
    cr_expect(!stdfs::exists(object));
    cr_expect(read_file(mounted->path("good")) == pattern(3 << 20, 1));
}

namespace {

void set_up_small() { mount_up_with({.dram = "16MiB", .ssd_size = "24MiB"}); }

/// Files 0 to 9, of which 0 was used last, and more than once, and 1 is pinned; then `end` and a
/// start: 2 is the first to go, and 0 and 1 are still there.
void expect_memory_over(void (*end)()) {
    constexpr std::size_t kMiB = 1 << 20;
    ::mkdir(mounted->path("kv").c_str(), 0755);
    for (int i = 0; i < 10; ++i) write_file(file(i), pattern(kMiB, i));
    for (int i = 0; i < 10; ++i) await_spilled(file(i));
    for (int i = 0; i < 3; ++i) read_file(file(0));
    cr_assert_eq(::setxattr(file(1).c_str(), "user.kvfs.pin", "1", 1, 0), 0);
    const std::string hits = xattr_of(file(0), "user.kvfs.hits");
    ::sleep(3);  // uses are recorded every second

    end();
    mounted->start();

    cr_expect_eq(xattr_of(file(0), "user.kvfs.hits"), hits);
    cr_expect_eq(xattr_of(file(1), "user.kvfs.pin"), "1");
    for (int i = 100; ::access(file(2).c_str(), F_OK) == 0; ++i) {
        cr_assert_lt(i, 200, "nothing was evicted");
        write_file(file(i), pattern(kMiB, i));
        await_spilled(file(i));
    }
    cr_expect_eq(::access(file(0).c_str(), F_OK), 0, "what was used last went first");
    cr_expect_eq(::access(file(1).c_str(), F_OK), 0, "a pin was forgotten");
}

}  // namespace

TestSuite(semantics_restart, .init = set_up_small, .fini = mount_down, .timeout = 120);

Test(semantics_restart, D8_uses_and_pins_survive_a_stop) {
    expect_memory_over([] { mounted->stop(); });
}

Test(semantics_restart, D8_uses_and_pins_survive_a_kill) {
    expect_memory_over([] { mounted->kill(); });
}
