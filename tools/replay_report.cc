#include "tools/replay_report.h"

#include <fmt/format.h>

#include <ostream>

#include "fs/base/size.h"
#include "tools/mount.h"
#include "tools/table.h"

namespace kvfs {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

/// One direction: how much, and how fast while at it.
Json direction(std::uint64_t blocks, std::uint64_t block_bytes, double seconds) {
    const std::uint64_t bytes = blocks * block_bytes, tokens = blocks * kBlockTokens;
    return {{"blocks", blocks},
            {"tokens", tokens},
            {"bytes", bytes},
            {"seconds", seconds},
            {"gb_per_s", ratio(static_cast<double>(bytes) / 1e9, seconds)},
            {"tokens_per_s", ratio(static_cast<double>(tokens), seconds)}};
}

std::string describe(const Json& direction) {
    return fmt::format(
        "{} blocks, {} tokens, {} at {:.2f} GB/s ({:.2f} M tokens/s)",
        format_count(number_of(direction, "blocks")), format_count(number_of(direction, "tokens")),
        format_size(number_of(direction, "bytes")), direction["gb_per_s"].get<double>(),
        direction["tokens_per_s"].get<double>() / 1e6);
}

void print_line(std::ostream& out, const char* label, const std::string& text) {
    out << fmt::format("  {:<16}{}\n", label, text);
}

}  // namespace

Json statistics_difference(const Json& before, const Json& after) {
    Json difference = Json::object();
    const auto counters = after.find("counters");
    if (counters == after.end()) return difference;
    const Json earlier = before.value("counters", Json::object());
    for (const auto& [key, value] : counters->items()) {
        const std::uint64_t now = number_of(*counters, key), then = number_of(earlier, key);
        difference[key] = now > then ? now - then : 0;
    }
    return difference;
}

Json make_replay_report(const std::string& source, const std::string& way, const ReplayPlan& plan,
                        const ReplayResult& result, const Json& daemon_counters) {
    const LaneCounts& counts = result.counts;
    const auto blocks = static_cast<double>(result.blocks);
    Json load = direction(counts.blocks_loaded, plan.block_bytes, result.load_seconds);
    load["requests"] = result.load_ms.size();
    load["ms_p50"] = percentile(result.load_ms, 50);
    load["ms_p99"] = percentile(result.load_ms, 99);
    load["ms_max"] = percentile(result.load_ms, 100);
    return {{"source", source},
            {"way", way},
            {"requests", result.requests},
            {"concurrency", plan.concurrency},
            {"seconds", result.seconds},
            {"blocks",
             {{"total", result.blocks},
              {"bytes_each", plan.block_bytes},
              {"hits", counts.blocks_loaded},
              {"hit_ratio", ratio(static_cast<double>(counts.blocks_loaded), blocks)},
              {"hit_ratio_unlimited", ratio(static_cast<double>(result.blocks_possible), blocks)},
              {"kept", counts.blocks_kept},
              {"evicted_before_load", counts.blocks_evicted},
              {"unreadable", counts.blocks_unreadable}}},
            {"load", std::move(load)},
            {"save", direction(counts.blocks_saved, plan.block_bytes, result.save_seconds)},
            {"daemon", daemon_counters},
            {"mismatches", counts.mismatches}};
}

void print_replay_report(const Json& report, std::ostream& out) {
    const Json &blocks = report["blocks"], &load = report["load"], &daemon = report["daemon"];
    out << fmt::format("{} requests of {}, through the {}, {} at a time, in {:.1f} s\n",
                       format_count(number_of(report, "requests")),
                       report["source"].get<std::string>(), report["way"].get<std::string>(),
                       number_of(report, "concurrency"), report["seconds"].get<double>());
    print_line(out, "hit ratio",
               fmt::format("{:.1f} % of {} blocks of {} (an unlimited cache: {:.1f} %)",
                           100 * blocks["hit_ratio"].get<double>(),
                           format_count(number_of(blocks, "total")),
                           format_size(number_of(blocks, "bytes_each")),
                           100 * blocks["hit_ratio_unlimited"].get<double>()));
    print_line(out, "loaded", describe(load));
    print_line(out, "saved", describe(report["save"]));
    print_line(
        out, "load time",
        fmt::format("p50 {:.2f} ms, p99 {:.2f} ms, most {:.2f} ms of the {} requests that hit",
                    load["ms_p50"].get<double>(), load["ms_p99"].get<double>(),
                    load["ms_max"].get<double>(), format_count(number_of(load, "requests"))));
    print_line(out, "served from",
               fmt::format("DRAM {} in {} files, SSD {} in {} files",
                           format_size(number_of(daemon, "dram_read_bytes")),
                           format_count(number_of(daemon, "dram_hits")),
                           format_size(number_of(daemon, "store_read_bytes")),
                           format_count(number_of(daemon, "store_hits"))));
    print_line(out, "evicted",
               fmt::format("{} files from DRAM, {} from SSD; {} while they were about to be loaded",
                           format_count(number_of(daemon, "dram_evictions")),
                           format_count(number_of(daemon, "store_evictions")),
                           format_count(number_of(blocks, "evicted_before_load"))));
    if (const std::uint64_t unreadable = number_of(blocks, "unreadable"); unreadable > 0)
        print_line(out, "unreadable",
                   format_count(unreadable) + " blocks: the daemon's log has the reason");
    print_line(out, "mismatches", format_count(number_of(report, "mismatches")));
}

void ProgressLine::show(const ReplayResult& so_far) {
    const std::uint64_t steps = on_terminal_ ? 200 : 10;
    const std::uint64_t step = requests_ == 0 ? 0 : so_far.requests * steps / requests_;
    const auto now = Clock::now();
    const std::chrono::seconds apart(on_terminal_ ? 0 : 1);
    if (step == steps_shown_ || now - last_shown_ < apart) return;
    steps_shown_ = step;
    last_shown_ = now;
    const LaneCounts& counts = so_far.counts;
    err_ << fmt::format(
                "{}replay: {} of {} requests, {} hits, loaded {}, saved {}, {} mismatches{}",
                on_terminal_ ? "\r\x1b[K" : "", format_count(so_far.requests),
                format_count(requests_),
                format_percent(static_cast<double>(counts.blocks_loaded),
                               static_cast<double>(so_far.blocks)),
                format_size(counts.blocks_loaded * block_bytes_),
                format_size(counts.blocks_saved * block_bytes_), counts.mismatches,
                on_terminal_ ? "" : "\n")
         << std::flush;
}

void ProgressLine::end() {
    if (on_terminal_ && steps_shown_ > 0) err_ << '\n';
}

}  // namespace kvfs
