#include <sys/stat.h>

#include <ctime>
#include <ostream>

#include "fs/base/clock.h"
#include "fs/base/size.h"
#include "tools/cache_file.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

struct Totals {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::uint64_t pinned = 0;
    std::map<std::string, std::uint64_t> by_tier;

    void add(const CacheFile& file) {
        if (file.is_directory()) return;
        ++files;
        bytes += file.size;
        pinned += file.pinned ? 1 : 0;
        for (const auto& [tier, tier_bytes] : file.bytes_by_tier()) by_tier[tier] += tier_bytes;
    }
};

/// What is listed, and how it went: a bad operand does not keep the others from being shown.
class Listing {
  public:
    Listing(Io& io, bool recursive) : io_(io), recursive_(recursive) {}

    struct Section {
        std::string directory;  ///< "" for operands that are files
        std::vector<CacheFile> entries;
    };

    void add_operand(const std::string& path) {
        const Result<Mount> mount = find_mount(path);
        if (!mount) return fail(mount.error());
        Result<CacheFile> file = look_at(path);
        if (!file) return fail(file.error());
        if (file->is_directory()) return add_directory(path);
        file->name = path;
        loose_.entries.push_back(*file);
        totals_.add(*file);
    }

    std::vector<Section> sections() const {
        std::vector<Section> all;
        if (!loose_.entries.empty()) all.push_back(loose_);
        all.insert(all.end(), directories_.begin(), directories_.end());
        return all;
    }
    const Totals& totals() const { return totals_; }
    int exit_code() const { return failed_ ? kFailed : kSuccess; }

  private:
    void add_directory(const std::string& path) {
        const Result<std::vector<std::string>> names = list_directory(path);
        if (!names) return fail(names.error());
        Section section{path, {}};
        for (const std::string& name : *names) {
            const Result<CacheFile> file = look_at(join(path, name));
            if (file) {
                section.entries.push_back(*file);
                totals_.add(*file);
            } else if (file.error().code != ENOENT) {  // else evicted between readdir and now
                fail(file.error());
            }
        }
        directories_.push_back(section);
        if (!recursive_) return;
        for (const CacheFile& file : section.entries)
            if (file.is_directory()) add_directory(file.path);
    }

    void fail(const Error& error) {
        failed_ = true;
        complain(io_, "ls", error);
    }

    Io& io_;
    bool recursive_;
    bool failed_ = false;
    Section loose_;
    std::vector<Section> directories_;
    Totals totals_;
};

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
    return text;
}

Json json_of(const CacheFile& file) {
    Json json{{"path", file.path}, {"type", kind_name(file.kind)}};
    if (file.kind == CacheFile::Kind::kFile) {
        json["size_bytes"] = file.size;
        json["tiers"] = file.tiers;
        json["dram_bytes"] = file.dram_bytes;
        json["hits"] = file.hits;
        json["pinned"] = file.pinned;
    }
    json["accessed_s"] = file.accessed_s;
    json["modified_s"] = file.modified_s;
    return json;
}

void print_json(const Listing& listing, std::ostream& out) {
    Json entries = Json::array();
    for (const Listing::Section& section : listing.sections())
        for (const CacheFile& file : section.entries) entries.push_back(json_of(file));
    const Totals& totals = listing.totals();
    Json document{{"entries", std::move(entries)},
                  {"totals",
                   {{"files", totals.files},
                    {"size_bytes", totals.bytes},
                    {"pinned", totals.pinned},
                    {"tiers", Json(totals.by_tier)}}}};
    out << document.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

void print_totals(const Totals& totals, std::ostream& out) {
    out << format_count(totals.files) << (totals.files == 1 ? " file, " : " files, ")
        << format_size(totals.bytes);
    for (const auto& [tier, bytes] : totals.by_tier)
        out << "; " << tier << ' ' << format_size(bytes);
    if (totals.pinned > 0) out << "; " << format_count(totals.pinned) << " pinned";
    out << '\n';
}

void print_long(const std::vector<CacheFile>& entries, std::ostream& out) {
    using enum Table::Align;
    Table table({{"SIZE"},
                 {"TIERS", kLeft},
                 {"IN DRAM"},
                 {"HITS"},
                 {"USED"},
                 {"PIN", kLeft},
                 {"NAME", kLeft}});
    const double now_s = static_cast<double>(wall_ns()) / 1e9;
    for (const CacheFile& file : entries) {
        const std::string age = format_age(now_s - file.accessed_s);
        if (file.kind == CacheFile::Kind::kFile)
            table.add({format_size(file.size), joined(file.tiers), format_size(file.dram_bytes),
                       format_count(file.hits), age, file.pinned ? "pin" : "", file.name});
        else
            table.add({"-", "", "", "", age, "", file.name + (file.is_directory() ? "/" : "")});
    }
    table.print(out);
}

void print_text(const Listing& listing, bool long_form, std::ostream& out) {
    const std::vector<Listing::Section> sections = listing.sections();
    bool first = true;
    for (const Listing::Section& section : sections) {
        if (!first) out << '\n';
        first = false;
        if (sections.size() > 1 && !section.directory.empty()) out << section.directory << ":\n";
        if (long_form && !section.entries.empty()) print_long(section.entries, out);
        if (long_form) continue;
        for (const CacheFile& file : section.entries)
            out << file.name << (file.is_directory() ? "/" : "") << '\n';
    }
    if (!long_form) return;
    if (!sections.empty()) out << '\n';
    print_totals(listing.totals(), out);
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("long,l", po::bool_switch(),
         "size, tiers, bytes in DRAM, hits, time since last use, pin; and totals")  //
        ("recursive,R", po::bool_switch(), "directories in directories, too")       //
        ("json", po::bool_switch(), "one JSON document");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (arguments.operands.empty()) throw UsageError("no PATH given");
    Listing listing(io, arguments.flag("recursive"));
    for (const std::string& path : arguments.operands) listing.add_operand(path);
    if (arguments.flag("json"))
        print_json(listing, io.out);
    else if (listing.exit_code() == kSuccess || !listing.sections().empty())
        print_text(listing, arguments.flag("long"), io.out);
    return listing.exit_code();
}

}  // namespace

const Verb ls_verb{"ls", "[-l] [-R] [--json] PATH...",
                   "Lists cache files in KV terms: tiers, hits, time since last use", options, run};

}  // namespace kvfs
