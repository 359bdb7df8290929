#include "tests/gpu/report.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>

namespace kvfs::gpu_check {
namespace {

std::string figure(double value) {
    if (value >= 1000) return fmt::format("{:.0f}", value);
    return fmt::format("{:.{}f}", value, value >= 100 ? 1 : value >= 10 ? 2 : 3);
}

std::string figures(const Samples& samples) {
    if (samples.values.empty()) return "";
    if (samples.values.size() == 1) return figure(samples.median());
    return fmt::format("{} ({}-{})", figure(samples.median()), figure(samples.min()),
                       figure(samples.max()));
}

std::string goal_of(const BenchRow& row) {
    if (row.goal > 0)
        return fmt::format(">= {:.2f} x {}", row.goal, row.meets_goal() ? "met" : "NOT MET");
    if (row.figure_goal > 0)
        return fmt::format("{} {} {}",
                           row.better == Better::kHigher ? ">=" : "<=", figure(row.figure_goal),
                           row.meets_goal() ? "met" : "NOT MET");
    return "";
}

std::string line_of(const BenchRow& row) {
    const std::string raw =
        row.reference.values.empty() ? "" : figures(row.reference) + " " + row.reference_name;
    const std::string ratio = row.ratio() > 0 ? fmt::format("{:.3f}", row.ratio()) : "";
    return fmt::format("| {} | {} | {} | {} | {} | {} |\n", row.name, row.unit, figures(row.kvfs),
                       raw, ratio, goal_of(row));
}

}  // namespace

Json json_of(const BenchRow& row) {
    Json entry{{"row", row.name},
               {"unit", row.unit},
               {"higher_is_better", row.better == Better::kHigher},
               {"kvfs", row.kvfs.values}};
    if (!row.reference.values.empty()) {
        entry["reference"] = row.reference.values;
        entry["reference_name"] = row.reference_name;
        entry["ratio"] = row.ratio();
    }
    if (row.goal > 0) entry["goal"] = row.goal;
    if (row.figure_goal > 0) entry["figure_goal"] = row.figure_goal;
    if (row.goal > 0 || row.figure_goal > 0) entry["met"] = row.meets_goal();
    return entry;
}

BenchRow row_of(const Json& entry) {
    BenchRow row;
    row.name = entry.at("row");
    row.unit = entry.at("unit");
    row.better = entry.at("higher_is_better") ? Better::kHigher : Better::kLower;
    row.kvfs.values = entry.at("kvfs").get<std::vector<double>>();
    row.reference.values = entry.value("reference", std::vector<double>{});
    row.reference_name = entry.value("reference_name", "");
    row.goal = entry.value("goal", 0.0);
    row.figure_goal = entry.value("figure_goal", 0.0);
    return row;
}

Report Report::read(const std::string& log) {
    Report report;
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);) {
        Json entry = Json::parse(line, nullptr, false);
        if (entry.is_object()) report.entries_.push_back(std::move(entry));
    }
    return report;
}

std::vector<std::string> Report::failures() const {
    std::vector<std::string> all;
    for (const Json& entry : entries_) {
        const std::string section = entry.value("section", "");
        if (entry.contains("expected") && !entry.at("holds").get<bool>())
            all.push_back(section + ": " + entry["expected"].get<std::string>() + ": " +
                          entry.value("otherwise", ""));
    }
    return all;
}

bool Report::failed() const { return !failures().empty(); }

std::string Report::markdown(const std::string& title) const {
    std::string text = "# " + title + "\n";
    for (const std::string& failure : failures()) text += "\nFAILED: " + failure + "\n";
    for (const Section& section : sections()) {
        std::string seen, rows;
        for (const Json& entry : entries_) {
            if (entry.value("section", "") != section.name) continue;
            if (entry.contains("seen"))
                seen += fmt::format("- {}: {}\n", entry["seen"].get<std::string>(),
                                    entry.at("value").get<std::string>());
            if (entry.contains("expected"))
                seen += fmt::format("- {}: {}\n", entry["expected"].get<std::string>(),
                                    entry.at("holds").get<bool>() ? "yes" : "NO");
            if (entry.contains("row")) rows += line_of(row_of(entry));
        }
        if (seen.empty() && rows.empty()) continue;
        text += fmt::format("\n## {}: {}\n", section.name, section.what);
        if (!seen.empty()) text += "\n" + seen;
        if (!rows.empty())
            text +=
                "\n| measured | unit | kvfs: median (least-most) | beside it | ratio | goal |\n"
                "|---|---|---|---|---|---|\n" +
                rows;
    }
    return text;
}

Json Report::json(const std::string& title) const {
    return {{"title", title}, {"failures", failures()}, {"entries", entries_}};
}

void write_whole(const std::string& path, const std::string& text) {
    const std::string next = path + ".next";
    {
        std::ofstream file(next, std::ios::trunc);
        file << text;
        if (!file.flush()) throw Failure(errno_error(next));
    }
    if (std::rename(next.c_str(), path.c_str()) != 0) throw Failure(errno_error(path));
}

}  // namespace kvfs::gpu_check
