// kvfsd as whoever starts it sees it: messages, exit codes, start and end.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/mounted.h"
#include "tests/support/spawn.h"

using namespace kvfs::tests;

namespace {

namespace stdfs = std::filesystem;

/// A directory with what a kvfsd needs, and whatever the test started or mounted in it.
struct Place {
    std::string path = "/var/tmp/kvfs-test." + std::to_string(::getpid()) + ".XXXXXX";
    std::vector<std::string> mounts{};

    std::string ssd() const { return path + "/ssd"; }
    std::string mnt() const { return path + "/mnt"; }
    std::string socket() const { return path + "/socket"; }
};
Place* place = nullptr;

void set_up() {
    place = new Place;
    cr_assert(::mkdtemp(place->path.data()) != nullptr);
    stdfs::create_directory(place->mnt());
    adopt_orphans();
}

void tear_down() {
    for (const pid_t pid : children()) ::kill(pid, SIGKILL);
    for (const pid_t pid : children()) wait_for(pid);
    while (::umount2(place->mnt().c_str(), MNT_DETACH) == 0) {
    }
    for (const auto& mount : place->mounts) ::umount2(mount.c_str(), MNT_DETACH);
    std::error_code ignored;
    stdfs::remove_all(place->path, ignored);
    delete place;
}

std::string program(const std::string& name) {
    const char* bin = std::getenv("KVFS_BIN");
    cr_assert(bin != nullptr, "KVFS_BIN is not set: run the tests through make check");
    return std::string(bin) + "/" + name;
}

/// kvfsd and its arguments; "--socket", "--dram" and "--ssd" are added where they are missing.
Words kvfsd(const Words& arguments) {
    Words words{program("kvfsd")};
    const Words defaults{"--dram", "16MiB", "--ssd", place->ssd(), "--socket", place->socket()};
    for (std::size_t i = 0; i < defaults.size(); i += 2)
        if (std::find(arguments.begin(), arguments.end(), defaults[i]) == arguments.end())
            words.insert(words.end(), {defaults[i], defaults[i + 1]});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
}

bool is_mounted() {
    struct statfs figures {};
    return ::statfs(place->mnt().c_str(), &figures) == 0 && figures.f_type == 0x65735546;
}

bool listens(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    const bool connected =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
}

/// A kvfsd in the foreground, serving.
Child started(const Words& arguments, const Environment& environment = {}) {
    Words all{"--foreground"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    Child child = spawn(kvfsd(all), environment);
    if (first_line(child) != "ready") {
        const Outcome outcome = finish(child);
        cr_assert_fail("kvfsd did not become ready: %s", outcome.err.c_str());
    }
    return child;
}

Outcome stopped(Child& child) {
    ::kill(child.pid, SIGTERM);
    return finish(child);
}

/// Expects one line on stderr, with `part` in it, that exit code, and nothing left behind.
void expect_refusal(const Words& words, int code, const std::string& part) {
    const Outcome outcome = run(words);
    const std::string& said = outcome.err;
    cr_expect_eq(outcome.code, code, "exit code %d, wanted %d: %s", outcome.code, code,
                 said.c_str());
    cr_expect_eq(std::count(said.begin(), said.end(), '\n'), 1, "not one line: '%s'", said.c_str());
    cr_expect(said.starts_with("kvfsd: "), "'%s' does not say who speaks", said.c_str());
    cr_expect_neq(said.find(part), std::string::npos, "'%s' does not say '%s'", said.c_str(),
                  part.c_str());
    cr_expect(outcome.out.empty(), "stdout: %s", outcome.out.c_str());
    cr_expect(!is_mounted(), "mounted all the same");
    cr_expect(!stdfs::exists(place->socket()), "left a socket");
    cr_expect(children().empty(), "left a process");
}

/// A small file system of `type` in the place, gone with it.
std::string small_filesystem(const std::string& name, const char* type, const char* data) {
    const std::string path = place->path + "/" + name;
    stdfs::create_directory(path);
    if (::mount("none", path.c_str(), type, 0, data) != 0)
        cr_skip_test("no %s can be mounted here: %s", type, std::strerror(errno));
    place->mounts.push_back(path);
    return path;
}

}  // namespace

TestSuite(daemon, .timeout = 120, .init = set_up, .fini = tear_down);

Test(daemon, usage_errors_exit_with_2) {
    expect_refusal(kvfsd({"--drum", "4G", place->mnt()}), 2, "--drum");
    expect_refusal(kvfsd({"--dram", "4X", place->mnt()}), 2, "'4X' is not a size");
    expect_refusal(kvfsd({"--ssd", place->ssd() + ",size=much", place->mnt()}), 2, "'much'");
    expect_refusal(kvfsd({}), 2, "MOUNTPOINT");
    expect_refusal({program("kvfsd"), "--config", "/dev/null", place->mnt()}, 2, "--ssd");
    expect_refusal(kvfsd({"--net", "s3://bucket", place->mnt()}), 2, "no networked tier");
    expect_refusal(kvfsd({"--metrics", ":9100", place->mnt()}), 2, "no metrics endpoint");
    cr_expect(!stdfs::exists(place->ssd()), "began before it had understood");
}

Test(daemon, a_config_file_that_is_wrong_is_named) {
    const std::string path = place->path + "/conf";
    std::ofstream(path) << "dram = 16M\ndrum = 16M\n";

    expect_refusal(kvfsd({"--config", path, place->mnt()}), 2, path + ":2: unknown key 'drum'");
    expect_refusal(kvfsd({"--config", path + "2", place->mnt()}), 1, path + "2");
    expect_refusal(kvfsd({"--config", place->path, place->mnt()}), 1, "Is a directory");
}

Test(daemon, the_mount_point_must_be_a_directory) {
    const std::string file = place->path + "/file";
    std::ofstream(file) << "x";

    expect_refusal(kvfsd({place->path + "/absent"}), 1, "mount point " + place->path + "/absent");
    expect_refusal(kvfsd({file}), 1, "directory");
    cr_expect(!stdfs::exists(place->ssd()), "began before it had looked");
}

Test(daemon, a_mount_point_with_files_in_it_will_do) {
    std::ofstream(place->mnt() + "/below") << "x";

    Child daemon = started({place->mnt()});
    cr_expect(!stdfs::exists(place->mnt() + "/below"));
    cr_expect_eq(stopped(daemon).code, 0);

    cr_expect(stdfs::exists(place->mnt() + "/below"));
}

Test(daemon, more_dram_than_there_is_memory_is_refused) {
    expect_refusal(kvfsd({"--dram", "900T", place->mnt()}), 1, "--dram 900 TiB");
}

Test(daemon, unknown_mount_options_are_refused) {
    expect_refusal(kvfsd({"-o", "no_such_option", place->mnt()}), 1, "no_such_option");
}

Test(daemon, ssd_directories_that_cannot_be_used_are_named) {
    const std::string file = place->path + "/file";
    std::ofstream(file) << "x";
    expect_refusal(kvfsd({"--ssd", file, place->mnt()}), 1, file);
    const std::string orphan = place->path + "/no/parent";
    expect_refusal(kvfsd({"--ssd", orphan, place->mnt()}), 1, orphan);
}

Test(daemon, an_ssd_directory_that_is_read_only_is_refused) {
    const std::string path = small_filesystem("ro", "tmpfs", "size=1M");
    cr_assert(::mount("none", path.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0);

    expect_refusal(kvfsd({"--ssd", path, place->mnt()}), 1, "read-only");
    expect_refusal(kvfsd({"--ssd", path + "/new", place->mnt()}), 1, "read-only");
}

Test(daemon, an_ssd_directory_without_direct_io_is_refused) {
    const std::string path = small_filesystem("ramfs", "ramfs", "");

    expect_refusal(kvfsd({"--ssd", path, place->mnt()}), 1, "O_DIRECT");
}

Test(daemon, an_ssd_directory_that_is_full_is_refused) {
    const std::string path = small_filesystem("full", "tmpfs", "size=64k");
    std::ofstream(path + "/filler") << std::string(1 << 20, 'x');
    const Outcome outcome = run(kvfsd({"--ssd", path, place->mnt()}));
    if (outcome.err.find("O_DIRECT") != std::string::npos) cr_skip_test("tmpfs has no O_DIRECT");

    expect_refusal(kvfsd({"--ssd", path, place->mnt()}), 1, "no space");
}

Test(daemon, a_second_one_is_refused_and_the_first_goes_on) {
    Child first = started({place->mnt()});
    const std::string other_mount = place->path + "/mnt2";
    stdfs::create_directory(other_mount);

    const Outcome same_ssd = run(kvfsd({"--socket", place->path + "/s2", other_mount}));
    const Outcome same_socket = run(kvfsd({"--ssd", place->path + "/ssd2", other_mount}));
    const Outcome same_mount =
        run(kvfsd({"--ssd", place->path + "/ssd3", "--socket", place->path + "/s3", place->mnt()}));

    cr_expect_eq(same_ssd.code, 1);
    cr_expect_neq(same_ssd.err.find(place->ssd()), std::string::npos, "%s", same_ssd.err.c_str());
    cr_expect_eq(same_socket.code, 1);
    cr_expect_neq(same_socket.err.find(place->socket()), std::string::npos, "%s",
                  same_socket.err.c_str());
    cr_expect_eq(same_mount.code, 1);
    cr_expect_neq(same_mount.err.find(place->mnt()), std::string::npos, "%s",
                  same_mount.err.c_str());
    cr_expect(!stdfs::exists(place->path + "/s2") && !stdfs::exists(place->path + "/s3"));
    cr_expect(is_mounted() && listens(place->socket()));
    cr_expect_eq(stopped(first).code, 0);
}

Test(daemon, help_and_version_go_to_stdout) {
    const Outcome help = run({program("kvfsd"), "--help"});
    cr_expect_eq(help.code, 0);
    cr_expect(help.out.starts_with("Usage: kvfsd"));
    const Outcome version = run({program("kvfsd"), "--version"});
    cr_expect_eq(version.code, 0);
    cr_expect(version.out.starts_with("kvfsd "));
    cr_expect(help.err.empty() && version.err.empty());
}

Test(daemon, returns_to_its_caller_when_the_mount_answers) {
    const Outcome caller = run(kvfsd({place->mnt()}));

    cr_assert_eq(caller.code, 0, "%s", caller.err.c_str());
    cr_expect(caller.err.empty() && caller.out.empty(), "%s", caller.err.c_str());
    cr_expect(is_mounted() && listens(place->socket()));
    const auto daemons = children();
    cr_assert_eq(daemons.size(), 1);
    const auto directory = "/proc/" + std::to_string(daemons.front()) + "/cwd";
    cr_expect(stdfs::read_symlink(directory) == "/", "it holds the caller's directory");
    ::kill(daemons.front(), SIGTERM);
    cr_expect_eq(wait_for(daemons.front()), 0);
    cr_expect(!is_mounted());
}

Test(daemon, sigterm_unmounts_and_leaves_nothing) {
    Child daemon = started({place->mnt()});
    cr_expect(is_mounted());

    const Outcome outcome = stopped(daemon);

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    cr_expect(!is_mounted());
    cr_expect(!stdfs::exists(place->socket()));
}

Test(daemon, sigterm_ends_it_while_files_are_open) {
    Child daemon = started({place->mnt()});
    write_file(place->mnt() + "/read", pattern(1 << 20, 1));
    const int reading = ::open((place->mnt() + "/read").c_str(), O_RDONLY | O_CLOEXEC);
    const int writing = ::open((place->mnt() + "/w").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    cr_assert(reading >= 0 && writing >= 0);

    cr_expect_eq(stopped(daemon).code, 0);

    cr_expect(!is_mounted());
    ::close(reading);
    ::close(writing);
}

Test(daemon, unmounting_ends_it) {
    Child daemon = started({place->mnt()});

    cr_assert(::umount2(place->mnt().c_str(), 0) == 0);

    cr_expect_eq(finish(daemon).code, 0);
    cr_expect(!stdfs::exists(place->socket()));
}

Test(daemon, without_a_mount_it_serves_its_socket) {
    Child daemon = started({"--no-mount"});

    cr_expect(listens(place->socket()));
    cr_expect(!is_mounted());
    cr_expect_eq(stopped(daemon).code, 0);
    cr_expect(!stdfs::exists(place->socket()));
}

Test(daemon, files_outlive_a_stop_and_a_start) {
    const std::string bytes = pattern(3'000'000, 7);
    Child daemon = started({place->mnt()});
    stdfs::create_directory(place->mnt() + "/d");
    write_file(place->mnt() + "/d/file", bytes);
    cr_assert_eq(stopped(daemon).code, 0);

    daemon = started({place->mnt()});

    cr_expect(read_file(place->mnt() + "/d/file") == bytes);
    cr_expect_eq(stopped(daemon).code, 0);
}

Test(daemon, what_was_spilled_outlives_its_death) {
    const std::string bytes = pattern(3'000'000, 8);
    const std::string file = place->mnt() + "/file";
    Child daemon = started({place->mnt()});
    write_file(file, bytes);
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    cr_assert(::fsync(fd) == 0);
    ::close(fd);
    ::kill(daemon.pid, SIGKILL);
    cr_assert_eq(finish(daemon).code, 128 + SIGKILL);

    daemon = started({place->mnt()});  // over the dead mount

    cr_expect(read_file(file) == bytes);
    cr_expect_eq(stopped(daemon).code, 0);
}

Test(daemon, tells_the_service_manager) {
    const std::string path = place->path + "/notify";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const int manager = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert(::bind(manager, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const auto told = [&] {
        char text[64];
        const ssize_t n = ::recv(manager, text, sizeof text, 0);
        return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
    };

    Child daemon = started({"--no-mount"}, {{"NOTIFY_SOCKET", path}});
    cr_expect(told() == "READY=1");
    cr_expect_eq(stopped(daemon).code, 0);
    cr_expect(told() == "STOPPING=1");
    ::close(manager);
}

Test(daemon, mount_kvfs_turns_options_into_the_daemons) {
    const Outcome shown =
        run({"/bin/sh", "tools/mount.kvfs", "none", "/mnt/a b", "-f", "-v", "-o",
             "rw,nofail,dram=1G,ssd=/x:size=2G:window=8M,ssd=/y,noatime,io-timeout=5,"
             "keep-awake=0,no-tuning,no_io_uring"},
            {{"PATH", std::string(std::getenv("KVFS_BIN")) + ":/usr/bin:/bin"}});

    cr_expect_eq(shown.code, 0, "%s", shown.err.c_str());
    const std::string wanted =
        "kvfsd --dram 1G --ssd /x,size=2G,window=8M --ssd /y -o noatime --io-timeout 5 "
        "--keep-awake 0 --no-tuning -o no_io_uring -- /mnt/a b\n";
    cr_expect(shown.out.ends_with(wanted), "%s", shown.out.c_str());
}

Test(daemon, mount_kvfs_mounts) {
    const Environment path{{"PATH", std::string(std::getenv("KVFS_BIN")) + ":/usr/bin:/bin"}};
    const std::string options =
        "dram=16M,ssd=" + place->ssd() + ":size=1G,socket=" + place->socket();

    const Outcome mounted_by_it =
        run({"/bin/sh", "tools/mount.kvfs", "none", place->mnt(), "-o", options}, path);
    const Outcome wrong =
        run({"/bin/sh", "tools/mount.kvfs", "none", place->mnt(), "-o", "dram=1Q"}, path);

    cr_expect_eq(mounted_by_it.code, 0, "%s", mounted_by_it.err.c_str());
    cr_expect(is_mounted());
    cr_expect_eq(wrong.code, 1);
    cr_assert(::umount2(place->mnt().c_str(), 0) == 0);
    for (const pid_t pid : children()) cr_expect_eq(wait_for(pid), 0);
}
