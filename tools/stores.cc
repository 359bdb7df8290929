// Verbs that change a running daemon's SSD directories: one is added, one is emptied.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <ostream>
#include <thread>

#include "fs/base/size.h"
#include "fs/base/split.h"
#include "fs/store/ssd_spec.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// As the daemon names it, which may be gone from the file system.
std::string canonical(const std::string& directory) {
    std::error_code error;
    const auto path = std::filesystem::weakly_canonical(directory, error);
    return error ? directory : path.string();
}

/// The daemon that --socket or the first operand names; it takes that off the operands.
Daemon daemon_of(const Arguments& arguments, std::vector<std::string>& operands) {
    if (arguments.has("socket")) return Daemon::at_socket(arguments.get<std::string>("socket"));
    if (operands.empty()) throw UsageError("give a MOUNT, or --socket PATH");
    const Result<Daemon> daemon = Daemon::at_mount(operands.front());
    if (!daemon) throw Failure(daemon.error());
    operands.erase(operands.begin());
    return *daemon;
}

void set(const Daemon& daemon, const char* key, const std::string& value) {
    if (const Status done = daemon.set(key, value); !done) throw Failure(done.error());
}

/// The tier in `directory`, as the statistics have it.
Json tier_in(const Daemon& daemon, const std::string& directory) {
    const Result<Json> statistics = daemon.statistics();
    if (!statistics) throw Failure(statistics.error());
    for (const Json& tier : (*statistics)["tiers"])
        if (tier.value("name", "") == "ssd:" + directory) return tier;
    throw Failure(directory + ": no SSD directory of this daemon");
}

void watch(const Daemon& daemon, const std::string& directory, Io& io) {
    constexpr auto kEvery = std::chrono::milliseconds(200);
    std::string last;
    for (;;) {
        const Json tier = tier_in(daemon, directory);
        if (number_of(tier, "files") == 0) break;
        if (!tier.value("draining", false))
            throw Failure(directory + ": is no longer being drained");
        std::string left = fmt::format("{} files, {} left", format_count(number_of(tier, "files")),
                                       format_size(number_of(tier, "used_bytes")));
        if (tier.value("degraded", false))
            left += " (degraded: " + tier.value("degraded_reason", "") + ")";
        if (left != last) io.err << "kvfs: drain: " << left << std::endl;
        last = std::move(left);
        std::this_thread::sleep_for(kEvery);
    }
    io.out << directory << ": drained\n";
}

po::options_description socket_option() {
    po::options_description options("Options");
    options.add_options()("socket", po::value<std::string>()->value_name("PATH"),
                          "the daemon at this socket, instead of MOUNT");
    return options;
}

po::options_description draining() {
    po::options_description options = socket_option();
    options.add_options()                                                               //
        ("stop", po::bool_switch(), "drain none of the daemon's directories any more")  //
        ("no-wait", po::bool_switch(), "return at once; `kvfs stat` tells how far it is");
    return options;
}

int drain(const Arguments& arguments, Io& io) {
    std::vector<std::string> operands = arguments.operands;
    const bool stop = arguments.flag("stop");
    const std::size_t wanted = (arguments.has("socket") ? 0 : 1) + (stop ? 0 : 1);
    if (operands.size() != wanted)
        throw UsageError(stop ? "give one MOUNT, or --socket PATH" : "give MOUNT and DIR");
    const Daemon daemon = daemon_of(arguments, operands);
    if (stop) {
        set(daemon, "drain", "");
        return kSuccess;
    }
    const std::string directory = canonical(operands.front());
    static_cast<void>(tier_in(daemon, directory));
    set(daemon, "drain", directory);
    if (!arguments.flag("no-wait")) watch(daemon, directory, io);
    return kSuccess;
}

/// `spec` with its directory made absolute: the daemon has another working directory.
std::string absolute(const std::string& spec) {
    if (const auto parsed = parse_ssd_spec(spec); !parsed)
        throw UsageError(spec + ": " + parsed.error().what);
    auto parts = split_at_commas(spec);
    std::string all;
    for (const char c : canonical(parts.front())) all.append(c == ',' ? "\\," : std::string(1, c));
    for (std::size_t i = 1; i < parts.size(); ++i) all += "," + parts[i];
    return all;
}

int add(const Arguments& arguments, Io& io) {
    std::vector<std::string> operands = arguments.operands;
    if (operands.size() != (arguments.has("socket") ? 1U : 2U))
        throw UsageError("give MOUNT and DIR[,size=SIZE]");
    const std::string spec = absolute(operands.back());
    const Daemon daemon = daemon_of(arguments, operands);
    set(daemon, "ssd", spec);
    const std::string directory = split_at_commas(spec).front();
    const Json tier = tier_in(daemon, directory);
    io.out << fmt::format("{}: added, {}, holds {} files\n", directory,
                          format_size(number_of(tier, "capacity_bytes")),
                          format_count(number_of(tier, "files")));
    io.err << "kvfs: add: give kvfsd --ssd " << spec
           << " (or a line ssd = in its configuration) from its next start on, too\n";
    return kSuccess;
}

}  // namespace

const Verb add_verb{"add", "MOUNT DIR[,size=SIZE]", "Gives a running daemon one more SSD directory",
                    socket_option, add};
const Verb drain_verb{"drain", "[--no-wait] MOUNT DIR | --stop MOUNT",
                      "Moves all files out of an SSD directory, while the daemon serves", draining,
                      drain};

}  // namespace kvfs
