// What the daemon does about the mount point it is given, and how it goes.
#include <criterion/criterion.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

/// Runs kvfsd on `mountpoint` with a store of its own; its stderr and exit code.
struct Outcome {
    int code = 0;
    std::string said;
};
Outcome run_on(const std::string& mountpoint, const std::string& options = "") {
    const std::string said = mounted->scrap() + "/said";
    const std::string command = std::string(std::getenv("KVFS_BIN")) +
                                "/kvfsd --foreground --dram 16MiB --config /dev/null --ssd " +
                                mounted->scrap() + "/ssd --socket " + mounted->scrap() +
                                "/socket " + options + " '" + mountpoint + "' >/dev/null 2>" + said;
    ::mkdir((mounted->scrap() + "/ssd").c_str(), 0755);
    const int status = std::system(command.c_str());
    std::ifstream file(said);
    return {WEXITSTATUS(status), {std::istreambuf_iterator<char>(file), {}}};
}

bool mentions(const Outcome& outcome, const std::string& words) {
    return outcome.said.find(words) != std::string::npos;
}

std::string mount_line(const std::string& path) {
    std::ifstream mounts("/proc/self/mounts");
    std::string found;
    for (std::string line; std::getline(mounts, line);) {
        if (line.find(" " + path + " ") != line.npos) found = line;
    }
    return found;
}

}  // namespace

TestSuite(mountpoint, .init = mount_up, .fini = mount_down, .timeout = 60);

Test(mountpoint, a_missing_one_is_refused_with_the_way_out) {
    const std::string missing = mounted->scrap() + "/none";
    const Outcome outcome = run_on(missing);
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome, "mkdir -p " + missing), "%s", outcome.said.c_str());
}

Test(mountpoint, a_file_is_refused) {
    write_file(mounted->scrap() + "/file", "x");
    const Outcome outcome = run_on(mounted->scrap() + "/file");
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome, "must be a directory"), "%s", outcome.said.c_str());
}

Test(mountpoint, one_that_has_a_kvfs_is_refused_and_that_goes_on) {
    write_file(mounted->path("f"), "x");
    const Outcome outcome = run_on(mounted->path());
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome, "mounted there already"), "%s", outcome.said.c_str());
    cr_expect(mentions(outcome, "umount"), "%s", outcome.said.c_str());
    cr_expect_eq(read_file(mounted->path("f")), "x");
}

Test(mountpoint, an_unknown_option_is_named) {
    ::mkdir((mounted->scrap() + "/m").c_str(), 0755);
    const Outcome outcome = run_on(mounted->scrap() + "/m", "-o frobnicate");
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome, "frobnicate"), "%s", outcome.said.c_str());
}

Test(mountpoint, it_shows_as_kvfs_with_default_permissions) {
    const std::string line = mount_line(mounted->path());
    cr_expect(line.starts_with("kvfs "), "%s", line.c_str());
    cr_expect(line.find(" fuse.kvfs ") != line.npos, "%s", line.c_str());
    cr_expect(line.find("default_permissions") != line.npos, "%s", line.c_str());
    if (::geteuid() == 0) cr_expect(line.find("allow_other") != line.npos, "%s", line.c_str());
}

static void mount_read_only() { mount_up_with({.arguments = {"-o", "ro,noallow_other,nofail"}}); }

Test(mountpoint, options_reach_the_kernel, .init = mount_read_only) {
    const std::string line = mount_line(mounted->path());
    cr_expect(line.find(" ro,") != line.npos, "%s", line.c_str());
    cr_expect(line.find("allow_other") == line.npos, "%s", line.c_str());
    cr_expect_eq(::mkdir(mounted->path("d").c_str(), 0755), -1);
    cr_expect_eq(errno, EROFS);
}

Test(mountpoint, a_dead_mount_is_replaced) {
    mounted->kill();
    struct stat st {};
    cr_expect_eq(::stat(mounted->path().c_str(), &st), -1);
    cr_expect_eq(errno, ENOTCONN);
    mounted->start();
    cr_expect_eq(::stat(mounted->path().c_str(), &st), 0);
    cr_expect(mounted->log().find("earlier daemon") != std::string::npos);
}

Test(mountpoint, a_busy_mount_ends_with_the_daemon) {
    cr_assert_eq(::mkdir(mounted->path("d").c_str(), 0755), 0);
    write_file(mounted->path("d/f"), "x");
    cr_assert_eq(::chdir(mounted->path("d").c_str()), 0);
    mounted->stop();  // expects 0, and nothing mounted
    struct stat st {};
    cr_expect_eq(::stat("f", &st), -1);
    cr_assert_eq(::chdir("/"), 0);
}
