#include "daemon/options.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "daemon/memory.h"

TestSuite(daemon_options, .timeout = 10);

namespace {

using kvfs::Invocation;
using kvfs::Options;
using kvfs::Result;

using Arguments = std::vector<std::string>;

/// A machine with 64 GiB, root, no config file.
kvfs::Surroundings machine() {
    kvfs::Surroundings surroundings;
    surroundings.default_config = "/nonexistent/kvfs.conf";
    surroundings.working_directory = "/home/me";
    surroundings.memory_bytes = 64ULL << 30;
    surroundings.root = true;
    return surroundings;
}

Result<Invocation> parse(const Arguments& arguments) {
    return kvfs::parse_options(arguments, machine());
}

Options accepted(const Arguments& arguments) {
    auto parsed = parse(arguments);
    cr_assert(parsed.ok(), "%s", parsed.ok() ? "" : parsed.error().what.c_str());
    return parsed->options;
}

/// A file with `text`, removed with the object.
struct ConfigFile {
    explicit ConfigFile(const std::string& text) {
        const int fd = ::mkstemp(path.data());
        ::close(fd);
        std::ofstream(path) << text;
    }
    ~ConfigFile() { ::unlink(path.c_str()); }
    std::string path = "/tmp/kvfs_options_XXXXXX";
};

/// Expects usage errors that say `part`.
void refuses(const Arguments& arguments, const std::string& part) {
    const auto parsed = parse(arguments);
    cr_expect(!parsed.ok(), "accepted, though '%s' was expected", part.c_str());
    if (parsed.ok()) return;
    cr_expect_eq(parsed.error().code, EINVAL, "%s", parsed.error().what.c_str());
    cr_expect_neq(parsed.error().what.find(part), std::string::npos, "'%s' does not say '%s'",
                  parsed.error().what.c_str(), part.c_str());
}

}  // namespace

Test(daemon_options, dram_and_ssd_are_enough) {
    const Options options = accepted({"--dram", "4GiB", "--ssd", "/var/lib/kvfs", "/mnt/kvfs"});

    cr_expect(options.dram_bytes == 4ULL << 30);
    cr_assert(options.ssds.size() == 1);
    cr_expect(options.ssds[0].directory == "/var/lib/kvfs");
    cr_expect(options.ssds[0].quota_bytes == 0);
    cr_expect(options.mount_point == "/mnt/kvfs");
    cr_expect(options.socket == "/run/kvfs/mnt-kvfs.sock");
    cr_expect(options.io_timeout == std::chrono::seconds(30));
    cr_expect(options.keep_awake == std::chrono::milliseconds(50));
    cr_expect(options.log_level == "info");
    cr_expect(!options.no_tuning);
    cr_expect(!options.no_mount && !options.foreground);
}

Test(daemon_options, dram_defaults_to_a_quarter_of_memory) {
    cr_expect(accepted({"--ssd", "/s", "/m"}).dram_bytes == 16ULL << 30);
}

Test(daemon_options, several_ssds_each_with_its_quota) {
    const Options options = accepted({"--ssd", "/a,size=200GiB", "--ssd=/b\\,c,size=1.5T", "--ssd",
                                      "/d", "--ssd", "/e,window=12M,request=1M", "/m"});

    cr_assert(options.ssds.size() == 4);
    cr_expect(options.ssds[0].quota_bytes == 200ULL << 30);
    cr_expect(options.ssds[1].directory == "/b,c");
    cr_expect(options.ssds[1].quota_bytes == 3ULL << 39);
    cr_expect(options.ssds[2].quota_bytes == 0);
    cr_expect(options.ssds[3].window_bytes == 12U << 20);
    cr_expect(options.ssds[3].request_bytes == 1U << 20);
    cr_expect(options.ssds[2].request_bytes == 512U << 10);
}

Test(daemon_options, relative_paths_become_absolute) {
    const Options options = accepted({"--ssd", "ssd/", "--socket", "../sock", "./mnt/"});

    cr_expect(options.ssds[0].directory == "/home/me/ssd");
    cr_expect(options.socket == "/home/sock");
    cr_expect(options.mount_point == "/home/me/mnt");
}

Test(daemon_options, fuse_options_add_up) {
    const Options options = accepted({"--ssd", "/s", "-o", "allow_other,ro", "-onoexec", "/m"});
    const Arguments expected{"allow_other", "ro", "noexec"};
    cr_expect(options.fuse_options == expected);
}

Test(daemon_options, the_socket_follows_user_and_mount) {
    kvfs::Surroundings user = machine();
    user.root = false;
    user.runtime_directory = "/run/user/1000";
    Options options;
    options.ssds = {{"/data/kv", 0}};
    options.mount_point = "/home/me/cache";
    cr_expect(kvfs::default_socket(options, user) == "/run/user/1000/kvfs/home-me-cache.sock");
    user.runtime_directory = "";
    cr_expect(kvfs::default_socket(options, user) == "/data/kv/kvfs.sock");
    options.no_mount = true;
    cr_expect(kvfs::default_socket(options, machine()) == "/run/kvfs/data-kv.sock");
}

Test(daemon_options, the_machine_can_be_left_alone) {
    const Options options = accepted({"--ssd", "/s", "--keep-awake", "0", "--no-tuning", "/m"});
    cr_expect(options.keep_awake == std::chrono::milliseconds(0));
    cr_expect(options.no_tuning);
}

Test(daemon_options, the_scrub_has_a_rate_or_is_off) {
    cr_expect_eq(accepted({"--ssd", "/s", "/m"}).scrub_bytes_per_s, 32U << 20);
    cr_expect_eq(accepted({"--ssd", "/s", "--scrub", "1G", "/m"}).scrub_bytes_per_s, 1U << 30);
    cr_expect_eq(accepted({"--ssd", "/s", "--scrub", "0", "/m"}).scrub_bytes_per_s, 0);
    refuses({"--ssd", "/s", "--scrub", "fast", "/m"}, "--scrub");
}

Test(daemon_options, help_and_version_ask_for_nothing_else) {
    const auto help = parse({"--help"});
    cr_assert(help.ok());
    cr_expect_neq(help->text.find("--ssd"), std::string::npos);
    cr_expect_eq(help->text.find("--net"), std::string::npos, "what is not built is not offered");
    cr_expect_eq(help->text.find("--metrics"), std::string::npos);
    const auto version = parse({"--version"});
    cr_assert(version.ok());
    cr_expect(version->text.starts_with("kvfsd "));
}

Test(daemon_options, mistakes_are_named) {
    refuses({"--ssd", "/s", "--drum", "4G", "/m"}, "--drum");
    refuses({"--ssd", "/s", "--dra", "4G", "/m"}, "--dra");
    refuses({"--ssd", "/s", "/m", "--dram"}, "--dram");
    refuses({"--ssd", "/s", "--dram", "4Q", "/m"}, "--dram: '4Q' is not a size");
    refuses({"--ssd", "/s", "--dram", "-1", "/m"}, "--dram: '-1'");
    refuses({"--ssd", "/s", "--dram", "100", "/m"}, "too little");
    refuses({"--ssd", "/s", "--dram", "1G", "--dram", "2G", "/m"}, "more than once");
    refuses({"/m"}, "--ssd");
    refuses({"--ssd", "/s"}, "MOUNTPOINT");
    refuses({"--ssd", "/s", "/m", "/n"}, "'/n'");
    refuses({"--ssd", "/s", "--no-mount", "/m"}, "--no-mount");
    refuses({"--ssd", "/s,size=", "/m"}, "''");
    refuses({"--ssd", "/s,size=0", "/m"}, "no room");
    refuses({"--ssd", "/s,request=1K", "/m"}, "4KiB");
    refuses({"--ssd", "/s,window=2G", "/m"}, "1GiB");
    refuses({"--ssd", "/s,quota=1G", "/m"}, "'quota=1G'");
    refuses({"--ssd", ",size=1G", "/m"}, "no directory");
    refuses({"--ssd", "/s", "--ssd", "/s/", "/m"}, "/s is given more than once");
    refuses({"--ssd", "/s", "--io-timeout", "0", "/m"}, "1 to 3600");
    refuses({"--ssd", "/s", "--io-timeout", "5s", "/m"}, "'5s'");
    refuses({"--ssd", "/s", "--keep-awake", "10001", "/m"}, "0 to 10000");
    refuses({"--ssd", "/s", "--keep-awake", "-1", "/m"}, "'-1'");
    refuses({"--ssd", "/s", "--keep-awake", "", "/m"}, "keep-awake");
    refuses({"--ssd", "/s", "--keep-awake", "1s", "/m"}, "'1s'");
    refuses({"--ssd", "/s", "--log-level", "loud", "/m"}, "'loud'");
    refuses({"--ssd", "/s", "--policy", "best", "/m"}, "no 'best'; there are lru, s3fifo, kvfs");
    refuses({"--ssd", "/s", "--socket", "", "/m"}, "--socket: is empty");
    refuses({"--ssd", "/s", "--socket", "/" + std::string(107, 'x'), "/m"}, "longer than 107");
}

Test(daemon_options, what_is_not_built_is_refused) {
    refuses({"--ssd", "/s", "--net", "s3://bucket", "/m"}, "no networked tier");
    refuses({"--ssd", "/s", "--metrics", "localhost:9100", "/m"}, "no metrics endpoint");
}

Test(daemon_options, nothing_it_needs_lies_in_its_own_mount) {
    refuses({"--ssd", "/m/ssd", "/m"}, "lies in the mount point");
    refuses({"--ssd", "/s", "--socket", "/m/sock", "/m"}, "lies in the mount point");
    accepted({"--ssd", "/m-ssd", "/m"});
}

Test(daemon_options, the_config_file_has_the_same_keys) {
    const ConfigFile file(
        "# tiers\n"
        "dram = 2GiB\n"
        "ssd = /a,size=1G\n"
        "ssd=/b   # no quota\n"
        "\n"
        "socket = /tmp/s\n"
        "io-timeout = 5\n"
        "foreground = true\n"
        "options = allow_other\n"
        "mountpoint = /m\n");

    const Options options = accepted({"--config", file.path});

    cr_expect(options.dram_bytes == 2ULL << 30);
    cr_assert(options.ssds.size() == 2);
    cr_expect(options.ssds[1].directory == "/b");
    cr_expect(options.socket == "/tmp/s");
    cr_expect(options.io_timeout == std::chrono::seconds(5));
    cr_expect(options.foreground);
    cr_expect(options.fuse_options == Arguments{"allow_other"});
    cr_expect(options.mount_point == "/m");
}

Test(daemon_options, the_command_line_replaces_keys_of_the_file) {
    const ConfigFile file("dram = 2GiB\nssd = /a\nssd = /b\nmountpoint = /m\n");

    const Options options = accepted({"--config", file.path, "--ssd", "/c", "/n"});

    cr_expect(options.dram_bytes == 2ULL << 30);
    cr_assert(options.ssds.size() == 1);
    cr_expect(options.ssds[0].directory == "/c");
    cr_expect(options.mount_point == "/n");
}

Test(daemon_options, mistakes_in_the_file_are_named_with_their_line) {
    const ConfigFile unknown("dram = 1G\n\ndrum = 2G\n");
    refuses({"--config", unknown.path}, unknown.path + ":3: unknown key 'drum'");
    const ConfigFile size("ssd = /a\nmountpoint = /m\ndram = lots\n");
    refuses({"--config", size.path}, size.path + ":3: dram: 'lots' is not a size");
    const ConfigFile section("[tiers]\n");
    refuses({"--config", section.path}, ":1: '[tiers]' is not KEY = VALUE");
    const ConfigFile word("dram\n");
    refuses({"--config", word.path}, ":1: 'dram'");
    const ConfigFile truth("foreground = perhaps\nssd = /a\nmountpoint = /m\n");
    refuses({"--config", truth.path}, ":1: foreground: 'perhaps'");
    const ConfigFile net("net = s3://b\n");
    refuses({"--config", net.path}, ":1: net: this version has no networked tier");
}

Test(daemon_options, a_config_file_that_cannot_be_read_is_no_usage_error) {
    const auto missing = parse({"--config", "/nonexistent/file"});
    cr_assert(!missing.ok());
    cr_expect_eq(missing.error().code, ENOENT);
    cr_expect_neq(missing.error().what.find("/nonexistent/file"), std::string::npos);
    const auto directory = parse({"--config", "/tmp"});
    cr_assert(!directory.ok());
    cr_expect_eq(directory.error().code, EISDIR);
}

Test(daemon_options, the_default_config_is_read_only_when_no_ssd_is_given) {
    const ConfigFile file("ssd = /a\ndram = 2G\n");
    kvfs::Surroundings surroundings = machine();
    surroundings.default_config = file.path;

    const auto implied = kvfs::parse_options({"/m"}, surroundings);
    const auto complete = kvfs::parse_options({"--ssd", "/s", "/m"}, surroundings);

    cr_assert(implied.ok() && complete.ok());
    cr_expect(implied->options.dram_bytes == 2ULL << 30);
    cr_expect(complete->options.dram_bytes == 16ULL << 30);
}

Test(daemon_options, more_dram_than_the_machine_has_is_refused) {
    const kvfs::Memory memory{.total = 16ULL << 30, .available = 10ULL << 30};

    cr_expect(kvfs::check_memory(10ULL << 30, memory).ok());
    const auto refused = kvfs::check_memory(11ULL << 30, memory);
    cr_assert(!refused.ok());
    cr_expect_neq(refused.error().what.find("10 GiB"), std::string::npos);
}

Test(daemon_options, memory_of_this_machine_is_known) {
    const kvfs::Memory memory = kvfs::Memory::now();
    cr_expect(memory.total > 0);
    cr_expect(memory.available > 0);
}
