#include <criterion/criterion.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/kvfs_tool.h"
#include "tests/support/temp_dir.h"
#include "tools/program.h"

using kvfs::tests::kvfs_tool;
using kvfs::tests::Outcome;

namespace {

bool mentions(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(tools_program, .timeout = 30);

Test(tools_program, tells_its_version_and_its_verbs) {
    const Outcome version = kvfs_tool({"--version"});
    const Outcome help = kvfs_tool({"help"});

    cr_expect_eq(version.code, 0);
    cr_expect(version.out.starts_with("kvfs "));
    cr_expect_eq(help.code, 0);
    for (const char* verb : {"ls", "du", "df", "stat", "replay", "simulate", "bench"})
        cr_expect(mentions(help.out, std::string("\n  ") + verb), "%s", verb);
}

Test(tools_program, each_verb_has_help) {
    for (const char* verb : {"ls", "du", "df", "stat", "replay", "simulate", "bench"}) {
        const Outcome by_help = kvfs_tool({"help", verb});
        const Outcome by_option = kvfs_tool({verb, "--help"});
        cr_expect_eq(by_help.code, 0);
        cr_expect(by_help.out.starts_with(std::string("usage: kvfs ") + verb));
        expect_text(by_help.out, by_option.out);
    }
}

Test(tools_program, wrong_usage_is_told_on_stderr_and_exits_2) {
    struct Case {
        std::vector<std::string> arguments;
        const char* message;
    };
    const Case cases[] = {
        {{}, "usage: kvfs VERB"},
        {{"frobnicate"}, "kvfs: no verb 'frobnicate'"},
        {{"--frobnicate"}, "kvfs: no option '--frobnicate'"},
        {{"help", "frobnicate"}, "kvfs: help: no verb 'frobnicate'"},
        {{"ls"}, "kvfs: ls: no PATH given"},
        {{"ls", "--frobnicate", "/"}, "kvfs: ls: unrecognised option '--frobnicate'"},
        {{"ls", "--rec", "/"}, "kvfs: ls: unrecognised option '--rec'"},
        {{"du"}, "kvfs: du: no PATH given"},
        {{"df"}, "kvfs: df: no MOUNT given"},
        {{"stat"}, "kvfs: stat: give one MOUNT, or --socket PATH"},
        {{"stat", "/", "/tmp"}, "kvfs: stat: give one MOUNT"},
        {{"replay", "--posix"}, "kvfs: replay: --posix needs --mount DIR"},
        {{"replay", "--bytes-per-token", "much"}, "kvfs: replay: --bytes-per-token: 'much'"},
        {{"replay", "--bytes-per-token", "0"}, "kvfs: replay: --bytes-per-token: must be"},
        {{"replay", "--concurrency", "0"}, "kvfs: replay: --concurrency: must be 1 to 256"},
        {{"replay", "--time-scale=-1"}, "kvfs: replay: --time-scale"},
        {{"replay", "--limit", "many"}, "kvfs: replay: "},
        {{"replay", "--directory", "../x"}, "kvfs: replay: --directory"},
        {{"simulate"}, "kvfs: simulate: give a TRACE, or --generate KIND"},
        {{"simulate", "--policy", "lru,best", "x"}, "kvfs: simulate: --policy: no 'best'; there"},
        {{"simulate", "--policy", "lru,", "x"}, "kvfs: simulate: --policy: 'lru,' is no list"},
        {{"simulate", "--blocks", "0", "x"}, "kvfs: simulate: --blocks: '0' is not a number"},
        {{"simulate", "--blocks", "many", "x"}, "kvfs: simulate: --blocks: 'many' is not a"},
        {{"simulate", "--generate", "luck"}, "kvfs: simulate: --generate: no 'luck'; there are"},
        {{"bench", "--only", "luck"}, "kvfs: bench: --only: no 'luck'; there are read write"},
        {{"bench", "luck"}, "kvfs: bench: takes no operands"},
    };
    for (const Case& one : cases) {
        const Outcome outcome = kvfs_tool(one.arguments);
        cr_expect_eq(outcome.code, 2, "%s: %d", one.message, outcome.code);
        cr_expect(outcome.err.starts_with(one.message), "'%s' instead of '%s'", outcome.err.c_str(),
                  one.message);
        cr_expect(outcome.out.empty());
    }
}

Test(tools_program, a_path_outside_of_kvfs_is_named_as_such) {
    for (const char* verb : {"ls", "du", "df", "stat"}) {
        const Outcome outside = kvfs_tool({verb, "/proc"});
        cr_expect_eq(outside.code, 1);
        const std::string expected =
            std::string("kvfs: ") + verb + ": /proc: not on a kvfs mount\n";
        expect_text(outside.err, expected);

        const Outcome missing = kvfs_tool({verb, "/nonexistent/x"});
        cr_expect_eq(missing.code, 1);
        cr_expect(mentions(missing.err, "/nonexistent/x: No such file"), "%s", missing.err.c_str());
    }
}

Test(tools_program, a_socket_without_a_daemon_is_named) {
    const std::string socket = kvfs::tests::make_temp_dir() + "/none";

    for (const Outcome& outcome : {kvfs_tool({"stat", "--socket", socket}),
                                   kvfs_tool({"replay", "--socket", socket, "--generate", "1"})}) {
        cr_expect_eq(outcome.code, 1);
        cr_expect(mentions(outcome.err, socket), "%s", outcome.err.c_str());
    }
}

Test(tools_program, a_disk_that_is_full_is_no_success) {
    std::ofstream full("/dev/full");
    std::istringstream in;
    std::ostringstream err;

    const int code = kvfs::run_kvfs({"help"}, {in, full, err});

    cr_expect_eq(code, 1);
    cr_expect(mentions(err.str(), "write failed"));
}
