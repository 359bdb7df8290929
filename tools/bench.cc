#include "tools/bench.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <ostream>
#include <thread>

#include "tools/bench_machine.h"
#include "tools/table.h"

namespace kvfs {
namespace {

constexpr std::array<Measurement, 13> kMeasurements{{
    {"read", "files in DRAM, read through the mount", measure_reads},
    {"write", "files written through the mount, with create and close", measure_writes},
    {"small", "whole small files through the mount", measure_small_files},
    {"random", "4 KiB here and there of files in DRAM, through the mount", measure_random_reads},
    {"mapper", "files in DRAM, loaded by gpumap into host memory", measure_mapper},
    {"lease", "round trips to the daemon", measure_leases},
    {"names", "names looked up, through the mount and in batches", measure_names},
    {"prompt", "the names of a long prompt, through the mount and in one batch", measure_prompt},
    {"list", "directories listed, and their files looked at", measure_listings},
    {"ssd", "files on SSD only, through the mount and by gpumap", measure_ssd},
    {"storm", "files in DRAM, read while both tiers evict as fast as they can", measure_storm},
    {"scratch", "a file that is rewritten in place, past the page cache", measure_scratch},
    {"scale", "one directory with more and more empty files, after one of 4 KiB files",
     measure_scale, false},
}};

const Measurement* find_measurement(const std::string& name) {
    const auto found = std::find_if(kMeasurements.begin(), kMeasurements.end(),
                                    [&](const Measurement& one) { return one.name == name; });
    return found == kMeasurements.end() ? nullptr : &*found;
}

/// As built they lie side by side, as installed in bin and sbin; else the PATH is asked.
std::string find_daemon() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    for (const auto& candidate : {self / "kvfsd", self.parent_path() / "sbin" / "kvfsd"})
        if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
    return "kvfsd";
}

std::string format_value(double value) {
    if (value >= 1000) return fmt::format("{:.0f}", value);
    return fmt::format("{:.{}f}", value, value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

std::string format_samples(const Samples& samples) {
    if (samples.values.empty()) return "-";
    if (samples.values.size() == 1) return format_value(samples.median());
    return fmt::format("{} ({}-{})", format_value(samples.median()), format_value(samples.min()),
                       format_value(samples.max()));
}

std::string format_goal(const BenchRow& row) {
    const char* outcome = row.meets_goal() ? "met" : "MISSED";
    if (row.goal > 0) return fmt::format(">= {:.2f}x {}", row.goal, outcome);
    if (row.figure_goal > 0)
        return fmt::format("{} {:.2f} {}",
                           row.better == Better::kHigher ? ">=" : "<=", row.figure_goal, outcome);
    return "";
}

void print_rows(const std::vector<BenchRow>& rows, std::ostream& out) {
    using enum Table::Align;
    Table table({{"MEASURED", kLeft},
                 {"UNIT", kLeft},
                 {"KVFS"},
                 {"REFERENCE"},
                 {"", kLeft},
                 {"RATIO"},
                 {"GOAL", kLeft}});
    for (const BenchRow& row : rows) {
        const double ratio = row.ratio();
        table.add({row.name, row.unit, format_samples(row.kvfs), format_samples(row.reference),
                   row.reference_name, ratio > 0 ? fmt::format("{:.2f}", ratio) : "",
                   format_goal(row)});
    }
    table.print(out);
}

Json json_of(const Samples& samples) {
    return {{"median", samples.median()},
            {"min", samples.min()},
            {"max", samples.max()},
            {"samples", samples.values}};
}

Json json_of(const BenchRow& row) {
    Json json{{"name", row.name},
              {"unit", row.unit},
              {"better", row.better == Better::kHigher ? "higher" : "lower"},
              {"kvfs", json_of(row.kvfs)}};
    if (!row.reference.values.empty()) {
        json["reference"] = json_of(row.reference);
        json["reference"]["name"] = row.reference_name;
        json["ratio"] = row.ratio();
    }
    if (row.goal > 0) json["goal"] = row.goal;
    if (row.figure_goal > 0) json["figure_goal"] = row.figure_goal;
    return json;
}

std::vector<const Measurement*> chosen(const Arguments& arguments) {
    std::vector<const Measurement*> measurements;
    if (!arguments.has("only")) {
        for (const Measurement& one : kMeasurements)
            if (one.unasked) measurements.push_back(&one);
        return measurements;
    }
    for (const std::string& name : arguments.get<std::vector<std::string>>("only")) {
        const Measurement* one = find_measurement(name);
        if (one == nullptr) {
            std::string names;
            for (const Measurement& known : kMeasurements) names += std::string(" ") + known.name;
            throw UsageError("--only: no '" + name + "'; there are" + names);
        }
        measurements.push_back(one);
    }
    return measurements;
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("only", po::value<std::vector<std::string>>()->value_name("NAME"),
         "of read, write, small, random, mapper, lease, names, prompt, list, ssd, storm, scratch, "
         "scale; "
         "may be given again")  //
        ("names", po::value<std::uint64_t>()->default_value(1'000'000)->value_name("N"),
         "how many names scale makes in its directory")                                   //
        ("quick", po::bool_switch(), "fewer rounds and bytes: a minute, and more noise")  //
        ("json", po::bool_switch(), "one JSON document, with every sample")               //
        ("ssd", po::value<std::string>()->default_value("/var/tmp")->value_name("DIR"),
         "a directory on the SSD to be measured")  //
        ("kvfsd", po::value<std::string>()->value_name("PATH"),
         "the daemon (default: the one beside this program)");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (!arguments.operands.empty()) throw UsageError("takes no operands");
    const bool json = arguments.flag("json");
    const std::vector<const Measurement*> measurements = chosen(arguments);
    catch_interrupts();
    BenchMachine machine(
        arguments.has("kvfsd") ? arguments.get<std::string>("kvfsd") : find_daemon(),
        arguments.get<std::string>("ssd"));
    std::vector<BenchRow> rows;
    Bench bench{machine, arguments.flag("quick"), arguments.flag("quick") ? 5 : 11,
                arguments.get<std::uint64_t>("names"), rows};
    for (const Measurement* measurement : measurements) {
        io.err << "bench: " << measurement->name << ": " << measurement->what << std::endl;
        measurement->run(bench);
    }
    machine.stop_daemons();
    std::size_t rounds = 0;
    for (const BenchRow& row : rows) rounds = std::max(rounds, row.kvfs.values.size());
    if (json) {
        Json document{{"cpus", std::thread::hardware_concurrency()},
                      {"rounds", rounds},
                      {"rows", Json::array()}};
        for (const BenchRow& row : rows) document["rows"].push_back(json_of(row));
        io.out << document.dump(2) << '\n';
        return kSuccess;
    }
    print_rows(rows, io.out);
    io.out << fmt::format(
        "\n{} on {} CPUs. A ratio says how many\n"
        "times as good as the reference kvfs was, in the median round; compare ratios, not "
        "figures,\n"
        "between machines. A goal with an x is of the ratio, without one of kvfs's own figure.\n",
        rounds > 1 ? fmt::format("Medians of {} rounds (least-most), measured by turns", rounds)
                   : "Single samples, measured one after the other",
        std::thread::hardware_concurrency());
    return kSuccess;
}

}  // namespace

double Samples::median() const {
    if (values.empty()) return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

double Samples::min() const {
    return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}

double Samples::max() const {
    return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

double BenchRow::ratio() const {
    Samples ratios;
    for (std::size_t i = 0; i < std::min(kvfs.values.size(), reference.values.size()); ++i) {
        const double ours = kvfs.values[i], theirs = reference.values[i];
        if (ours > 0 && theirs > 0)
            ratios.values.push_back(better == Better::kHigher ? ours / theirs : theirs / ours);
    }
    return ratios.median();
}

bool BenchRow::meets_goal() const {
    if (goal > 0) return ratio() >= goal;
    if (figure_goal <= 0) return true;
    return better == Better::kHigher ? kvfs.median() >= figure_goal : kvfs.median() <= figure_goal;
}

void Bench::compare(BenchRow row, const std::function<double()>& kvfs,
                    const std::function<double()>& reference) const {
    const auto listed = [](const std::function<double()>& one) {
        return [&one] { return std::vector<double>{one()}; };
    };
    if (reference)
        compare_many({std::move(row)}, listed(kvfs), listed(reference));
    else
        compare_many({std::move(row)}, listed(kvfs), {});
}

void Bench::compare_many(std::vector<BenchRow> batch,
                         const std::function<std::vector<double>()>& kvfs,
                         const std::function<std::vector<double>()>& reference) const {
    const auto sample = [&](const std::function<std::vector<double>()>& side,
                            Samples BenchRow::*samples, bool keep) {
        if (!side) return;
        check_interrupted();
        const std::vector<double> values = side();
        for (std::size_t i = 0; keep && i < batch.size(); ++i)
            (batch[i].*samples).values.push_back(values[i]);
    };
    for (int round = -1; round < rounds; ++round) {
        const bool keep = round >= 0, reference_first = round % 2 != 0;
        if (reference_first) sample(reference, &BenchRow::reference, keep);
        sample(kvfs, &BenchRow::kvfs, keep);
        if (!reference_first) sample(reference, &BenchRow::reference, keep);
    }
    for (BenchRow& row : batch) rows.push_back(std::move(row));
}

const Verb bench_verb{"bench", "[--only NAME]... [--quick] [--names N] [--json] [--ssd DIR]",
                      "Measures kvfs beside what the machine does without it, in the same run",
                      options, run};

}  // namespace kvfs
