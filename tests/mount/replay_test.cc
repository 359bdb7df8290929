// kvfs replay against a daemon with little room: through the mapper and through the mount.
#include <criterion/criterion.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;
using nlohmann::json;

namespace {

Outcome replay(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), "replay");
    return kvfs_tool(arguments, input);
}

/// The report; fails the test unless the replay succeeds.
json report(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.push_back("--json");
    const Outcome outcome = replay(arguments, input);
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
    json parsed = json::parse(outcome.out, nullptr, false);
    cr_assert(!parsed.is_discarded(), "%s", outcome.out.c_str());
    return parsed;
}

int number(const json& document, const char* group, const char* key) {
    return document.at(group).at(key).get<int>();
}

void mount_up_small() { mount_up_with({.dram = "32MiB", .ssd_size = "96MiB", .arguments = {}}); }

/// A file of the replay, of any of its blocks.
std::string some_block() {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mounted->path("replay")))
        if (entry.is_regular_file()) return entry.path().string();
    cr_assert_fail("no block file");
    return "";
}

const std::string kTwice =
    R"({"timestamp": 0, "input_length": 1500, "output_length": 1, "hash_ids": [1, 2, 3]})"
    "\n"
    R"({"timestamp": 9, "input_length": 2048, "output_length": 1, "hash_ids": [1, 2, 4, 5]})"
    "\n";

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(replay, .init = mount_up_small, .fini = mount_down, .timeout = 180);

Test(replay, hits_are_those_of_the_prefix_rule) {
    const json first = report({"-", "--socket", mounted->socket()}, kTwice);
    const json again = report({"-", "--socket", mounted->socket()}, kTwice);

    cr_expect_eq(number(first, "blocks", "total"), 7);
    cr_expect_eq(number(first, "blocks", "hits"), 2);
    cr_expect_float_eq(first["blocks"]["hit_ratio"].get<double>(), 2.0 / 7, 1e-9);
    cr_expect_float_eq(first["blocks"]["hit_ratio_unlimited"].get<double>(), 2.0 / 7, 1e-9);
    cr_expect_eq(number(first, "save", "blocks"), 5);
    cr_expect_eq(number(first, "load", "tokens"), 2 * 512);
    cr_expect_eq(number(again, "blocks", "hits"), 7);
    cr_expect_eq(number(again, "save", "blocks"), 0);
    cr_expect_eq(first.at("mismatches").get<int>(), 0);
}

Test(replay, blocks_behind_a_gap_are_no_hits_but_are_not_saved_again) {
    report({"-", "--socket", mounted->socket()}, kTwice);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mounted->path("replay")))
        if (entry.path().filename() == "0000000000000001.kv") std::filesystem::remove(entry);

    const json gap = report({"-", "--limit", "1", "--socket", mounted->socket()}, kTwice);

    cr_expect_eq(number(gap, "blocks", "hits"), 0);
    cr_expect_eq(number(gap, "blocks", "kept"), 2);
    cr_expect_eq(number(gap, "save", "blocks"), 1);
}

Test(replay, the_mapper_serves_right_bytes_while_both_tiers_overflow) {
    const json done = report({"--generate", "250", "--bytes-per-token", "512", "--concurrency", "3",
                              "--socket", mounted->socket()});

    cr_expect_eq(done.at("mismatches").get<int>(), 0);
    cr_expect_eq(number(done, "blocks", "unreadable"), 0);
    cr_expect_gt(number(done, "blocks", "hits"), 0);
    cr_expect_gt(number(done, "daemon", "dram_evictions"), 0);
    cr_expect_gt(number(done, "daemon", "store_evictions"), 0);
}

Test(replay, device_memory_gets_right_bytes_and_gives_them_back) {
    const char* bin = std::getenv("KVFS_BIN");
    cr_assert(bin != nullptr, "KVFS_BIN is not set: run the tests through make check");
    ::setenv("KVFS_LIBCUDA", (std::string(bin) + "/fake_cuda/libcuda.so.1").c_str(), 1);
    ::setenv("FAKE_CUDA", "strict=1,poison=1", 1);

    const json done = report({"--generate", "100", "--bytes-per-token", "512", "--concurrency", "3",
                              "--backend", "cuda", "--socket", mounted->socket()});

    cr_expect_eq(done.at("mismatches").get<int>(), 0);
    cr_expect_gt(number(done, "blocks", "hits"), 0);
}

Test(replay, the_mount_serves_right_bytes_while_both_tiers_overflow) {
    const json done = report({"--generate", "250", "--bytes-per-token", "512", "--concurrency", "3",
                              "--posix", "--mount", mounted->path()});

    cr_expect_eq(done.at("mismatches").get<int>(), 0);
    cr_expect_eq(number(done, "blocks", "unreadable"), 0);
    cr_expect_gt(number(done, "blocks", "hits"), 0);
    cr_expect_gt(number(done, "daemon", "dram_evictions"), 0);
    cr_expect_gt(number(done, "daemon", "store_evictions"), 0);
}

Test(replay, what_one_way_saved_the_other_loads) {
    report({"-", "--mount", mounted->path()}, kTwice);

    const json other = report({"-", "--posix", "--mount", mounted->path()}, kTwice);

    cr_expect_eq(number(other, "blocks", "hits"), 7);
}

Test(replay, wrong_bytes_are_found_and_exit_1) {
    report({"-", "--mount", mounted->path()}, kTwice);
    const std::string block = some_block();
    std::string bytes = read_file(block);
    bytes[bytes.size() / 2] ^= 1;
    write_file(block, bytes);

    for (const bool posix : {false, true}) {
        std::vector<std::string> arguments{"-", "--mount", mounted->path()};
        if (posix) arguments.push_back("--posix");
        const Outcome outcome = replay(arguments, kTwice);
        cr_expect_eq(outcome.code, 1);
        const std::string name = std::filesystem::path(block).filename();
        cr_expect(outcome.err.find(name + ": wrong bytes from offset " +
                                   std::to_string(bytes.size() / 2)) != std::string::npos,
                  "%s", outcome.err.c_str());
        write_file(block, bytes);  // the replay has saved the block anew
    }
}

Test(replay, a_block_of_another_size_is_a_mismatch) {
    report({"-", "--mount", mounted->path()}, kTwice);

    const Outcome outcome =
        replay({"-", "--bytes-per-token", "64", "--mount", mounted->path()}, kTwice);

    cr_expect_eq(outcome.code, 1);
    cr_expect(outcome.err.find("--bytes-per-token") != std::string::npos, "%s",
              outcome.err.c_str());
}

Test(replay, a_damaged_trace_is_refused_before_anything_is_saved) {
    const std::string trace = mounted->scrap() + "/trace.jsonl";
    std::ofstream(trace) << kTwice << "{\"timestamp\": 10, \"inp\n";

    const Outcome outcome = replay({trace, "--mount", mounted->path()});

    cr_expect_eq(outcome.code, 1);
    const std::string expected = "kvfs: replay: " + trace + ":3: not JSON\n";
    expect_text(outcome.err, expected);
    cr_expect(list_names(mounted->path()).empty());
}

Test(replay, the_pace_of_a_trace_can_be_kept) {
    const json slow = report(
        {"-", "--time-scale", "0.03", "--concurrency", "2", "--mount", mounted->path()}, kTwice);

    cr_expect_geq(slow.at("seconds").get<double>(), 0.3);
}

Test(replay, requests_of_production_are_replayed) {
    const char* trace = "../shared/traces/mooncake_conversation.jsonl";
    if (!std::filesystem::exists(trace)) cr_skip_test("no production trace beside the repository");

    const json done = report({trace, "--limit", "60", "--bytes-per-token", "256", "--concurrency",
                              "2", "--mount", mounted->path()});

    cr_expect_eq(done.at("requests").get<int>(), 60);
    cr_expect_eq(done.at("mismatches").get<int>(), 0);
}

Test(replay, a_report_for_people_has_the_figures) {
    const Outcome outcome = replay({"-", "--mount", mounted->path()}, kTwice);

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    for (const char* word : {"2 requests of -, through the mapper", "28.6 % of 7 blocks", "loaded",
                             "saved", "load time", "served from", "evicted", "mismatches      0"})
        cr_expect(outcome.out.find(word) != std::string::npos, "'%s' is not in:\n%s", word,
                  outcome.out.c_str());
}
