#include <ostream>

#include "fs/base/size.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// The tiers of the statistics, each with what is free and the use in percent.
Json tiers_of(const Json& statistics) {
    Json tiers = Json::array();
    const auto listed = statistics.find("tiers");
    if (listed == statistics.end() || !listed->is_array()) return tiers;
    for (const Json& tier : *listed) {
        const std::uint64_t capacity = number_of(tier, "capacity_bytes");
        const std::uint64_t used = number_of(tier, "used_bytes");
        Json line = tier;
        line["free_bytes"] = capacity > used ? capacity - used : 0;
        line["used_percent"] =
            capacity == 0 ? 0.0 : 100.0 * static_cast<double>(used) / static_cast<double>(capacity);
        tiers.push_back(std::move(line));
    }
    return tiers;
}

std::string state_of(const Json& tier) {
    std::string state = !tier.value("draining", false)  ? ""
                        : number_of(tier, "files") == 0 ? "drained"
                                                        : "draining";
    if (tier.value("degraded", false))
        state += (state.empty() ? "degraded: " : ", degraded: ") +
                 tier.value("degraded_reason", std::string("?"));
    return state.empty() ? "ok" : state;
}

/// Volumes with a quota, as the tiers they have a share of.
void add_volumes(const Json& volumes, Table& table) {
    for (const Json& volume : volumes) {
        const auto used = number_of(volume, "used_bytes"),
                   soft = number_of(volume, "soft_quota_bytes"),
                   hard = number_of(volume, "hard_quota_bytes");
        const auto quota = hard != 0 ? hard : soft;
        const std::string state = hard != 0 && used > hard   ? "over its hard quota"
                                  : soft != 0 && used > soft ? "over its soft quota"
                                                             : "ok";
        table.add({"  volume " + volume.value("name", "?"), format_size(quota), format_size(used),
                   format_size(quota > used ? quota - used : 0),
                   format_percent(static_cast<double>(used), static_cast<double>(quota)), "-",
                   state});
    }
}

void add_rows(const Json& mount, Table& table) {
    table.add_heading(mount.value("mount", ""));
    for (const Json& tier : mount["tiers"]) {
        const auto used = number_of(tier, "used_bytes"),
                   capacity = number_of(tier, "capacity_bytes");
        table.add({"  " + tier.value("name", "?"), format_size(capacity), format_size(used),
                   format_size(number_of(tier, "free_bytes")),
                   format_percent(static_cast<double>(used), static_cast<double>(capacity)),
                   format_count(number_of(tier, "files")), state_of(tier)});
    }
    if (mount.contains("volumes")) add_volumes(mount["volumes"], table);
    const auto names = mount.find("names");
    if (names == mount.end()) return;
    table.add_heading("  names: " + format_count(number_of(*names, "files")) + " files in " +
                      format_count(number_of(*names, "directories")) + " directories, " +
                      format_size(number_of(*names, "bytes_on_disk")) + " on disk");
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()("json", po::bool_switch(), "one JSON document");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (arguments.operands.empty()) throw UsageError("no MOUNT given");
    Json mounts = Json::array();
    int code = kSuccess;
    for (const std::string& path : arguments.operands) {
        const Result<Json> statistics = mount_statistics(path);
        if (!statistics) {
            complain(io, "df", statistics.error());
            code = kFailed;
            continue;
        }
        Json mount{{"mount", statistics->value("mount", path)}, {"tiers", tiers_of(*statistics)}};
        for (const char* part : {"volumes", "names"})
            if (statistics->contains(part)) mount[part] = (*statistics)[part];
        mounts.push_back(std::move(mount));
    }
    if (arguments.flag("json")) {
        io.out << Json{{"mounts", std::move(mounts)}}.dump(2) << '\n';
        return code;
    }
    using enum Table::Align;
    Table table(
        {{"TIER", kLeft}, {"CAPACITY"}, {"USED"}, {"FREE"}, {"USE"}, {"FILES"}, {"STATE", kLeft}});
    for (const Json& mount : mounts) add_rows(mount, table);
    if (!table.empty()) table.print(io.out);
    return code;
}

}  // namespace

const Verb df_verb{"df", "[--json] MOUNT...",
                   "Shows the use of each tier, and of each volume with a quota", options, run};

}  // namespace kvfs
