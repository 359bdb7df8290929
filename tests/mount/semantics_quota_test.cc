// SEMANTICS.md, "Quotas": what a volume holds, and may hold.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "gpumap.h"
#include "tests/support/gpumap_client.h"
#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kMiB = 1 << 20;

std::string volume(const char* name) {
    const std::string path = mounted->path(name);
    cr_assert_eq(::mkdir(path.c_str(), 0755), 0);
    return path;
}

int set_hard(const std::string& path, std::size_t mib) {
    return put_xattr(path, "user.kvfs.quota.hard", std::to_string(mib * kMiB));
}

std::uint64_t usage(const std::string& path) {
    return std::strtoull(xattr_of(path, "user.kvfs.usage").c_str(), nullptr, 10);
}

/// What the files in `path` take by their attributes. They are open then: of a small file that is
/// not, attributes show the size, though it may have holes.
std::uint64_t sum_of(const std::string& path) {
    std::uint64_t sum = 0;
    for (const std::string& name : list_names(path)) {
        const int fd = ::open((path + "/" + name).c_str(), O_RDONLY);
        if (fd < 0) continue;  // evicted meanwhile
        struct statx st {};
        if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BLOCKS, &st) == 0)
            sum += st.stx_blocks * 512;
        ::close(fd);
    }
    return sum;
}

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "64MiB"}); }

void write_and_settle(const std::string& path, unsigned seed, std::size_t size = kMiB) {
    write_file(path, pattern(size, seed));
    await_spilled(path);
}

/// 0, or the errno of writing a new file of that name.
int write_code(const std::string& path, std::size_t size) {
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (fd < 0) return errno;
    const std::string bytes = pattern(size, 1);
    int code = 0;
    for (std::size_t done = 0; done < size && code == 0;) {  // what has room is written
        const ssize_t written = ::write(fd, bytes.data() + done, size - done);
        if (written < 0) code = errno;
        done += written < 0 ? 0 : static_cast<std::size_t>(written);
    }
    ::close(fd);
    return code;
}

/// One step of a program that does this and that with files of two volumes.
void do_something(std::mt19937_64& random) {
    const auto some_file = [&] {
        return mounted->path((random() % 2 == 0 ? "a/" : "b/") + std::to_string(random() % 12));
    };
    const std::string path = some_file();
    const std::size_t size = random() % 300 * 4096;
    switch (random() % 8) {
        case 0:
        case 1:
        case 2:
            write_file(path, pattern(size, random()));
            break;
        case 3:  // in place: it becomes a scratch file
            if (const int fd = ::open(path.c_str(), O_WRONLY); fd >= 0) {
                const std::string bytes = pattern(8192, 1);
                static_cast<void>(!::pwrite(fd, bytes.data(), bytes.size(), 4096));
                ::close(fd);
            }
            break;
        case 4:
            static_cast<void>(::truncate(path.c_str(), static_cast<off_t>(size)));
            break;
        case 5:
            static_cast<void>(::rename(path.c_str(), some_file().c_str()));
            break;
        case 6:
            ::unlink(path.c_str());
            break;
        default:
            put_xattr(path, "user.kvfs.evict", random() % 2 == 0 ? "all" : "dram");
    }
}

}  // namespace

TestSuite(semantics_quota, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(semantics_quota, Q1_quotas_are_attributes_of_volumes_and_stay) {
    const std::string limited = volume("limited"), renamed = mounted->path("renamed");
    cr_expect_eq(xattr_of(limited, "user.kvfs.quota.hard"), "0");
    cr_expect_eq(put_xattr(limited, "user.kvfs.quota.soft", "1000000"), 0);
    cr_expect_eq(put_xattr(limited, "user.kvfs.quota.hard", "2000000"), 0);
    cr_assert_eq(::rename(limited.c_str(), renamed.c_str()), 0);
    mounted->stop();
    mounted->start();
    cr_expect_eq(xattr_of(renamed, "user.kvfs.quota.soft"), "1000000");
    mounted->kill();
    mounted->start();
    cr_expect_eq(xattr_of(renamed, "user.kvfs.quota.hard"), "2000000");
    cr_expect_eq(write_code(renamed + "/f", 2'000'001), EDQUOT);
    cr_expect_eq(::removexattr(renamed.c_str(), "user.kvfs.quota.hard"), 0);
    cr_expect_eq(write_code(renamed + "/f", 2'000'001), 0);
}

Test(semantics_quota, Q1_what_is_no_quota_or_no_volume_is_refused) {
    const std::string limited = volume("limited");
    cr_assert_eq(::mkdir((limited + "/below").c_str(), 0755), 0);
    write_file(limited + "/f", "x");
    cr_expect_eq(put_xattr(limited, "user.kvfs.quota.soft", "1000"), 0);
    for (const char* value : {"", "-1", "-0", "1k", "1.5", " 1", "9223372036854775808", "much"})
        cr_expect_eq(put_xattr(limited, "user.kvfs.quota.soft", value), EINVAL, "'%s'", value);
    cr_expect_eq(put_xattr(limited, "user.kvfs.quota.hard", "999"), EINVAL);
    cr_expect_eq(xattr_of(limited, "user.kvfs.quota.soft"), "1000");
    cr_expect_eq(xattr_of(limited, "user.kvfs.quota.hard"), "0");
    cr_expect_eq(put_xattr(limited, "user.kvfs.usage", "0"), EPERM);
    for (const std::string& other : {limited + "/f", limited + "/below", mounted->path()}) {
        cr_expect_eq(put_xattr(other, "user.kvfs.quota.hard", "1000"), EPERM, "%s", other.c_str());
        cr_expect_eq(::getxattr(other.c_str(), "user.kvfs.usage", nullptr, 0), -1);
        cr_expect_eq(errno, ENODATA);
    }
}

Test(semantics_quota, Q1_the_verb_sets_and_shows_quotas) {
    const std::string limited = volume("limited");
    write_file(limited + "/f", pattern(kMiB, 1));
    kvfs_says({"quota", "--soft", "1MiB", "--hard", "4MiB", limited}, 0);
    kvfs_says({"quota", "--soft", "6MiB", "--hard", "8MiB", limited}, 0);
    kvfs_says({"quota", "--soft", "2MiB", "--hard", "3MiB", limited}, 0);
    const std::string shown = kvfs_says({"quota", limited}, 0);
    for (const char* part : {"1 MiB", "2 MiB", "3 MiB", "33.3 %", "limited"})
        cr_expect(shown.find(part) != shown.npos, "%s in\n%s", part, shown.c_str());
    const std::string df = kvfs_says({"df", mounted->path()}, 0);
    cr_expect(df.find("volume limited") != df.npos, "%s", df.c_str());
    kvfs_says({"quota", "--hard", "none", limited}, 0);
    cr_expect_eq(xattr_of(limited, "user.kvfs.quota.hard"), "0");
    cr_expect_eq(xattr_of(limited, "user.kvfs.quota.soft"), "2097152");
    const std::string above = kvfs_says({"quota", "--hard", "1MiB", limited}, 1);
    cr_expect(above.find("soft quota would be above") != above.npos, "%s", above.c_str());
    const std::string file = kvfs_says({"quota", "--hard", "1MiB", limited + "/f"}, 1);
    cr_expect(file.find("is no volume") != file.npos, "%s", file.c_str());
    kvfs_says({"quota", limited + "/f"}, 1);
    kvfs_says({"quota", "--hard", "lots", limited}, 2);
    kvfs_says({"quota"}, 2);
}

Test(semantics_quota, Q2_usage_is_what_the_files_take_whatever_happens_to_them,
     .init = mount_small) {
    const char* replay = std::getenv("KVFS_QUOTA_SEED");
    const std::uint64_t seed =
        replay != nullptr ? std::strtoull(replay, nullptr, 10) : std::random_device{}();
    std::printf("replay: KVFS_QUOTA_SEED=%lu make check ARGS='--filter=semantics_quota/Q2*'\n",
                static_cast<unsigned long>(seed));
    std::mt19937_64 random(seed);
    const std::string a = volume("a"), b = volume("b");
    cr_assert_eq(set_hard(b, 3), 0);
    for (int round = 0; round < 12; ++round) {
        for (int step = 0; step < 25; ++step) do_something(random);
        if (round == 4) mounted->stop();
        if (round == 8) mounted->kill();
        if (round == 4 || round == 8) mounted->start();
        for (const std::string& path : {a, b})
            cr_expect(eventually([&] { return usage(path) == sum_of(path); }),
                      "seed %lu, round %d: %s holds %lu, and its files %lu",
                      static_cast<unsigned long>(seed), round, path.c_str(),
                      static_cast<unsigned long>(usage(path)),
                      static_cast<unsigned long>(sum_of(path)));
        cr_expect(eventually([&] { return usage(b) <= 3 * kMiB; }));
    }
}

Test(semantics_quota, Q3_beyond_the_hard_quota_a_volumes_own_oldest_files_make_room) {
    const std::string limited = volume("limited"), other = volume("other");
    write_and_settle(other + "/oldest", 1);
    cr_assert_eq(set_hard(limited, 4), 0);
    for (int i = 0; i < 4; ++i) write_and_settle(limited + "/" + std::to_string(i), 2);
    cr_expect(read_file(limited + "/0") == pattern(kMiB, 2));
    for (int i = 4; i < 7; ++i) {
        write_file(limited + "/" + std::to_string(i), pattern(kMiB, 3));
        cr_expect_leq(usage(limited), 4 * kMiB);
    }
    cr_expect(exists(limited + "/0"), "it was used since");
    for (const char* gone : {"/1", "/2", "/3"}) cr_expect(is_gone(limited + gone), "%s", gone);
    cr_expect(read_file(limited + "/6") == pattern(kMiB, 3));
    cr_expect(read_file(other + "/oldest") == pattern(kMiB, 1));
}

Test(semantics_quota, Q3_a_quota_below_the_usage_lets_files_go_in_the_background) {
    const std::string limited = volume("limited");
    for (int i = 0; i < 8; ++i) write_and_settle(limited + "/" + std::to_string(i), 1);
    const int fd = ::open((limited + "/0").c_str(), O_RDONLY);
    cr_assert_eq(set_hard(limited, 3), 0);
    cr_expect(eventually([&] { return usage(limited) == 3 * kMiB; }));
    cr_expect(exists(limited + "/0"), "it is open");
    cr_expect(is_gone(limited + "/1") && exists(limited + "/7"));
    ::close(fd);
}

Test(semantics_quota, Q4_a_write_is_refused_when_none_of_the_volumes_files_can_go) {
    const std::string limited = volume("limited"), other = volume("other");
    write_file(limited + "/pinned", pattern(kMiB, 1));
    cr_assert_eq(put_xattr(limited + "/pinned", "user.kvfs.pin", "1"), 0);
    cr_assert_eq(set_hard(limited, 1), 0);
    cr_expect_eq(write_code(limited + "/more", 1), EDQUOT);
    cr_expect_eq(write_code(other + "/more", kMiB), 0);
    cr_assert_eq(set_hard(limited, 2), 0);
    cr_expect_eq(write_code(limited + "/larger", 2 * kMiB), EDQUOT);
    cr_expect_eq(write_code(limited + "/fits", kMiB), 0);
    cr_expect(read_file(limited + "/pinned") == pattern(kMiB, 1));
}

Test(semantics_quota, Q4_scratch_files_count_with_what_they_hold) {
    const std::string limited = volume("limited"), path = limited + "/scratch";
    cr_assert_eq(put_xattr(limited, "user.kvfs.scratch", "1"), 0);
    cr_assert_eq(set_hard(limited, 2), 0);
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR, 0644);
    cr_assert_eq(::ftruncate(fd, 1L << 40), 0, "holes cost nothing");
    const std::string bytes = pattern(kMiB, 1);
    cr_expect_eq(::pwrite(fd, bytes.data(), kMiB, 1L << 30), static_cast<ssize_t>(kMiB));
    cr_expect(eventually([&] { return usage(limited) == kMiB; }));
    ::close(fd);
    cr_expect_eq(usage(limited), kMiB);
    cr_assert_eq(::unlink(path.c_str()), 0);
    cr_expect_eq(usage(limited), 0);
}

Test(semantics_quota, Q5_beyond_the_soft_quota_files_leave_before_those_of_others,
     .init = mount_small) {
    const std::string over = volume("over"), other = volume("other");
    for (int i = 0; i < 6; ++i) write_and_settle(other + "/" + std::to_string(i), 1);
    for (int i = 0; i < 12; ++i) write_and_settle(over + "/" + std::to_string(i), 2);
    cr_assert_eq(put_xattr(over, "user.kvfs.quota.soft", std::to_string(8 * kMiB)), 0);
    cr_expect_eq(usage(over), 12 * kMiB, "there is room for all");
    const std::string filler = volume("filler");
    for (int i = 0; exists(over + "/3"); ++i) {
        cr_assert_lt(i, 200);
        write_and_settle(filler + "/" + std::to_string(i), 3);
    }
    cr_expect(exists(other + "/0"), "it is older");
    cr_expect(exists(over + "/4"), "the volume is within its quota again");
}

Test(semantics_quota, Q6_what_is_saved_through_libgpumap_counts_as_what_is_written) {
    const std::string limited = volume("limited");
    gm_ctx* ctx = connect_on_host(mounted->socket());
    cr_expect_eq(gm_set(ctx, "limited", "quota.hard", "2097152"), GM_OK);
    cr_expect_eq(gm_set(ctx, "limited", "quota.hard", "2M"), GM_EINVAL);
    cr_expect_eq(gm_set(ctx, "limited", "usage", "0"), GM_EACCES);
    cr_expect_eq(save(ctx, "limited/1", pattern(kMiB, 1)), GM_OK);
    await_spilled(limited + "/1");
    gm_file* draft = nullptr;
    std::uint64_t size = kMiB;
    cr_assert_eq(gm_file_open(ctx, "limited/draft", GM_CREATE, &draft, &size), GM_OK);
    cr_expect_eq(usage(limited), 2 * kMiB, "a draft counts");
    cr_expect_eq(save(ctx, "limited/2", pattern(kMiB, 2)), GM_OK);
    cr_expect(is_gone(limited + "/1"), "it made room");
    cr_assert_eq(put_xattr(limited + "/2", "user.kvfs.pin", "1"), 0);
    cr_expect_eq(save(ctx, "limited/3", pattern(kMiB, 3)), GM_ENOSPC);
    gm_file_close(draft);
    cr_expect(eventually([&] { return usage(limited) == kMiB; }));
    cr_expect_eq(save(ctx, "limited/3", pattern(kMiB, 3)), GM_OK);
    gm_close(ctx);
}
