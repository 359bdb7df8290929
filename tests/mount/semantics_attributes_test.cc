// SEMANTICS.md, "Permissions", "Extended attributes", "Times", "Not supported".
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

/// Runs `body` in a process of an ordinary user; its return value is the exit code. -1: this
/// machine has no other users for us (an unprivileged user namespace).
int as_user(uid_t user, gid_t group, const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(group) != 0 || ::setuid(user) != 0) ::_exit(255);
        ::_exit(body());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}

int set_xattr(const std::string& path, const char* name, const std::string& value, int flags = 0) {
    return ::setxattr(path.c_str(), name, value.data(), value.size(), flags) == 0 ? 0 : errno;
}

struct stat stat_of(const std::string& path) {
    struct stat st {};
    cr_assert_eq(::stat(path.c_str(), &st), 0, "%s: %s", path.c_str(), std::strerror(errno));
    return st;
}

bool later(const timespec& a, const timespec& b) {
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/// Times of the clock that files get; some are read from the kernel's tick, a few ms apart.
void let_time_pass() { ::usleep(20'000); }

}  // namespace

TestSuite(semantics_attributes, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(semantics_attributes, P1_mode_bits_are_checked) {
    // The directory of the test is only the test's own.
    std::string outer = mounted->path();
    cr_assert_eq(::chmod(outer.substr(0, outer.rfind('/')).c_str(), 0755), 0);
    write_file(mounted->path("private"), "secret");
    write_file(mounted->path("public"), "news");
    cr_assert_eq(::chmod(mounted->path("private").c_str(), 0600), 0);
    const int result = as_user(65534, 65534, [] {
        if (::open(mounted->path("private").c_str(), O_RDONLY) >= 0 || errno != EACCES) return 1;
        if (::open(mounted->path("public").c_str(), O_RDONLY) < 0) return 2;
        if (::open(mounted->path("public").c_str(), O_RDWR) >= 0 || errno != EACCES) return 3;
        if (::unlink(mounted->path("public").c_str()) == 0) return 4;
        if (::open(mounted->path("mine").c_str(), O_CREAT | O_WRONLY, 0644) >= 0) return 5;
        if (::chmod(mounted->path("public").c_str(), 0777) == 0 || errno != EPERM) return 6;
        return 0;
    });
    if (result < 0) cr_skip_test("no second user here");
    cr_expect_eq(result, 0);
}

Test(semantics_attributes, P2_new_files_belong_to_their_makers_or_to_the_directorys_group) {
    cr_assert_eq(::mkdir(mounted->path("shared").c_str(), 0777), 0);
    if (::chown(mounted->path("shared").c_str(), 0, 1234) != 0) cr_skip_test("no second user here");
    cr_assert_eq(::chmod(mounted->path("shared").c_str(), 02777), 0);
    write_file(mounted->path("shared/file"), "x");
    cr_assert_eq(::mkdir(mounted->path("shared/sub").c_str(), 0755), 0);
    write_file(mounted->path("plain"), "x");

    cr_expect_eq(stat_of(mounted->path("shared/file")).st_gid, 1234);
    cr_expect_eq(stat_of(mounted->path("shared/sub")).st_gid, 1234);
    cr_expect_eq(stat_of(mounted->path("shared/sub")).st_mode & 07777, 02755);
    cr_expect_eq(stat_of(mounted->path("plain")).st_gid, ::getegid());
    cr_expect_eq(stat_of(mounted->path("plain")).st_uid, ::geteuid());
}

Test(semantics_attributes, P2_the_umask_holds) {
    const mode_t before = ::umask(027);
    ::close(::open(mounted->path("masked").c_str(), O_CREAT | O_WRONLY, 0666));
    cr_assert_eq(::mkdir(mounted->path("dir").c_str(), 0777), 0);
    ::umask(before);
    cr_expect_eq(stat_of(mounted->path("masked")).st_mode, S_IFREG | 0640);
    cr_expect_eq(stat_of(mounted->path("dir")).st_mode, S_IFDIR | 0750);
    cr_assert_eq(::chmod(mounted->path("masked").c_str(), 0604), 0);
    cr_expect_eq(stat_of(mounted->path("masked")).st_mode, S_IFREG | 0604);
}

Test(semantics_attributes, P3_there_are_no_access_control_lists) {
    write_file(mounted->path("f"), "x");
    cr_expect_eq(set_xattr(mounted->path("f"), "system.posix_acl_access", std::string(44, '\0')),
                 EOPNOTSUPP);
    cr_expect_eq(xattr_of(mounted->path("f"), "system.posix_acl_access"), "");
    cr_expect_eq(errno, EOPNOTSUPP);
}

Test(semantics_attributes, X1_attributes_stay_with_the_file) {
    const std::string tmp = mounted->path("x.tmp");
    write_file(tmp, "bytes");
    const std::string crc("\x12\x00\xff\x7f", 4);
    cr_expect_eq(set_xattr(tmp, "user.vllm.kv_crc32c", crc), 0);  // as vLLM does
    cr_expect_eq(set_xattr(tmp, "user.large", std::string(65'536, 'v')), 0);
    cr_expect_eq(set_xattr(tmp, "user.empty", ""), 0);
    cr_expect_eq(set_xattr(tmp, "user.larger", std::string(65'537, 'v')), E2BIG);
    const std::string final = mounted->path("x");
    cr_assert_eq(::rename(tmp.c_str(), final.c_str()), 0);
    cr_expect(xattr_of(final, "user.vllm.kv_crc32c") == crc);
    await_spilled(final);

    mounted->stop();
    mounted->start();
    cr_expect(xattr_of(final, "user.vllm.kv_crc32c") == crc);
    cr_expect_eq(xattr_of(final, "user.large").size(), 65'536);
    write_file(mounted->path("y"), "other");
    cr_assert_eq(::rename(mounted->path("y").c_str(), final.c_str()), 0);
    cr_expect_eq(xattr_of(final, "user.vllm.kv_crc32c"), "");
    cr_expect_eq(errno, ENODATA);
}

Test(semantics_attributes, X2_selinux_labels_are_not_kept) {
    if (::access("/sys/fs/selinux/enforce", F_OK) == 0)
        cr_skip_test("SELinux answers for itself here");
    const std::string path = mounted->path("f");
    write_file(path, "x");
    char label[100];
    // Not ENODATA: ls would ask of every file anew.
    cr_expect_eq(::getxattr(path.c_str(), "security.selinux", label, sizeof label), -1);
    cr_expect_eq(errno, EOPNOTSUPP);
    cr_expect_eq(set_xattr(path, "security.selinux", "system_u:object_r:bin_t:s0"), EOPNOTSUPP);
    cr_expect_eq(::getxattr(path.c_str(), "security.other", label, sizeof label), -1);
    cr_expect_eq(errno, ENODATA);
}

Test(semantics_attributes, X2_flags_and_sizes) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    cr_expect_eq(set_xattr(path, "user.a", "1", XATTR_REPLACE), ENODATA);
    cr_expect_eq(set_xattr(path, "user.a", "1", XATTR_CREATE), 0);
    cr_expect_eq(set_xattr(path, "user.a", "2", XATTR_CREATE), EEXIST);
    cr_expect_eq(set_xattr(path, "user.a", "12345", XATTR_REPLACE), 0);
    cr_expect_eq(set_xattr(path, "user.b", "x"), 0);
    char small[3];
    cr_expect_eq(::getxattr(path.c_str(), "user.a", nullptr, 0), 5);
    cr_expect_eq(::getxattr(path.c_str(), "user.a", small, sizeof small), -1);
    cr_expect_eq(errno, ERANGE);
    char names[100];
    cr_expect_eq(::listxattr(path.c_str(), nullptr, 0), 14);
    cr_expect_eq(::listxattr(path.c_str(), names, 13), -1);
    cr_expect_eq(errno, ERANGE);
    cr_expect_eq(::listxattr(path.c_str(), names, sizeof names), 14);
    cr_expect_eq(std::memcmp(names, "user.a\0user.b", 14), 0);
    cr_expect_eq(::removexattr(path.c_str(), "user.a"), 0);
    cr_expect_eq(::removexattr(path.c_str(), "user.a"), -1);
    cr_expect_eq(errno, ENODATA);
    cr_assert_eq(::mkdir(mounted->path("d").c_str(), 0755), 0);
    cr_expect_eq(set_xattr(path, "a", "of no namespace"), EOPNOTSUPP);
    cr_expect_eq(set_xattr(path, "user.", "without a name"), EINVAL);
    cr_expect_eq(set_xattr(mounted->path("d"), "user.a", "of a directory"), 0);
    cr_expect_eq(xattr_of(mounted->path("d"), "user.a"), "of a directory");
}

Test(semantics_attributes, X3_kvfs_tells_about_a_file) {
    const std::string path = mounted->path("f");
    write_file(path, pattern(3 << 20, 1));
    cr_expect_eq(xattr_of(path, "user.kvfs.resident"), std::to_string(3 << 20));
    cr_expect(eventually([&] { return xattr_of(path, "user.kvfs.tier") == "dram,ssd"; }));
    cr_expect_eq(xattr_of(path, "user.kvfs.crc32c").size(), 3 * 9 - 1, "three of 8 digits");
    const int before = std::stoi(xattr_of(path, "user.kvfs.hits"));
    for (int i = 0; i < 5; ++i) read_file(path);
    cr_expect_eq(std::stoi(xattr_of(path, "user.kvfs.hits")), before + 5);

    cr_expect_eq(set_xattr(path, "user.kvfs.tier", "dram"), EPERM);
    cr_expect_eq(set_xattr(path, "user.kvfs.nonsense", "x"), EOPNOTSUPP);
    cr_expect_eq(xattr_of(path, "user.kvfs.nonsense"), "");
    cr_expect_eq(::listxattr(path.c_str(), nullptr, 0), 0);
    write_file(mounted->path("empty"), "");
    cr_expect_eq(xattr_of(mounted->path("empty"), "user.kvfs.resident"), "0");
}

static void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "32MiB"}); }

Test(semantics_attributes, X4_a_pinned_file_is_never_dropped, .init = mount_small) {
    const std::string pinned = mounted->path("pinned");
    const std::string bytes = pattern(2 << 20, 2);
    write_file(pinned, bytes);
    write_file(mounted->path("loose"), pattern(2 << 20, 3));
    cr_expect_eq(xattr_of(pinned, "user.kvfs.pin"), "0");
    cr_expect_eq(set_xattr(pinned, "user.kvfs.pin", "2"), EINVAL);
    cr_expect_eq(set_xattr(pinned, "user.kvfs.pin", "1"), 0);
    cr_expect_eq(xattr_of(pinned, "user.kvfs.pin"), "1");
    for (int i = 0; i < 80; ++i) {
        write_file(mounted->path("f" + std::to_string(i)), pattern(1 << 20, 10 + i));
    }
    cr_expect(read_file(pinned) == bytes);
    cr_expect(eventually([&] { return ::access(mounted->path("loose").c_str(), F_OK) != 0; }));
    cr_expect_eq(set_xattr(pinned, "user.kvfs.pin", "0"), 0);
    for (int i = 0; i < 80; ++i) {
        write_file(mounted->path("g" + std::to_string(i)), pattern(1 << 20, 10 + i));
    }
    cr_expect(eventually([&] { return ::access(pinned.c_str(), F_OK) != 0; }));
}

Test(semantics_attributes, X5_the_mount_point_tells_about_the_daemon) {
    cr_expect_eq(xattr_of(mounted->path(), "user.kvfs.socket"), mounted->socket());
    const std::string stats = xattr_of(mounted->path(), "user.kvfs.stats");
    cr_expect(stats.starts_with("{") && stats.find("\"tiers\"") != stats.npos, "%s", stats.c_str());
    cr_expect_eq(set_xattr(mounted->path(), "user.kvfs.stats", "x"), EPERM);
}

Test(semantics_attributes, M1_writing_sets_the_modification_time) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    timespec before = stat_of(path).st_mtim;
    const auto moved = [&](const char* by) {
        const timespec now = stat_of(path).st_mtim;
        cr_expect(later(now, before), "%s", by);
        before = now;
        let_time_pass();
    };
    let_time_pass();
    const int fd = ::open(path.c_str(), O_WRONLY);
    cr_assert_eq(::write(fd, "y", 1), 1);
    moved("write");
    cr_assert_eq(::ftruncate(fd, 100), 0);
    moved("ftruncate");
    ::close(fd);
    let_time_pass();
    cr_expect(!later(stat_of(path).st_mtim, before), "close");
    cr_assert_eq(::truncate(path.c_str(), 50), 0);
    moved("truncate");
    ::close(::open(path.c_str(), O_WRONLY | O_TRUNC));
    moved("O_TRUNC");
}

Test(semantics_attributes, M2_utimensat) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    timespec times[2] = {{1'000'000'000, 123'456'789}, {2'000'000'000, 987'654'321}};
    cr_assert_eq(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    struct stat st = stat_of(path);
    cr_expect(st.st_atim.tv_sec == 1'000'000'000 && st.st_atim.tv_nsec == 123'456'789);
    cr_expect(st.st_mtim.tv_sec == 2'000'000'000 && st.st_mtim.tv_nsec == 987'654'321);

    times[0].tv_nsec = UTIME_NOW;  // as llm-d does on a hit
    times[1].tv_nsec = UTIME_OMIT;
    cr_assert_eq(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    st = stat_of(path);
    cr_expect_gt(st.st_atim.tv_sec, 1'600'000'000);
    cr_expect(st.st_mtim.tv_sec == 2'000'000'000 && st.st_mtim.tv_nsec == 987'654'321);

    await_spilled(path);
    mounted->stop();
    mounted->start();
    st = stat_of(path);
    cr_expect(st.st_mtim.tv_sec == 2'000'000'000 && st.st_mtim.tv_nsec == 987'654'321);
}

Test(semantics_attributes, M3_opening_sets_the_access_time) {
    const std::string path = mounted->path("f");
    write_file(path, "x");
    await_spilled(path);  // and so it is closed: the kernel may believe the next it hears for long
    const timespec old[2] = {{1'000'000'000, 0}, {0, UTIME_OMIT}};
    cr_assert_eq(::utimensat(AT_FDCWD, path.c_str(), old, 0), 0);
    cr_expect_eq(stat_of(path).st_atim.tv_sec, 1'000'000'000);
    ::close(::open(path.c_str(), O_RDONLY | O_NOATIME));
    cr_expect(eventually([&] { return stat_of(path).st_atim.tv_sec > 1'600'000'000; }));
}

Test(semantics_attributes, M4_names_set_the_modification_time_of_their_directory) {
    const std::string directory = mounted->path("d");
    cr_assert_eq(::mkdir(directory.c_str(), 0755), 0);
    timespec before = stat_of(directory).st_mtim;
    const auto moved = [&](const char* by) {
        const timespec now = stat_of(directory).st_mtim;
        cr_expect(later(now, before), "%s", by);
        before = now;
        let_time_pass();
    };
    let_time_pass();
    write_file(directory + "/a", "x");
    moved("create");
    cr_assert_eq(::rename((directory + "/a").c_str(), (directory + "/b").c_str()), 0);
    moved("rename");
    cr_assert_eq(::mkdir((directory + "/sub").c_str(), 0755), 0);
    moved("mkdir");
    cr_expect_eq(stat_of(directory).st_nlink, 3);
    cr_assert_eq(::unlink((directory + "/b").c_str()), 0);
    moved("unlink");
    cr_assert_eq(::rmdir((directory + "/sub").c_str()), 0);
    moved("rmdir");
    cr_expect_eq(stat_of(directory).st_nlink, 2);
}

Test(semantics_attributes, U1_what_is_not_supported_says_so) {
    const std::string path = mounted->path("f");
    const std::string other = mounted->path("g");
    write_file(path, "x");
    const auto refused = [](int result, int code, const char* call) {
        const int got = errno;
        cr_expect(result < 0 && got == code, "%s: %s", call, std::strerror(got));
    };
    refused(::link(path.c_str(), other.c_str()), EPERM, "link");
    refused(::mkfifo(other.c_str(), 0644), EPERM, "mkfifo");
    refused(::mknod(other.c_str(), S_IFCHR | 0644, 0x103), EPERM, "mknod");
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, other.c_str(), sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    refused(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), EPERM, "bind");
    ::close(socket);
    refused(::open(mounted->path().c_str(), O_TMPFILE | O_RDWR, 0644), EOPNOTSUPP, "O_TMPFILE");
    refused(::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, other.c_str(), RENAME_WHITEOUT), EINVAL,
            "RENAME_WHITEOUT");
    const int fd = ::open(path.c_str(), O_RDWR);
    int value = 0;
    refused(::ioctl(fd, FIONREAD + 0x4000, &value), ENOTTY, "ioctl");
    refused(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1), EOPNOTSUPP, "punch");
    ::close(fd);
    cr_expect_eq(::mknod(other.c_str(), S_IFREG | 0600, 0), 0, "regular files can be made so");
    cr_expect_eq(read_file(other), "");
}
