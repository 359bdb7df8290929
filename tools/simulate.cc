#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "fs/cache/policy.h"
#include "tools/plot.h"
#include "tools/simulation.h"
#include "tools/synthetic.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("policy",
         po::value<std::string>()->default_value("lru,s3fifo,kvfs,belady")->value_name("NAME,..."),
         "lru, s3fifo, kvfs; belady: the best that one could do who knew what is to come")  //
        ("blocks", po::value<std::string>()->value_name("N,..."),
         "the tier has room for so many (default: 1, 3, 10 and 30 % of the different ones)")  //
        ("dram", po::value<std::string>()->value_name("SIZE"),
         "two tiers: this, in front of")                                                    //
        ("ssd", po::value<std::string>()->value_name("SIZE"), "this; instead of --blocks")  //
        ("bytes-per-token", po::value<std::string>()->default_value("2KiB")->value_name("SIZE"),
         "KV bytes of a token")  //
        ("block-tokens", po::value<std::uint64_t>()->default_value(0)->value_name("N"),
         "tokens of a block (0: the power of two that fits the trace)")  //
        ("generate", po::value<std::string>()->value_name("KIND"),
         ("without a TRACE, make one up: " + synthetic_kinds()).c_str())  //
        ("requests", po::value<std::uint64_t>()->default_value(20'000)->value_name("N"),
         "that are made up")  //
        ("seed", po::value<std::uint64_t>()->default_value(1)->value_name("N"),
         "of what is made up")                                                                 //
        ("csv", po::value<std::string>()->value_name("FILE"), "write the figures there, too")  //
        ("plot", po::value<std::string>()->value_name("FILE"),
         "draw them there (.png, .svg, .pdf; needs gnuplot or matplotlib)")  //
        ("json", po::bool_switch(), "the figures as JSON");
    return options;
}

std::vector<std::string> split(const std::string& text, const char* option) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find(',', at), text.size());
        if (end == at) throw UsageError(fmt::format("--{}: '{}' is no list", option, text));
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

std::vector<std::string> policies(const Arguments& arguments) {
    auto names = split(arguments.get<std::string>("policy"), "policy");
    for (const std::string& name : names)
        if (name != kOptimum && policy_named(name) == nullptr)
            throw UsageError(
                fmt::format("--policy: no '{}'; there are {}, {}", name, policy_names(), kOptimum));
    return names;
}

std::uint64_t whole_number(const std::string& text) {
    constexpr std::size_t kDigitsMax = 12;
    const bool number = text.find_first_not_of("0123456789") == text.npos;
    if (!number || text.size() > kDigitsMax || std::stoull(text) == 0)
        throw UsageError(fmt::format("--blocks: '{}' is not a number of blocks", text));
    return std::stoull(text);
}

/// Of `different` blocks of so many bytes.
std::vector<Room> rooms(const Arguments& arguments, std::uint64_t different,
                        std::uint64_t block_bytes) {
    const bool tiers = arguments.has("dram") || arguments.has("ssd");
    if (tiers && arguments.has("blocks"))
        throw UsageError("--blocks is one tier's, --dram and --ssd are two tiers'");
    if (tiers && !(arguments.has("dram") && arguments.has("ssd")))
        throw UsageError("--dram and --ssd go together");
    if (tiers) {
        const Room room{arguments.size("dram") / block_bytes, arguments.size("ssd") / block_bytes};
        if (room.dram == 0 || room.ssd == 0)
            throw UsageError(fmt::format("--dram, --ssd: a block takes {} bytes", block_bytes));
        return {room};
    }
    std::vector<Room> all;
    if (arguments.has("blocks"))
        for (const std::string& text : split(arguments.get<std::string>("blocks"), "blocks"))
            all.push_back({0, whole_number(text)});
    else
        for (const std::uint64_t percent : {1, 3, 10, 30})
            all.push_back({0, std::max<std::uint64_t>(1, different * percent / 100)});
    return all;
}

void read_requests(const std::string& name, std::uint64_t block_tokens, std::istream& standard,
                   std::vector<TraceRequest>& requests) {
    std::ifstream file;
    if (name != "-") {
        if (std::filesystem::is_directory(name)) throw Failure(Error{EISDIR, name});
        file.open(name);
        if (!file) throw Failure(errno_error(name));
    }
    auto read = read_trace(name == "-" ? standard : file, name, 0, block_tokens);
    if (!read)
        throw Failure(read.error().code == EBADMSG ? read.error().what : sentence(read.error()));
    requests.insert(requests.end(), std::make_move_iterator(read->begin()),
                    std::make_move_iterator(read->end()));
}

SimulatedTrace make_trace(const Arguments& arguments, Io& io) {
    const auto block_tokens = arguments.get<std::uint64_t>("block-tokens");
    std::vector<TraceRequest> requests;
    if (arguments.has("generate")) {
        if (!arguments.operands.empty()) throw UsageError("either a TRACE or --generate");
        const auto& kind = arguments.get<std::string>("generate");
        const std::uint64_t tokens = block_tokens == 0 ? kBlockTokens : block_tokens;
        requests = generate_synthetic(kind, arguments.get<std::uint64_t>("requests"), tokens,
                                      arguments.get<std::uint64_t>("seed"));
        if (requests.empty())
            throw UsageError(
                fmt::format("--generate: no '{}'; there are {}", kind, synthetic_kinds()));
        return prepare(requests, tokens);
    }
    if (arguments.operands.empty()) throw UsageError("give a TRACE, or --generate KIND");
    for (const std::string& name : arguments.operands)
        read_requests(name, block_tokens, io.in, requests);
    SimulatedTrace trace = prepare(requests, block_tokens);
    if (trace.references == 0) throw Failure("there is no block in the trace");
    if (trace.repeated > 0)
        complain(io, "simulate",
                 fmt::format("{} blocks were in their request already: left out", trace.repeated));
    if (trace.moved > 0)
        complain(
            io, "simulate",
            fmt::format("{} blocks have another one before them than the first time: equal ids "
                        "should mean equal beginnings; belady may not be the best",
                        trace.moved));
    return trace;
}

struct Row {
    std::string policy;
    Room room;
    SimulationResult result;
};

double ratio(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
    return fmt::format("{:.2f} %", 100 * ratio(part, whole));
}

void print_table(const SimulatedTrace& trace, const std::vector<Row>& rows,
                 std::uint64_t block_bytes, std::ostream& out) {
    out << fmt::format("{} requests, {} references to {} blocks of {} tokens\n",
                       format_count(trace.requests.size()), format_count(trace.references),
                       format_count(trace.blocks()), trace.block_tokens);
    Table table({{"DRAM"},
                 {"SSD"},
                 {"POLICY", Table::Align::kLeft},
                 {"BLOCKS HIT"},
                 {"IN DRAM"},
                 {"TOKENS HIT"},
                 {"WRITTEN"},
                 {"WRITTEN/HIT"},
                 {"NS A REFERENCE"}});
    for (const auto& [policy, room, result] : rows)
        table.add(
            {format_count(room.dram), format_count(room.ssd), policy,
             percent(result.hits, trace.references),
             room.dram == 0 || policy == kOptimum  // which has one tier
                 ? "-"
                 : percent(result.dram_hits, trace.references),
             percent(result.hit_tokens, trace.input_tokens),
             fmt::format("{:.1f} GB", static_cast<double>(result.written * block_bytes) / 1e9),
             fmt::format("{:.2f}", ratio(result.written, result.hits)),
             fmt::format("{:.0f}", result.seconds * 1e9 / static_cast<double>(trace.references))});
    table.print(out);
}

void write_csv(const SimulatedTrace& trace, const std::vector<Row>& rows, std::uint64_t block_bytes,
               const std::string& name) {
    std::ofstream out(name);
    out << "policy,dram_blocks,blocks,prefix_hit_ratio,dram_hit_ratio,token_hit_ratio,"
           "ssd_bytes_written,seconds\n";
    for (const auto& [policy, room, result] : rows)
        out << fmt::format("{},{},{},{:.6f},{:.6f},{:.6f},{},{:.6f}\n", policy, room.dram, room.ssd,
                           ratio(result.hits, trace.references),
                           ratio(result.dram_hits, trace.references),
                           ratio(result.hit_tokens, trace.input_tokens),
                           result.written * block_bytes, result.seconds);
    out.close();
    if (!out) throw Failure(errno_error(name));
}

Json to_json(const SimulatedTrace& trace, const std::vector<Row>& rows, std::uint64_t block_bytes) {
    Json all = Json::array();
    for (const auto& [policy, room, result] : rows) {
        Json row{{"policy", policy},
                 {"blocks", room.ssd},
                 {"prefix_hit_ratio", ratio(result.hits, trace.references)},
                 {"ssd_bytes_written", result.written * block_bytes},
                 {"seconds", result.seconds}};
        if (room.dram > 0) {
            row["dram_blocks"] = room.dram;
            row["dram_hit_ratio"] = ratio(result.dram_hits, trace.references);
        }
        all.push_back(std::move(row));
    }
    return all;
}

void draw(const SimulatedTrace& trace, const std::vector<Row>& rows, const std::string& file) {
    Curves curves{.title = "Prefix hits under eviction policies",
                  .x = "blocks of room",
                  .y = "blocks hit, %",
                  .lines = {}};
    for (const auto& [policy, room, result] : rows)
        curves.lines[policy].emplace_back(static_cast<double>(room.dram + room.ssd),
                                          100 * ratio(result.hits, trace.references));
    if (const Status drawn = plot(curves, file); !drawn) throw Failure(drawn.error().what);
}

int run(const Arguments& arguments, Io& io) {
    const std::uint64_t per_token = arguments.size("bytes-per-token");
    if (per_token == 0) throw UsageError("--bytes-per-token: a token takes some");
    const auto names = policies(arguments);
    if (arguments.has("plot") && !plottable(arguments.get<std::string>("plot")))
        throw UsageError("--plot: give it a name that ends in .png, .svg or .pdf");
    rooms(arguments, 0, 1);  // mistakes are told before a long trace is read
    const SimulatedTrace trace = make_trace(arguments, io);
    const std::uint64_t block_bytes = per_token * trace.block_tokens;
    std::vector<Row> rows;
    for (const Room room : rooms(arguments, trace.blocks(), block_bytes))
        for (const std::string& name : names)
            rows.push_back({name, room, simulate(trace, name, room)});
    if (arguments.has("csv"))
        write_csv(trace, rows, block_bytes, arguments.get<std::string>("csv"));
    if (arguments.has("plot")) draw(trace, rows, arguments.get<std::string>("plot"));
    if (arguments.flag("json"))
        io.out << to_json(trace, rows, block_bytes).dump(2) << '\n';
    else
        print_table(trace, rows, block_bytes, io.out);
    return kSuccess;
}

}  // namespace

const Verb simulate_verb{"simulate", "TRACE... [--policy NAME,...] [--blocks N,...]",
                         "Runs the tiers' eviction policies on a trace, without any I/O", options,
                         run};

}  // namespace kvfs
