#include <map>
#include <ostream>
#include <set>

#include "fs/base/size.h"
#include "tools/cache_file.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

struct Usage {
    std::string path;
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::map<std::string, std::uint64_t> by_tier;

    void add(const CacheFile& file) {
        ++files;
        bytes += file.size;
        for (const auto& [tier, tier_bytes] : file.bytes_by_tier()) by_tier[tier] += tier_bytes;
    }
    void add(const Usage& below) {
        files += below.files;
        bytes += below.bytes;
        for (const auto& [tier, tier_bytes] : below.by_tier) by_tier[tier] += tier_bytes;
    }
};

class Walk {
  public:
    Walk(Io& io, bool summary) : io_(io), summary_(summary) {}

    void add_operand(const std::string& path) {
        const Result<Mount> mount = find_mount(path);
        if (!mount) return fail(mount.error());
        const Result<CacheFile> file = look_at(path);
        if (!file) return fail(file.error());
        if (file->is_directory()) {
            const Usage usage = walk(path);
            if (summary_) usages_.push_back(usage);
            return;
        }
        Usage usage{path, 0, 0, {}};
        usage.add(*file);
        usages_.push_back(usage);
    }

    const std::vector<Usage>& usages() const { return usages_; }
    int exit_code() const { return failed_ ? kFailed : kSuccess; }

  private:
    /// What lies in and below `directory`; deepest first, as du(1) has it.
    Usage walk(const std::string& directory) {
        Usage usage{directory, 0, 0, {}};
        const Result<std::vector<std::string>> names = list_directory(directory);
        if (!names) {
            // A directory that went away meanwhile holds nothing.
            if (names.error().code != ENOENT) fail(names.error());
            return usage;
        }
        for (const std::string& name : *names) {
            const Result<CacheFile> file = look_at(join(directory, name));
            if (!file && file.error().code != ENOENT) fail(file.error());
            if (!file) continue;
            if (file->is_directory())
                usage.add(walk(file->path));
            else
                usage.add(*file);
        }
        if (!summary_) usages_.push_back(usage);
        return usage;
    }

    void fail(const Error& error) {
        failed_ = true;
        complain(io_, "du", error);
    }

    Io& io_;
    bool summary_;
    bool failed_ = false;
    std::vector<Usage> usages_;
};

void print_json(const std::vector<Usage>& usages, std::ostream& out) {
    Json directories = Json::array();
    for (const Usage& usage : usages)
        directories.push_back({{"path", usage.path},
                               {"files", usage.files},
                               {"size_bytes", usage.bytes},
                               {"tiers", Json(usage.by_tier)}});
    out << Json{{"directories", std::move(directories)}}.dump(2, ' ', false,
                                                              Json::error_handler_t::replace)
        << '\n';
}

void print_text(const std::vector<Usage>& usages, std::ostream& out) {
    std::set<std::string> tiers{"dram", "ssd"};
    for (const Usage& usage : usages)
        for (const auto& [tier, bytes] : usage.by_tier) tiers.insert(tier);
    std::vector<Table::Column> columns{{"SIZE"}};
    for (const std::string& tier : tiers)
        columns.push_back({tier == "dram" ? "IN DRAM" : "ON " + tier});
    columns.push_back({"FILES"});
    columns.push_back({"PATH", Table::Align::kLeft});
    Table table(columns);
    for (const Usage& usage : usages) {
        std::vector<std::string> cells{format_size(usage.bytes)};
        for (const std::string& tier : tiers) {
            const auto found = usage.by_tier.find(tier);
            cells.push_back(format_size(found == usage.by_tier.end() ? 0 : found->second));
        }
        cells.push_back(format_count(usage.files));
        cells.push_back(usage.path);
        table.add(std::move(cells));
    }
    table.print(out);
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()                                                //
        ("summarize,s", po::bool_switch(), "only a line for each PATH")  //
        ("json", po::bool_switch(), "one JSON document");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (arguments.operands.empty()) throw UsageError("no PATH given");
    Walk walk(io, arguments.flag("summarize"));
    for (const std::string& path : arguments.operands) walk.add_operand(path);
    if (arguments.flag("json"))
        print_json(walk.usages(), io.out);
    else if (!walk.usages().empty())
        print_text(walk.usages(), io.out);
    return walk.exit_code();
}

}  // namespace

const Verb du_verb{"du", "[-s] [--json] PATH...",
                   "Sums up files by directory, and by tier what they take there", options, run};

}  // namespace kvfs
