#include "tests/gpu/session.h"

#include <fcntl.h>
#include <unistd.h>

#include "fs/base/fd.h"
#include "tests/gpu/report.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

/// One write a line: what a process that is killed has told of is whole.
void append(const std::string& path, const Json& entry) {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
    const std::string line = entry.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    if (!file || ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        throw Failure(errno_error(path));
}

}  // namespace

Scale Scale::small() {
    Scale scale;
    scale.rounds = 2;
    scale.dram_bytes = 192 << 20;
    scale.tight_bytes = 32 << 20;
    scale.ssd_bytes = 1ULL << 30;
    scale.raw_bytes = 4 << 20;
    scale.sweep_bytes = 2 << 20;
    scale.files_bytes = 2 << 20;
    scale.cold_file_bytes = 4 << 20;
    scale.register_bytes = 8 << 20;
    scale.largest_piece = 1 << 20;
    scale.calls = 10;
    scale.product_order = 64;
    scale.verify_rounds = 2;
    return scale;
}

Session::Session(std::string section, std::string log, Scale its_scale, Daemons its_daemons,
                 std::uint64_t its_seed)
    : scale(its_scale),
      daemons(std::move(its_daemons)),
      seed(its_seed),
      section_(std::move(section)),
      log_(std::move(log)) {}

void Session::compare(BenchRow row, const std::function<double()>& ours,
                      const std::function<double()>& raw) {
    for (int round = -1; round < scale.rounds; ++round) {
        check_interrupted();
        const double of_raw = raw ? raw() : 0;
        const double of_ours = ours();
        if (round < 0) continue;
        row.kvfs.values.push_back(of_ours);
        if (raw) row.reference.values.push_back(of_raw);
    }
    tell(row);
}

void Session::tell(const BenchRow& row) {
    Json entry = json_of(row);
    entry["section"] = section_;
    append(log_, entry);
}

void Session::tell(const std::string& what, const std::string& value) {
    append(log_, {{"section", section_}, {"seen", what}, {"value", value}});
}

void Session::expect(const std::string& what, bool holds, const std::string& otherwise) {
    all_held_ = all_held_ && holds;
    Json entry{{"section", section_}, {"expected", what}, {"holds", holds}};
    if (!holds) entry["otherwise"] = otherwise;
    append(log_, entry);
}

BenchRow copy_row(const std::string& name, double goal) {
    return {name, "GB/s", Better::kHigher, {}, {}, "raw copy", goal};
}

}  // namespace kvfs::gpu_check
