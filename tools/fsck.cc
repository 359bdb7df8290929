// Names against objects, of SSD directories that no daemon uses.
#include <sys/stat.h>

#include <fstream>
#include <optional>
#include <ostream>
#include <utility>

#include "fs/base/log.h"
#include "fs/base/size.h"
#include "fs/files/check.h"
#include "fs/files/rebuild.h"
#include "fs/store/ssd_spec.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// The directories could not be looked at: in use, not there, not kvfs's.
constexpr int kUnchecked = 3;
constexpr const char* kDefaultConfig = "/etc/kvfs/kvfs.conf";

struct Unchecked : std::runtime_error {
    using std::runtime_error::runtime_error;
    explicit Unchecked(const Error& error)
        : std::runtime_error(error.what.empty() ? error.message() : error.what) {}
};

/// The values of `ssd` in kvfs.conf; its other keys are the daemon's business.
std::vector<std::string> ssds_of_config(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw Unchecked(path + ": no --ssd given, and this cannot be read");
    po::options_description keys;
    keys.add_options()("ssd", po::value<std::vector<std::string>>()->composing());
    po::variables_map values;
    po::store(po::parse_config_file(file, keys, true), values);
    if (values.count("ssd") == 0) throw UsageError(path + " has no ssd = DIR");
    return values["ssd"].as<std::vector<std::string>>();
}

/// What is to be checked, locked against daemons.
struct Tiers {
    std::vector<std::unique_ptr<ObjectStore>> stores;
    std::string names_directory;
    std::unique_ptr<Namespace> names;
    std::string why_lost{};  ///< set: there are no names that can be trusted
};

bool has_names(const std::string& directory) {
    struct stat data {};
    return ::stat((directory + "/names/data.mdb").c_str(), &data) == 0;
}

Tiers open_stores(const std::vector<std::string>& specs) {
    Tiers tiers;
    std::vector<std::string> directories;
    for (const std::string& spec : specs) {
        auto options = parse_ssd_spec(spec);
        if (!options) throw UsageError("--ssd " + spec + ": " + options.error().what);
        options->as_found = true;
        auto store = SsdStore::open(*options);
        if (!store && store.error().code == EBUSY)
            throw Unchecked(options->directory + ": a kvfsd uses it: stop that first");
        if (!store) throw Unchecked(store.error());
        tiers.stores.push_back(*std::move(store));
        directories.push_back(options->directory);
    }
    tiers.names_directory = directories.front() + "/names";
    if (!has_names(directories.front()))
        for (const std::string& directory : directories)
            if (has_names(directory))
                throw Unchecked("the names are in " + directory +
                                ": give the directories in kvfsd's order");
    return tiers;
}

/// Opens the names; `why_lost` and no names when they are not to be trusted.
void open_names(Tiers& tiers, bool repair, bool start_over) {
    Namespace::Options options{.directory = tiers.names_directory, .read_only = true};
    auto names = Namespace::open(options);
    if (!names && names.error().code == ENOENT)
        tiers.why_lost = "there are none";
    else if (!names && names.error().code == EBADMSG)
        tiers.why_lost = names.error().what;
    else if (!names)
        throw Unchecked(names.error());
    if (repair) {
        if (names) names->reset();
        options.read_only = false;
        options.start_over = start_over || !tiers.why_lost.empty();
        names = Namespace::open(options);
        if (!names) throw Unchecked(names.error());
    }
    if (names) tiers.names = *std::move(names);
}

class Report {
  public:
    Report(Io& io, bool json, bool repair) : io_(io), json_(json), repair_(repair) {}

    void add(const Finding& finding) {
        if (!json_) {
            io_.out << finding.subject << ": " << finding.what << " [" << outcome(finding) << "]\n";
            return;
        }
        Json line{{"subject", finding.subject},
                  {"what", finding.what},
                  {"remedy", finding.remedy},
                  {"repaired", finding.repaired}};
        if (!finding.failure.empty()) line["failure"] = finding.failure;
        findings_.push_back(std::move(line));
    }

    void end(const CheckReport& checked, const Rebuilt* rebuilt) {
        if (json_) {
            Json all{{"findings", std::move(findings_)},         {"files", checked.files},
                     {"directories", checked.directories},       {"objects", checked.objects},
                     {"verified_bytes", checked.verified_bytes}, {"left", checked.left},
                     {"older_labels", checked.older_labels}};
            if (rebuilt != nullptr)
                all["rebuilt"] = {{"files", rebuilt->files},
                                  {"replaced", rebuilt->replaced},
                                  {"unreadable", rebuilt->unreadable}};
            io_.out << all.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
            return;
        }
        if (rebuilt != nullptr)
            io_.out << "names were made anew: " << format_count(rebuilt->files)
                    << " files are back; removed " << format_count(rebuilt->replaced)
                    << " objects of replaced files and " << format_count(rebuilt->unreadable)
                    << " that are not whole\n";
        io_.out << format_count(checked.files) << " files in " << format_count(checked.directories)
                << " directories, " << format_count(checked.objects) << " objects";
        if (checked.verified_bytes > 0)
            io_.out << ", " << format_size(checked.verified_bytes) << " verified";
        io_.out << ": " << format_count(checked.findings) << " findings, "
                << format_count(checked.left) << " left\n";
        if (checked.older_labels > 0)
            io_.out << format_count(checked.older_labels)
                    << (checked.older_labels == 1 ? " object is" : " objects are")
                    << " labelled with what a directory was called before it was renamed ["
                    << (repair_ ? "labelled anew" : "--repair would label them anew") << "]\n";
    }

  private:
    std::string outcome(const Finding& finding) const {
        if (finding.remedy.empty()) return "left";
        if (!repair_) return "--repair would " + finding.remedy;
        if (finding.repaired) return "repaired: " + finding.remedy;
        return "not repaired: " + finding.failure;
    }

    Io& io_;
    bool json_;
    bool repair_;
    Json findings_ = Json::array();
};

Rebuilt rebuild(Tiers& tiers) {
    const auto rebuilt = rebuild_names(*tiers.names, tiers.stores);
    if (!rebuilt) throw Unchecked(rebuilt.error().message());
    if (Status finished = tiers.names->finish_rebuild(); !finished)
        throw Unchecked(finished.error().message());
    return *rebuilt;
}

int check(const Arguments& arguments, Io& io) {
    const bool start_over = arguments.flag("rebuild");
    const bool repair = start_over || arguments.flag("repair");
    Tiers tiers =
        open_stores(arguments.has("ssd") ? arguments.get<std::vector<std::string>>("ssd")
                                         : ssds_of_config(arguments.has("config")
                                                              ? arguments.get<std::string>("config")
                                                              : std::string(kDefaultConfig)));
    open_names(tiers, repair, start_over);
    Report report(io, arguments.flag("json"), repair);
    CheckReport checked;
    if (!tiers.why_lost.empty() && !start_over) {
        report.add({.subject = "names",
                    .what = "cannot be trusted: " + tiers.why_lost,
                    .remedy = "rebuild them from the objects",
                    .repaired = repair});
        ++checked.findings;
        if (!repair) ++checked.left;
    }
    std::optional<Rebuilt> rebuilt;
    if (repair && tiers.names->needs_rebuild()) rebuilt = rebuild(tiers);
    if (tiers.names != nullptr) {
        const auto found = check_tiers(*tiers.names, tiers.stores,
                                       {.repair = repair, .verify = arguments.flag("verify")},
                                       [&](const Finding& finding) { report.add(finding); });
        if (!found) throw Unchecked(found.error().message());
        const CheckReport before = std::exchange(checked, *found);
        checked.findings += before.findings;
        checked.left += before.left;
    }
    if (repair)
        if (Status closed = tiers.names->close_clean(); !closed)
            throw Unchecked(closed.error().message());
    report.end(checked, rebuilt ? &*rebuilt : nullptr);
    return checked.left == 0 ? kSuccess : kFailed;
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("ssd", po::value<std::vector<std::string>>()->composing()->value_name("DIR"),
         "an SSD directory of kvfsd; all of them, in kvfsd's order")  //
        ("config", po::value<std::string>()->value_name("FILE"),
         "take them from this file (default: /etc/kvfs/kvfs.conf)")                              //
        ("repair", po::bool_switch(), "do what each finding says; without, nothing is changed")  //
        ("verify", po::bool_switch(), "read every object, and hold it against its checksums")    //
        ("rebuild", po::bool_switch(),
         "forget all names, and make them anew from the objects; "
         "then as --repair")  //
        ("json", po::bool_switch(), "one JSON document");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (!arguments.operands.empty())
        throw UsageError("no operand is expected: '" + arguments.operands.front() + "'");
    static_cast<void>(set_up_log("kvfs", "error"));
    try {
        return check(arguments, io);
    } catch (const Unchecked& error) {
        complain(io, "fsck", error.what());
        return kUnchecked;
    }
}

}  // namespace

const Verb fsck_verb{"fsck", "[--repair] [--verify] [--rebuild] [--ssd DIR]... [--config FILE]",
                     "Checks SSD directories that no kvfsd uses, and repairs them", options, run};

}  // namespace kvfs
