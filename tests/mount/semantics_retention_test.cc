// SEMANTICS.md, "What stays, and for how long": times to live, priorities, pins; evict and
// prefetch.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kMiB = 1 << 20;

std::string get(const std::string& path, const char* name) {
    char value[64];
    const ssize_t length = ::getxattr(path.c_str(), name, value, sizeof value);
    return length < 0 ? std::strerror(errno) : std::string(value, static_cast<std::size_t>(length));
}

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "64MiB"}); }

void write_and_settle(const std::string& path, unsigned seed) {
    write_file(path, pattern(kMiB, seed));
    await_spilled(path);
}

}  // namespace

TestSuite(semantics_retention, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(semantics_retention, L1_a_file_goes_when_it_was_not_used_for_its_time) {
    const std::string directory = mounted->path("d");
    cr_assert_eq(::mkdir(directory.c_str(), 0755), 0);
    cr_expect_eq(put_xattr(directory, "user.kvfs.ttl", "2"), 0);
    write_file(directory + "/idle", pattern(kMiB, 1));
    write_file(directory + "/empty", "");
    write_file(directory + "/open", "x");
    write_file(directory + "/kept", "x");
    cr_expect_eq(get(directory + "/kept", "user.kvfs.ttl"), "2");
    cr_expect_eq(put_xattr(directory + "/kept", "user.kvfs.ttl", "0"), 0);
    const int fd = ::open((directory + "/open").c_str(), O_RDONLY);
    cr_expect(is_gone(directory + "/idle"));
    cr_expect(is_gone(directory + "/empty"));
    cr_expect(exists(directory + "/open"), "what is open stays");
    ::close(fd);
    cr_expect(exists(directory + "/kept"));
}

Test(semantics_retention, L1_use_and_a_restart_leave_a_time_to_live_as_it_is) {
    const std::string path = mounted->path("used");
    write_file(path, pattern(kMiB, 1));
    cr_expect_eq(put_xattr(path, "user.kvfs.ttl", "4"), 0);
    await_spilled(path);
    mounted->stop();
    mounted->start();
    cr_expect_eq(get(path, "user.kvfs.ttl"), "4");
    for (int i = 0; i < 6; ++i) {
        ::sleep(1);
        cr_expect(read_file(path) == pattern(kMiB, 1), "%d s after it was written", i);
    }
    cr_expect(is_gone(path));
}

Test(semantics_retention, L2_files_of_low_priority_go_first_and_of_high_priority_last,
     .init = mount_small) {
    const std::string cheap = mounted->path("cheap"), dear = mounted->path("dear");
    cr_assert_eq(::mkdir(dear.c_str(), 0755), 0);
    kvfs_says({"priority", "high", dear}, 0);
    write_and_settle(dear + "/first", 1);
    cr_expect_eq(get(dear + "/first", "user.kvfs.priority"), "high");
    for (int i = 0; i < 8; ++i) write_and_settle(mounted->path("old" + std::to_string(i)), 2);
    cr_assert_eq(::mkdir(cheap.c_str(), 0755), 0);
    for (int i = 0; i < 8; ++i) write_and_settle(cheap + "/" + std::to_string(i), 3);
    kvfs_says({"priority", "-R", "low", cheap}, 0);
    mounted->stop();  // a restart keeps the order
    mounted->start();
    int i = 0;
    for (; exists(cheap + "/0"); ++i) {
        cr_assert_lt(i, 200);
        write_and_settle(mounted->path("n" + std::to_string(i)), 4);
    }
    cr_expect(exists(mounted->path("old0")), "it is older, and of normal priority");
    for (; exists(mounted->path("old7")); ++i) {
        cr_assert_lt(i, 400);
        write_and_settle(mounted->path("n" + std::to_string(i)), 4);
    }
    cr_expect(read_file(dear + "/first") == pattern(kMiB, 1));
}

Test(semantics_retention, L3_evict_drops_a_file_or_takes_it_out_of_DRAM) {
    const std::string path = mounted->path("f");
    write_file(path, pattern(kMiB, 1));
    await_spilled(path);
    kvfs_says({"evict", "--dram", path}, 0);
    cr_expect_eq(get(path, "user.kvfs.tier"), "ssd");
    cr_expect(read_file(path) == pattern(kMiB, 1));
    const int fd = ::open(path.c_str(), O_RDONLY);
    const std::string said = kvfs_says({"evict", path}, 1);
    cr_expect(said.find("open, pinned or being moved") != said.npos, "%s", said.c_str());
    ::close(fd);
    cr_expect(eventually([&] { return put_xattr(path, "user.kvfs.evict", "all") == 0; }));
    cr_expect(is_gone(path));
}

Test(semantics_retention, L3_evict_spares_what_is_pinned) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    kvfs_says({"pin", path}, 0);
    cr_expect_eq(put_xattr(path, "user.kvfs.evict", "all"), EBUSY);
    kvfs_says({"unpin", path}, 0);
    cr_expect(eventually([&] { return put_xattr(path, "user.kvfs.evict", "all") == 0; }));
    cr_expect(is_gone(path));
}

Test(semantics_retention, L4_prefetch_brings_a_file_into_DRAM) {
    ::mkdir(mounted->path("d").c_str(), 0755);
    const std::string path = mounted->path("d/f");
    write_file(path, pattern(3 * kMiB, 1));
    await_spilled(path);
    cr_assert_eq(put_xattr(path, "user.kvfs.evict", "dram"), 0);
    cr_expect_eq(get(path, "user.kvfs.resident"), "0");
    const std::string said = kvfs_says({"prefetch", mounted->path("d")}, 1);
    cr_expect(said.find("-R goes through it") != said.npos, "%s", said.c_str());
    kvfs_says({"prefetch", "-R", mounted->path("d")}, 0);
    cr_expect(eventually([&] { return get(path, "user.kvfs.resident") == "3145728"; }));
    cr_expect_eq(get(path, "user.kvfs.tier"), "dram,ssd");
    cr_expect(read_file(path) == pattern(3 * kMiB, 1));
}

Test(semantics_retention, L6_a_file_has_the_parent_that_it_is_given_or_seems_to_have) {
    const std::string v = mounted->path("v");
    ::mkdir(v.c_str(), 0755);
    ::mkdir((v + "/d").c_str(), 0755);
    ::mkdir(mounted->path("other").c_str(), 0755);
    for (int i = 0; i < 64; ++i) write_file(v + "/fills" + std::to_string(i), "x");
    ::sleep(2);  // a prompt begins
    write_file(v + "/a", pattern(kMiB, 1));
    write_file(v + "/b.tmp", pattern(kMiB, 2));
    cr_assert_eq(::rename((v + "/b.tmp").c_str(), (v + "/b").c_str()), 0);
    write_file(v + "/d/c", pattern(kMiB, 3));
    cr_expect_eq(get(v + "/a", "user.kvfs.parent"), std::strerror(ENODATA));
    cr_expect_eq(get(v + "/b", "user.kvfs.parent"), "/v/a");
    cr_expect_eq(get(v + "/d/c", "user.kvfs.parent"), "/v/b");

    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "d/../a"), EINVAL);
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "b"), EINVAL, "itself");
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "d"), EINVAL);
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "none"), EINVAL);
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "a/b"), ENOTDIR);
    cr_expect_eq(put_xattr(v, "user.kvfs.parent", "a"), EPERM);
    write_file(mounted->path("other/f"), "x");
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "/other/f"), EXDEV);
    cr_expect_eq(get(v + "/b", "user.kvfs.parent"), "/v/a", "it stays");

    cr_expect_eq(put_xattr(v + "/a", "user.kvfs.parent", "d/c"), 0);
    cr_expect_eq(put_xattr(v + "/b", "user.kvfs.parent", "/v/d/c"), 0);
    cr_assert_eq(::rename((v + "/d").c_str(), (v + "/e").c_str()), 0);
    await_spilled(v + "/b");
    mounted->stop();
    mounted->start();
    cr_expect_eq(get(v + "/a", "user.kvfs.parent"), "/v/e/c");
    cr_expect_eq(get(v + "/b", "user.kvfs.parent"), "/v/e/c");
    cr_expect_eq(::removexattr((v + "/b").c_str(), "user.kvfs.parent"), 0);
    cr_expect_eq(get(v + "/b", "user.kvfs.parent"), std::strerror(ENODATA));
    cr_assert_eq(::unlink((v + "/e/c").c_str()), 0);
    cr_expect_eq(get(v + "/a", "user.kvfs.parent"), std::strerror(ENODATA));
}

Test(semantics_retention, L4_L6_a_prompt_is_prefetched_by_its_last_block) {
    const char* const names[] = {"first", "second", "third", "not of it"};
    for (const char* name : names) {
        write_file(mounted->path(name), pattern(kMiB, 1));
        await_spilled(mounted->path(name));
        cr_assert_eq(put_xattr(mounted->path(name), "user.kvfs.parent", ""), 0);
        cr_assert_eq(put_xattr(mounted->path(name), "user.kvfs.evict", "dram"), 0);
    }
    cr_assert_eq(put_xattr(mounted->path("second"), "user.kvfs.parent", "first"), 0);
    cr_assert_eq(put_xattr(mounted->path("third"), "user.kvfs.parent", "second"), 0);
    cr_assert_eq(put_xattr(mounted->path("first"), "user.kvfs.parent", "third"), 0);  // a circle

    kvfs_says({"prefetch", "--chain", mounted->path("third")}, 0);

    for (const char* name : {"first", "second", "third"})
        cr_expect(
            eventually([&] { return get(mounted->path(name), "user.kvfs.tier") == "dram,ssd"; }));
    cr_expect_eq(get(mounted->path("not of it"), "user.kvfs.tier"), "ssd");
    kvfs_says({"prefetch", "--chain", mounted->path("none")}, 1);
    kvfs_says({"prefetch", "--chain", "-R", mounted->path("third")}, 2);
}

Test(semantics_retention, L5_what_does_not_parse_changes_nothing) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    cr_expect_eq(put_xattr(path, "user.kvfs.ttl", "60"), 0);
    for (const char* value : {"", "-1", "1x", "4294967296", "soon"})
        cr_expect_eq(put_xattr(path, "user.kvfs.ttl", value), EINVAL, "'%s'", value);
    cr_expect_eq(get(path, "user.kvfs.ttl"), "60");
    for (const char* value : {"", "urgent", "HIGH", "1"})
        cr_expect_eq(put_xattr(path, "user.kvfs.priority", value), EINVAL, "'%s'", value);
    cr_expect_eq(get(path, "user.kvfs.priority"), "normal");
    cr_expect_eq(put_xattr(path, "user.kvfs.evict", "everything"), EINVAL);
    cr_expect_eq(put_xattr(path, "user.kvfs.prefetch", "hbm"), EINVAL);
    cr_expect_eq(put_xattr(mounted->path(), "user.kvfs.evict", "all"), EPERM);
    cr_expect_eq(::removexattr(path.c_str(), "user.kvfs.ttl"), 0);
    cr_expect_eq(get(path, "user.kvfs.ttl"), "0");
    const std::string said = kvfs_says({"ttl", "never", path}, 2);
    cr_expect(said.find("'never' is no time") != said.npos, "%s", said.c_str());
}
