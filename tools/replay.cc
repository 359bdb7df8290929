#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "tools/mount.h"
#include "tools/replay_report.h"
#include "tools/replay_run.h"
#include "tools/verb.h"
#include "tools/workload.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kGeneratedRequests = 500;
constexpr std::uint64_t kBlockBytesMax = 1ULL << 30;

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("socket", po::value<std::string>()->value_name("PATH"),
         "the daemon's socket (default: gpumap's)")  //
        ("mount", po::value<std::string>()->value_name("DIR"),
         "the daemon's mount; --posix needs it, else it is another way to name the daemon")  //
        ("posix", po::bool_switch(),
         "load and save through the mount (open, read, write, rename), not through gpumap")  //
        ("backend", po::value<std::string>()->default_value("auto")->value_name("NAME"),
         "gpumap's: auto, host or cuda")  //
        ("directory", po::value<std::string>()->default_value("replay")->value_name("NAME"),
         "of the block files, below the mount's root")  //
        ("bytes-per-token", po::value<std::string>()->default_value("2KiB")->value_name("SIZE"),
         "KV bytes of a token; a block has 512 of them")  //
        ("limit", po::value<std::uint64_t>()->default_value(0)->value_name("N"),
         "replay the first N requests only (0: all)")  //
        ("generate", po::value<std::uint64_t>()->value_name("N"),
         "make N requests of multi-turn conversations (default without a TRACE: 500)")  //
        ("seed", po::value<std::uint64_t>()->default_value(1)->value_name("N"),
         "of the generated requests")  //
        ("time-scale", po::value<double>()->default_value(0)->value_name("X"),
         "X times the trace's own pace: 1 as recorded, 60 an hour a minute (0: no waiting)")  //
        ("concurrency", po::value<unsigned>()->default_value(1)->value_name("N"),
         "requests under way at a time")  //
        ("json", po::bool_switch(), "the report as JSON");
    return options;
}

std::uint64_t block_bytes(const Arguments& arguments) {
    const std::uint64_t per_token = arguments.size("bytes-per-token");
    if (per_token == 0 || per_token > kBlockBytesMax / kBlockTokens)
        throw UsageError("--bytes-per-token: must be 1 to 2MiB");
    return per_token * kBlockTokens;
}

std::string directory(const Arguments& arguments) {
    const auto& name = arguments.get<std::string>("directory");
    if (name.empty() || name.starts_with('/') || ("/" + name + "/").find("/../") != name.npos)
        throw UsageError("--directory: must be a path below the mount's root");
    return name;
}

std::vector<TraceRequest> read_requests(const Arguments& arguments, std::istream& standard_input) {
    const std::string& name = arguments.operands.front();
    std::ifstream file;
    if (name != "-") {
        if (std::filesystem::is_directory(name)) throw Failure(Error{EISDIR, name});
        file.open(name);
        if (!file) throw Failure(errno_error(name));
    }
    Result<std::vector<TraceRequest>> requests = read_trace(
        name == "-" ? standard_input : file, name, arguments.get<std::uint64_t>("limit"));
    if (!requests)
        throw Failure(requests.error().code == EBADMSG ? requests.error().what
                                                       : sentence(requests.error()));
    return std::move(*requests);
}

struct Source {
    std::string name;
    std::vector<TraceRequest> requests;
};

Source make_source(const Arguments& arguments, Io& io) {
    if (arguments.operands.size() > 1) throw UsageError("more than one TRACE");
    if (!arguments.operands.empty()) {
        if (arguments.has("generate")) throw UsageError("either a TRACE or --generate");
        return {arguments.operands.front(), read_requests(arguments, io.in)};
    }
    WorkloadOptions workload;
    workload.requests =
        arguments.has("generate") ? arguments.get<std::uint64_t>("generate") : kGeneratedRequests;
    workload.seed = arguments.get<std::uint64_t>("seed");
    const auto limit = arguments.get<std::uint64_t>("limit");
    if (limit > 0) workload.requests = std::min(workload.requests, limit);
    return {"generated conversations, seed " + std::to_string(workload.seed),
            generate_workload(workload)};
}

/// Where the statistics come from, and the lanes.
struct Target {
    std::string mount;   ///< root of the mount, "" when only the socket is known
    std::string socket;  ///< or the mount's directory, which gpumap takes as well

    Json statistics() const {
        const Result<Json> read =
            mount.empty() ? socket_statistics(socket) : mount_statistics(mount);
        if (!read) throw Failure(read.error());
        return *read;
    }
};

Target make_target(const Arguments& arguments) {
    Target target;
    if (arguments.has("mount")) {
        const Result<Mount> mount = find_mount(arguments.get<std::string>("mount"));
        if (!mount) throw Failure(mount.error());
        target.mount = mount->path;
        target.socket = mount->path;
    } else if (arguments.flag("posix")) {
        throw UsageError("--posix needs --mount DIR");
    }
    if (arguments.has("socket")) target.socket = arguments.get<std::string>("socket");
    return target;
}

LaneFactory make_lanes(const Arguments& arguments, const Target& target) {
    const LaneOptions options{directory(arguments), block_bytes(arguments)};
    if (arguments.flag("posix")) return posix_lanes(options, target.mount);
    const Result<LaneFactory> lanes =
        mapper_lanes(options, target.socket, arguments.get<std::string>("backend"));
    if (lanes) return *lanes;
    if (lanes.error().code == EINVAL) throw UsageError(lanes.error().what);
    throw Failure(lanes.error());
}

int run(const Arguments& arguments, Io& io) {
    ReplayPlan plan;
    plan.block_bytes = block_bytes(arguments);
    plan.concurrency = arguments.get<unsigned>("concurrency");
    plan.speed = arguments.get<double>("time-scale");
    if (plan.concurrency < 1 || plan.concurrency > 256)
        throw UsageError("--concurrency: must be 1 to 256");
    if (!(plan.speed >= 0)) throw UsageError("--time-scale: must not be negative");
    const Target target = make_target(arguments);
    const LaneFactory lanes = make_lanes(arguments, target);
    Source source = make_source(arguments, io);
    plan.requests = std::move(source.requests);

    const Json before = target.statistics();
    const bool on_terminal = &io.err == &std::cerr && ::isatty(STDERR_FILENO) == 1;
    ProgressLine line(io.err, on_terminal, plan);
    const Result<ReplayResult> result =
        run_replay(plan, lanes, [&](const ReplayResult& so_far) { line.show(so_far); });
    line.end();
    if (!result) throw Failure(result.error());

    const Json report =
        make_replay_report(source.name, arguments.flag("posix") ? "mount" : "mapper", plan, *result,
                           statistics_difference(before, target.statistics()));
    if (arguments.flag("json"))
        io.out << report.dump(2) << '\n';
    else
        print_replay_report(report, io.out);
    if (result->counts.mismatches == 0) return kSuccess;
    complain(io, "replay",
             std::to_string(result->counts.mismatches) +
                 " blocks did not have the bytes they were saved with; the first: " +
                 result->counts.first_mismatch);
    return kFailed;
}

}  // namespace

const Verb replay_verb{
    "replay", "[TRACE | --generate N] [--socket PATH | --mount DIR [--posix]] [OPTION...]",
    "Replays the KV cache traffic of an LLM service, and verifies every byte", options, run};

}  // namespace kvfs
