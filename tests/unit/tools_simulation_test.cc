#include <criterion/criterion.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "tests/support/kvfs_tool.h"
#include "tools/simulation.h"
#include "tools/synthetic.h"

using kvfs::prepare;
using kvfs::simulate;
using kvfs::SimulationResult;
using kvfs::TraceRequest;
using kvfs::tests::kvfs_tool;
using kvfs::tests::Outcome;

namespace {

using Prompts = std::vector<std::vector<std::uint64_t>>;

kvfs::SimulatedTrace trace_of(const Prompts& prompts) {
    std::vector<TraceRequest> requests;
    for (const auto& ids : prompts) requests.push_back({0, 100 * ids.size(), 1, ids});
    return prepare(requests, 100);
}

Outcome simulate_with(std::vector<std::string> arguments, const std::string& trace) {
    arguments.insert(arguments.begin(), "simulate");
    return kvfs_tool(arguments, trace);
}

std::string line(const std::string& ids, int tokens = 2048) {
    return R"({"timestamp": 1, "input_length": )" + std::to_string(tokens) +
           R"(, "output_length": 1, "hash_ids": [)" + ids + "]}\n";
}

bool mentions(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

}  // namespace

TestSuite(tools_simulation, .timeout = 60);

Test(tools_simulation, lru_keeps_the_heads_of_the_latest_prompts) {
    // Room for four. 1 2 3 come; for 4 and 5 the tail 3 goes, so of the third prompt two are there;
    // for 3, 5 goes, the tail of the prompt that was used longest ago.
    const auto trace = trace_of({{1, 2, 3}, {4, 5}, {1, 2, 3}, {4, 5}});
    const SimulationResult result = simulate(trace, "lru", {0, 4});

    cr_expect_eq(result.hits, 2 + 1);
    cr_expect_eq(result.hit_tokens, 300);
    cr_expect_eq(result.written, 5 + 1 + 1);
}

Test(tools_simulation, s3fifo_keeps_what_it_has_seen_twice) {
    // Room for two. For 4, and again for 5, the one from the small queue goes, as 1 was used.
    const auto trace = trace_of({{1}, {1}, {3}, {4}, {5}, {1}});

    cr_expect_eq(simulate(trace, "s3fifo", {0, 2}).hits, 2);
    cr_expect_eq(simulate(trace, "lru", {0, 2}).hits, 1);
}

Test(tools_simulation, belady_keeps_what_is_used_soonest_and_the_heads_of_it) {
    // Room for two: 1 and 2 come back next, then 4; never 3.
    const auto trace = trace_of({{1, 2, 3}, {4}, {1, 2}, {4}});
    const SimulationResult result = simulate(trace, "belady", {0, 2});

    cr_expect_eq(result.hits, 2);
    cr_expect_eq(result.written, 2);
    cr_expect_eq(simulate(trace, "belady", {0, 1}).hits, 1);
    cr_expect_eq(simulate(trace, "belady", {0, 3}).hits, 3);
}

Test(tools_simulation, a_block_behind_one_that_is_not_there_is_no_hit) {
    // Room for one: when 1 and 2 are asked for together, only 2 is there.
    const auto trace = trace_of({{1}, {2}, {2}, {1, 2}});

    for (const char* policy : {"lru", "s3fifo", "kvfs"})
        cr_expect_eq(simulate(trace, policy, {0, 1}).hits, 1, "%s", policy);
}

Test(tools_simulation, a_request_larger_than_the_tier_and_an_empty_one_are_served) {
    const auto trace = trace_of({{1, 2, 3, 4, 5}, {}, {1, 2, 3, 4, 5}});

    for (const char* policy : {"lru", "s3fifo", "kvfs", "belady"}) {
        const auto result = simulate(trace, policy, {0, 2});
        cr_expect_leq(result.hits, 2, "%s", policy);
    }
    cr_expect_eq(simulate(trace, "belady", {0, 2}).hits, 2);
}

Test(tools_simulation, belady_is_never_below_another_and_room_for_all_gives_all_hits) {
    const char* given = std::getenv("KVFS_SEED");
    const unsigned long seed = given == nullptr ? std::random_device{}() : std::stoul(given);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 100; ++round) {
        // Prompts are ways down a tree: equal ids mean equal beginnings.
        const std::uint64_t branches = 2 + random() % 3;
        Prompts prompts;
        for (int i = 0; i < 60; ++i) {
            std::vector<std::uint64_t> ids;
            std::uint64_t id = 0;
            for (std::uint64_t depth = random() % 7; ids.size() < depth;)
                ids.push_back(id = id * branches + 1 + random() % branches);
            prompts.push_back(ids);
        }
        const auto trace = trace_of(prompts);
        const auto all = trace.references - trace.blocks();
        for (const std::uint64_t room : {1UL, 2UL, 5UL, 20UL, 400UL * branches * branches}) {
            const auto best = simulate(trace, "belady", {0, room});
            for (const char* policy : {"lru", "s3fifo", "kvfs"}) {
                const auto result = simulate(trace, policy, {0, room});
                cr_expect_leq(result.hits, best.hits, "%s, room %lu: make unit KVFS_SEED=%lu",
                              policy, room, seed);
                cr_expect_geq(result.written + result.hits, trace.blocks());
                if (room >= trace.blocks())
                    cr_expect_eq(result.hits, all, "%s: make unit KVFS_SEED=%lu", policy, seed);
            }
        }
    }
}

Test(tools_simulation, kvfs_is_no_worse_than_lru_on_made_up_services) {
    for (const char* kind : {"chat", "agents", "rag", "scans"}) {
        const auto trace = prepare(kvfs::generate_synthetic(kind, 4000, 512, 1), 512);
        for (const std::uint64_t percent : {3, 10, 30}) {
            const std::uint64_t room = trace.blocks() * percent / 100;
            const auto ours = simulate(trace, "kvfs", {0, room}).hits;
            const auto lru = simulate(trace, "lru", {0, room}).hits;
            cr_expect_geq(ours, lru - lru / 50, "%s, %lu %%: %lu against %lu", kind, percent, ours,
                          lru);
        }
    }
}

Test(tools_simulation, json_has_an_object_for_each_policy_and_size) {
    const Outcome outcome =
        simulate_with({"-", "--policy", "lru,belady", "--blocks", "2,3", "--json"},
                      line("1, 2, 3, 4") + line("1, 2, 3, 4"));
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
    const auto rows = nlohmann::json::parse(outcome.out);

    cr_assert_eq(rows.size(), 4U);
    for (const auto& row : rows) {
        cr_expect_eq(row.size(), 5U);
        for (const char* key :
             {"policy", "blocks", "prefix_hit_ratio", "ssd_bytes_written", "seconds"})
            cr_expect(row.contains(key), "%s", key);
    }
    cr_expect(rows[3]["policy"] == "belady" && rows[3]["blocks"] == 3);
    cr_expect(rows[3]["prefix_hit_ratio"] == 3 / 8.0);
    cr_expect(rows[3]["ssd_bytes_written"] == 3 << 20);
}

Test(tools_simulation, two_tiers_hit_what_either_has_and_write_what_is_new_to_ssd) {
    // DRAM has room for two, SSD for four: at the second 1 2 3, SSD has all, and DRAM 3, the last
    // that came, and 4; at 1 2, DRAM has 3 and 5. For 5, SSD gives up 4.
    const auto trace = trace_of({{1, 2, 3}, {4}, {1, 2, 3}, {5}, {1, 2}});
    const SimulationResult result = simulate(trace, "lru", {.dram = 2, .ssd = 4});

    cr_expect_eq(result.hits, 3 + 2);
    cr_expect_eq(result.dram_hits, 1);
    cr_expect_eq(result.written, 5);
    cr_expect_eq(simulate(trace, "lru", {.ssd = 4}).dram_hits, 0);
    cr_expect_eq(simulate(trace, "lru", {.dram = 4, .ssd = 1}).hits, 5, "SSD has not all of DRAM");
    cr_expect_eq(simulate(trace, "belady", {.dram = 2, .ssd = 4}).hits, 5);
}

Test(tools_simulation, a_tier_in_front_makes_hits_where_the_other_is_small) {
    const auto trace = prepare(kvfs::generate_synthetic("chat", 2000, 512, 1), 512);
    for (const char* policy : {"lru", "s3fifo", "kvfs"}) {
        const auto one = simulate(trace, policy, {.ssd = 2000});
        const auto two = simulate(trace, policy, {.dram = 200, .ssd = 2000});
        cr_expect_geq(two.hits, one.hits, "%s: %lu, %lu", policy, two.hits, one.hits);
        cr_expect_gt(two.dram_hits, 0, "%s", policy);
        cr_expect_eq(two.written, one.written, "%s", policy);
    }
}

Test(tools_simulation, sizes_of_tiers_are_bytes_and_the_csv_has_all_figures) {
    const std::string file = "/tmp/kvfs-simulate-" + std::to_string(::getpid()) + ".csv";
    const Outcome outcome =
        simulate_with({"-", "--policy", "lru", "--dram", "2MiB", "--ssd", "3MiB", "--json", "--csv",
                       file, "--bytes-per-token", "2KiB"},
                      line("1, 2, 3, 4") + line("1, 2, 3, 4"));
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
    const auto rows = nlohmann::json::parse(outcome.out);
    cr_expect(rows[0]["dram_blocks"] == 2 && rows[0]["blocks"] == 3);
    std::ifstream csv(file);
    std::string header, row, more;
    std::getline(csv, header);
    std::getline(csv, row);
    cr_expect_eq(std::ranges::count(header, ','), std::ranges::count(row, ','));
    cr_expect(row.starts_with("lru,2,3,"), "%s", row.c_str());
    std::istringstream names(header), values(row);
    for (std::string name, value; std::getline(names, name, ',');) {
        std::getline(values, value, ',');
        if (name == "policy" || !rows[0].contains(name)) continue;
        cr_expect_float_eq(std::stod(value), rows[0][name].get<double>(), 1e-6, "%s: %s",
                           name.c_str(), value.c_str());
    }
    cr_expect(rows[0]["dram_hit_ratio"] != rows[0]["prefix_hit_ratio"]);
    cr_expect_not(std::getline(csv, more));
    std::filesystem::remove(file);
}

Test(tools_simulation, what_cannot_be_meant_is_refused_with_a_sentence) {
    struct Case {
        std::vector<std::string> arguments;
        int code;
        const char* says;
    };
    const Case cases[] = {
        {{"-", "--policy", "lru,fifo"}, 2, "no 'fifo'; there are lru, s3fifo, kvfs, belady"},
        {{"-", "--policy", "lru,,kvfs"}, 2, "is no list"},
        {{"-", "--blocks", "1e3"}, 2, "'1e3' is not a number of blocks"},
        {{"-", "--blocks", "0"}, 2, "'0' is not a number of blocks"},
        {{"-", "--blocks", "5", "--ssd", "1MiB"}, 2, "--blocks is one tier's"},
        {{"-", "--dram", "1MiB"}, 2, "--dram and --ssd go together"},
        {{"-", "--dram", "1MiB", "--ssd", "1"}, 2, "a block takes 1048576 bytes"},
        {{"-", "--bytes-per-token", "0"}, 2, "a token takes some"},
        {{"-", "--plot", "x.gif"}, 2, "ends in .png, .svg or .pdf"},
        {{"-", "--csv", "/nowhere/x.csv"}, 1, "/nowhere/x.csv"},
        {{"-", "--plot", "/nowhere/x.svg"}, 1, "/nowhere/x.svg: the plot cannot be written there"},
        {{"/nowhere.jsonl"}, 1, "/nowhere.jsonl"},
        {{"/"}, 1, "/: "},
    };
    for (const Case& one : cases) {
        const Outcome outcome = simulate_with(one.arguments, line("1, 2, 3, 4"));
        cr_expect_eq(outcome.code, one.code, "%s: %d", one.says, outcome.code);
        cr_expect(mentions(outcome.err, one.says), "'%s' instead of '%s'", outcome.err.c_str(),
                  one.says);
    }
}

Test(tools_simulation, blocks_may_be_of_any_size) {
    const Outcome outcome = simulate_with({"-", "--policy", "lru", "--blocks", "9", "--json"},
                                          line("1, 2, 3, 4", 64) + line("1, 2, 3, 4, 5", 80));
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
    const auto rows = nlohmann::json::parse(outcome.out);

    cr_expect(rows[0]["ssd_bytes_written"] == 5 * 16 * 2048);
}

Test(tools_simulation, an_odd_trace_gets_a_sentence) {
    struct Case {
        std::string trace;
        int code;
        const char* says;
    };
    const Case cases[] = {
        {line("1, 2, 1"), 0, "1 blocks were in their request already"},
        {line("1, 2") + line("2"), 0, "1 blocks have another one before them"},
        {line(""), 1, "there is no block in the trace"},
        {"", 1, "there is no block in the trace"},
        {line("1") + "{\"timesta\n", 1, "-:2: not JSON"},
        {line("1", 2'000'000'000), 1, "not a number of tokens"},
    };
    for (const Case& one : cases) {
        const Outcome outcome = simulate_with({"-"}, one.trace);
        cr_expect_eq(outcome.code, one.code, "%s: %d", one.says, outcome.code);
        cr_expect(mentions(outcome.err, one.says), "'%s' instead of '%s'", outcome.err.c_str(),
                  one.says);
    }
}

Test(tools_simulation, gaps_repeated_empty_and_huge_requests_are_simulated_as_they_are) {
    std::string ids = "0";
    for (int i = 1; i < 100'000; ++i) ids += "," + std::to_string(i);
    const std::string last = "18446744073709551615";
    const std::string trace = line("7, 9000000000, " + last) + "\n" + line("") +
                              line("7, 9000000000, " + last) + line(ids, 51'200'000) +
                              line(ids, 51'200'000);
    for (const char* policy : {"lru", "s3fifo", "kvfs", "belady"}) {
        const Outcome outcome =
            simulate_with({"-", "--policy", policy, "--blocks", "300000", "--json"}, trace);
        cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
        // 7 is a block of both prompts, and has another one before it in the second.
        cr_expect(mentions(outcome.err, "2 blocks have another one before them"), "%s",
                  outcome.err.c_str());
        const auto rows = nlohmann::json::parse(outcome.out);
        const double hits = 3 + 0 + 100'000;
        cr_expect_float_eq(rows[0]["prefix_hit_ratio"].get<double>(), hits / 200'006, 1e-9, "%s",
                           policy);
    }
}

Test(tools_simulation, what_simulations_do_not_need_may_be_missing) {
    const Outcome outcome = simulate_with(
        {"-", "--policy", "lru", "--blocks", "9", "--json"},
        R"({"timestamp": 0.5, "input_length": 32, "type": "chat", "hash_ids": [1, 2]})");
    cr_assert_eq(outcome.code, 0, "%s", outcome.err.c_str());
}

Test(tools_simulation, made_up_services_are_the_same_for_the_same_seed_and_can_be_traces) {
    for (const char* kind : {"chat", "agents", "rag", "scans"}) {
        const auto one = kvfs::generate_synthetic(kind, 500, 16, 7);
        cr_assert_eq(one.size(), 500U, "%s", kind);
        cr_expect(one == kvfs::generate_synthetic(kind, 500, 16, 7), "%s", kind);
        cr_expect(one != kvfs::generate_synthetic(kind, 500, 16, 8), "%s", kind);
        const auto trace = prepare(one, 16);
        cr_expect_eq(trace.repeated, 0U, "%s", kind);
        cr_expect_eq(trace.moved, 0U, "%s", kind);
        cr_expect_gt(trace.references, trace.blocks(), "%s", kind);
    }
    cr_expect(kvfs::generate_synthetic("luck", 5, 16, 1).empty());
}
