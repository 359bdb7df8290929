// The program kvfs, on a real mount: ls, du, df, stat.
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;
using nlohmann::json;

namespace {

/// The document that a verb prints; fails the test unless it succeeds.
json document(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    const Outcome outcome = kvfs_tool(arguments);
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
    json parsed = json::parse(outcome.out, nullptr, false);
    cr_assert(!parsed.is_discarded(), "%s", outcome.out.c_str());
    return parsed;
}

bool mentions(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

/// blocks/a.kv (1 MiB), blocks/deep/b.kv (64 KiB), c.kv (5 bytes)
void make_some_files() {
    mount_up();
    ::mkdir(mounted->path("blocks").c_str(), 0755);
    ::mkdir(mounted->path("blocks/deep").c_str(), 0755);
    write_file(mounted->path("blocks/a.kv"), pattern(1 << 20, 1));
    write_file(mounted->path("blocks/deep/b.kv"), pattern(64 << 10, 2));
    write_file(mounted->path("c.kv"), "12345");
}

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(cli, .init = make_some_files, .fini = mount_down, .timeout = 60);

Test(cli, ls_lists_names_one_a_line) {
    const Outcome root = kvfs_tool({"ls", mounted->path()});
    cr_expect_eq(root.code, 0);
    expect_text(root.out, "blocks/\nc.kv\n");
}

Test(cli, ls_long_says_where_the_bytes_are) {
    await_spilled(mounted->path("blocks/a.kv"));
    cr_assert_eq(::setxattr(mounted->path("blocks/a.kv").c_str(), "user.kvfs.pin", "1", 1, 0), 0);

    const Outcome outcome = kvfs_tool({"ls", "-l", mounted->path("blocks")});

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    cr_expect(mentions(outcome.out, "1 MiB  dram,ssd    1 MiB"), "%s", outcome.out.c_str());
    cr_expect(mentions(outcome.out, "pin  a.kv\n"), "%s", outcome.out.c_str());
    cr_expect(mentions(outcome.out, "deep/\n"));
    cr_expect(mentions(outcome.out, "\n1 file, 1 MiB; dram 1 MiB; ssd 1 MiB; 1 pinned\n"), "%s",
              outcome.out.c_str());
}

Test(cli, ls_recursive_goes_into_directories) {
    const Outcome outcome = kvfs_tool({"ls", "-lR", mounted->path()});

    cr_expect_eq(outcome.code, 0);
    cr_expect(mentions(outcome.out, mounted->path("blocks/deep") + ":\n"), "%s",
              outcome.out.c_str());
    cr_expect(mentions(outcome.out, "  b.kv\n"));
    cr_expect(mentions(outcome.out, "\n3 files, 1.1 MiB; "));
}

Test(cli, ls_json_has_stable_keys) {
    read_file(mounted->path("c.kv"));

    const json listed = document({"ls", mounted->path("c.kv"), mounted->path("blocks")});

    const json& entries = listed.at("entries");
    cr_assert_eq(entries.size(), 3);
    const json& file = entries.at(0);
    expect_text(file.at("path"), mounted->path("c.kv"));
    expect_text(file.at("type"), "file");
    cr_expect_eq(file.at("size_bytes").get<int>(), 5);
    cr_expect_eq(file.at("dram_bytes").get<int>(), 5);
    cr_expect_geq(file.at("hits").get<int>(), 1);
    cr_expect_eq(file.at("pinned").get<bool>(), false);
    expect_text(file.at("tiers").at(0), "dram");
    cr_expect_gt(file.at("accessed_s").get<double>(), 1e9);
    cr_expect_gt(file.at("modified_s").get<double>(), 1e9);
    expect_text(entries.at(2).at("type"), "directory");
    cr_expect_eq(listed.at("totals").at("files").get<int>(), 2);
    cr_expect_eq(listed.at("totals").at("size_bytes").get<int>(), (1 << 20) + 5);
}

Test(cli, a_missing_operand_does_not_hide_the_others) {
    const std::string missing = mounted->path("none");

    const Outcome outcome = kvfs_tool({"ls", missing, mounted->path("c.kv")});

    cr_expect_eq(outcome.code, 1);
    const std::string expected = "kvfs: ls: " + missing + ": No such file or directory\n";
    expect_text(outcome.err, expected);
    cr_expect(mentions(outcome.out, "c.kv\n"));
}

Test(cli, a_directory_beside_the_mount_is_not_kvfs) {
    for (const char* verb : {"ls", "du", "df", "stat"}) {
        const Outcome outcome = kvfs_tool({verb, mounted->scrap()});
        cr_expect_eq(outcome.code, 1);
        cr_expect(mentions(outcome.err, mounted->scrap() + ": not on a kvfs mount"), "%s",
                  outcome.err.c_str());
    }
}

Test(cli, a_mount_whose_daemon_died_is_told_from_a_missing_one) {
    mounted->kill();

    const Outcome outcome = kvfs_tool({"df", mounted->path()});

    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome.err, "no daemon serves it"), "%s", outcome.err.c_str());
    mounted->start();
}

Test(cli, du_sums_up_by_directory_and_tier) {
    await_spilled(mounted->path("blocks/a.kv"));
    await_spilled(mounted->path("blocks/deep/b.kv"));

    const json directories = document({"du", mounted->path("blocks")}).at("directories");
    const json summary = document({"du", "-s", mounted->path("blocks")}).at("directories");

    cr_assert_eq(directories.size(), 2);
    expect_text(directories[0].at("path"), mounted->path("blocks/deep"));
    cr_expect_eq(directories[0].at("size_bytes").get<int>(), 64 << 10);
    cr_expect_eq(directories[1].at("size_bytes").get<int>(), (64 << 10) + (1 << 20));
    cr_expect_eq(directories[1].at("files").get<int>(), 2);
    cr_expect_eq(directories[1].at("tiers").at("dram").get<int>(), (64 << 10) + (1 << 20));
    cr_expect_eq(directories[1].at("tiers").at("ssd").get<int>(), (64 << 10) + (1 << 20));
    cr_assert_eq(summary.size(), 1);
    cr_expect(summary[0] == directories[1]);
    cr_expect(
        mentions(kvfs_tool({"du", "-s", mounted->path("blocks")}).out, "IN DRAM   ON ssd  FILES"));
}

Test(cli, df_tells_each_tier_from_anywhere_in_the_mount) {
    const json mounts = document({"df", mounted->path("blocks")}).at("mounts");

    cr_assert_eq(mounts.size(), 1);
    expect_text(mounts[0].at("mount"), mounted->path());
    const json& dram = mounts[0].at("tiers").at(0);
    expect_text(dram.at("name"), "dram");
    cr_expect_geq(dram.at("capacity_bytes").get<int>(), 64 << 20);
    cr_expect_geq(dram.at("used_bytes").get<int>(), 1 << 20);
    cr_expect_eq(dram.at("free_bytes").get<int>(),
                 dram.at("capacity_bytes").get<int>() - dram.at("used_bytes").get<int>());
    cr_expect_gt(dram.at("used_percent").get<double>(), 0);
    cr_expect_eq(mounts[0].at("names").at("files").get<int>(), 3);
    const std::string text = kvfs_tool({"df", mounted->path()}).out;
    cr_expect(mentions(text, mounted->path() + "\n  dram "), "%s", text.c_str());
    cr_expect(mentions(text, "\n  ssd:" + mounted->ssd()), "%s", text.c_str());
}

Test(cli, stat_says_the_same_through_mount_and_socket) {
    const json by_mount = document({"stat", mounted->path()});
    const json by_socket = document({"stat", "--socket", mounted->socket()});

    for (const char* key : {"version", "uptime_s", "socket", "tiers", "names", "counters"}) {
        cr_expect(by_mount.contains(key), "%s", key);
        cr_expect(by_socket.contains(key), "%s", key);
    }
    cr_expect(by_mount["counters"]["written_bytes"] == by_socket["counters"]["written_bytes"]);
    cr_expect_geq(by_mount["counters"]["written_bytes"].get<int>(), 1 << 20);
    expect_text(by_mount["socket"], mounted->socket());
}

Test(cli, stat_is_readable) {
    const Outcome outcome = kvfs_tool({"stat", mounted->path()});

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    for (const char* word : {"mounted at ", "tier dram", "tier ssd:", "counters", "written  ",
                             "degraded           no"})
        cr_expect(mentions(outcome.out, word), "'%s' is not in:\n%s", word, outcome.out.c_str());
}
