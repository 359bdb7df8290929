#include <fmt/format.h>

#include <ostream>

#include "fs/base/size.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// A value as people read it, by the unit at the end of its key.
std::string readable(const std::string& key, const Json& value) {
    if (value.is_number() && key.find("bytes") != std::string::npos)
        return format_size(value.get<std::uint64_t>());
    if (value.is_number_unsigned()) return format_count(value.get<std::uint64_t>());
    if (value.is_number() && key.ends_with("_s")) return format_age(value.get<double>());
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
    if (value.is_string()) return value.get<std::string>();
    return value.dump();
}

/// "dram_read_bytes" -> "dram read"; the unit is in the value.
std::string label(std::string key) {
    for (const std::string_view unit : {"_bytes", "_s"})
        if (key.size() > unit.size() && key.ends_with(unit)) {
            key.resize(key.size() - unit.size());
            break;
        }
    for (char& c : key)
        if (c == '_') c = ' ';
    return key;
}

void print_section(const char* title, const Json& values, std::ostream& out) {
    out << '\n' << title << '\n';
    for (const auto& [key, value] : values.items())
        if (!value.is_structured())
            out << fmt::format("  {:<18} {}\n", label(key), readable(key, value));
}

double share(const Json& counters, const char* part, const char* rest) {
    const auto counted = static_cast<double>(number_of(counters, part));
    const auto others = static_cast<double>(number_of(counters, rest));
    return counted + others > 0 ? counted / (counted + others) : 0;
}

void print_text(const Json& statistics, std::ostream& out) {
    out << "kvfs " << statistics.value("version", "?") << ", up "
        << format_age(statistics.value("uptime_s", 0.0));
    if (statistics.contains("mount")) out << ", mounted at " << statistics.value("mount", "");
    out << '\n';
    for (const auto& [key, value] : statistics.items())
        if (!value.is_structured() && key != "version" && key != "uptime_s" && key != "mount")
            out << fmt::format("  {:<18} {}\n", label(key), readable(key, value));
    for (const auto& [key, value] : statistics.items()) {
        if (value.is_object()) print_section(key.c_str(), value, out);
        if (!value.is_array()) continue;
        for (const Json& element : value) {
            const std::string title =
                (key == "volumes" ? "volume " : "tier ") + element.value("name", "?");
            Json rest = element;
            rest.erase("name");
            print_section(title.c_str(), rest, out);
        }
    }
    const auto counters = statistics.find("counters");
    if (counters != statistics.end())
        out << fmt::format("\n{:.1f} % of hits and {:.1f} % of bytes read came from DRAM\n",
                           100 * share(*counters, "dram_hits", "store_hits"),
                           100 * share(*counters, "dram_read_bytes", "store_read_bytes"));
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("socket", po::value<std::string>()->value_name("PATH"),
         "ask the daemon at this socket, instead of through a mount")  //
        ("json", po::bool_switch(), "the daemon's statistics as they are, JSON");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    const bool by_socket = arguments.has("socket");
    if (arguments.operands.size() != (by_socket ? 0U : 1U))
        throw UsageError("give one MOUNT, or --socket PATH");
    const Result<Json> statistics = by_socket
                                        ? socket_statistics(arguments.get<std::string>("socket"))
                                        : mount_statistics(arguments.operands.front());
    if (!statistics) throw Failure(statistics.error());
    if (arguments.flag("json"))
        io.out << statistics->dump(2) << '\n';
    else
        print_text(*statistics, io.out);
    return kSuccess;
}

}  // namespace

const Verb stat_verb{"stat", "[--json] MOUNT | --socket PATH",
                     "Tells all that the daemon counts: tiers, hits, bytes moved, errors", options,
                     run};

}  // namespace kvfs
