// One directory that grows to millions of names: whether anything slows down, and what the daemon
// holds in memory.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <mutex>
#include <random>
#include <stop_token>
#include <thread>

#include "fs/base/fd.h"
#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kFirstLevel = 100'000;
constexpr std::uint64_t kReferenceNamesMax = 1'000'000;  ///< tmpfs takes a kilobyte for each
constexpr unsigned kMakers = 2;

/// As long as the names that engines make of hashes, and in no order.
std::string hashed_name(std::uint64_t number) {
    std::seed_seq seed{static_cast<std::uint32_t>(number),
                       static_cast<std::uint32_t>(number >> 32)};
    std::array<std::uint32_t, 8> words{};
    seed.generate(words.begin(), words.end());
    std::string name;
    for (const std::uint32_t word : words) fmt::format_to(std::back_inserter(name), "{:08x}", word);
    return name;
}

/// The directory, on either side.
class Flat {
  public:
    explicit Flat(const std::string& path) : path_(path) {
        if (::mkdir(path.c_str(), 0755) != 0) throw Failure(errno_error(path));
        fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd_) throw Failure(errno_error(path));
    }

    /// Thousands a second, each.
    double make(std::uint64_t first, std::uint64_t end) const {
        return rate(end - first, time_of_threads(kMakers, [&](unsigned maker) {
                        for (std::uint64_t i = first + maker; i < end; i += kMakers) {
                            if (i % 1024 == 0) check_interrupted();
                            const std::string name = hashed_name(i);
                            if (::mknodat(fd_.get(), name.c_str(), S_IFREG | 0644, 0) != 0)
                                throw Failure(errno_error(name));
                        }
                    }));
    }
    /// `asked` of the first `names`, spread evenly.
    double look_up(std::uint64_t names, std::uint64_t asked, const std::string& suffix) const {
        const bool there = suffix.empty();
        return rate(asked, time_of([&] {
                        struct stat st {};
                        for (std::uint64_t i = 0; i < asked; ++i) {
                            const std::string name = hashed_name(i * (names / asked)) + suffix;
                            if ((::fstatat(fd_.get(), name.c_str(), &st, 0) == 0) != there)
                                throw Failure(name + (there ? ": is gone" : ": is there"));
                        }
                    }));
    }
    double list(std::uint64_t names) const {
        std::vector<char> buffer(1 << 18);
        std::uint64_t seen = 0;
        const double seconds = time_of([&] {
            ::lseek(fd_.get(), 0, SEEK_SET);
            for (;;) {
                const long got = ::syscall(SYS_getdents64, fd_.get(), buffer.data(), buffer.size());
                if (got < 0) throw Failure(errno_error(path_));
                if (got == 0) break;
                for (long at = 0; at < got; ++seen)
                    at += reinterpret_cast<const dirent64*>(buffer.data() + at)->d_reclen;
            }
        });
        if (seen != names + 2)
            throw Failure(fmt::format("{}: {} names listed, not {}", path_, seen, names + 2));
        return rate(names, seconds);
    }
    double remove(std::uint64_t first, std::uint64_t end) const {
        return rate(end - first, time_of([&] {
                        for (std::uint64_t i = first; i < end; ++i)
                            if (::unlinkat(fd_.get(), hashed_name(i).c_str(), 0) != 0)
                                throw Failure(errno_error(path_));
                    }));
    }

  private:
    static double rate(std::uint64_t count, double seconds) {
        return static_cast<double>(count) / seconds / 1e3;
    }
    std::string path_;
    UniqueFd fd_;
};

/// A daemon's memory at its peak, in MiB, by /proc/PID/status, watched while this lives.
class Watched {
  public:
    explicit Watched(pid_t pid) : pid_(pid) {}
    struct Peak {
        double heap = 0, shared = 0, mapped = 0;
    };
    Peak peak() {
        const std::lock_guard lock(mutex_);
        look();
        return peak_;
    }

  private:
    void look() {
        std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
        for (std::string line; std::getline(status, line);) {
            const auto colon = line.find(':');
            const auto keep = [&](const char* key, double& most) {
                if (line.compare(0, colon, key) == 0)
                    most = std::max(most, std::stod(line.substr(colon + 1)) / 1024);
            };
            keep("RssAnon", peak_.heap);
            keep("RssShmem", peak_.shared);
            keep("RssFile", peak_.mapped);
        }
    }

    const pid_t pid_;
    std::mutex mutex_;
    Peak peak_;
    std::jthread thread_{[this](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            static_cast<void>(peak());
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
    }};
};

struct Step {
    const char* name;
    std::function<double(const Flat&)> run;
};

void measure_level(Bench& bench, const Flat& ours, const Flat* theirs, std::uint64_t from,
                   std::uint64_t names) {
    const std::uint64_t some = std::min<std::uint64_t>(names / 10, 20'000);
    const std::vector<Step> steps{
        {"made", [&](const Flat& flat) { return flat.make(from, names); }},
        {"stat of some", [&](const Flat& flat) { return flat.look_up(names, some, ""); }},
        {"  again", [&](const Flat& flat) { return flat.look_up(names, some, ""); }},
        {"absent", [&](const Flat& flat) { return flat.look_up(names, some, "-"); }},
        {"listed", [&](const Flat& flat) { return flat.list(names); }},
        {"removed", [&](const Flat& flat) { return flat.remove(names - some, names); }},
        {"  made again", [&](const Flat& flat) { return flat.make(names - some, names); }},
    };
    for (const Step& step : steps) {
        check_interrupted();
        BenchRow row{fmt::format("{} names, {}", names, step.name),
                     "k/s",
                     Better::kHigher,
                     {{step.run(ours)}},
                     {},
                     "tmpfs",
                     0};
        if (theirs != nullptr) row.reference.values.push_back(step.run(*theirs));
        bench.rows.push_back(std::move(row));
    }
}

}  // namespace

void measure_scale(Bench& bench) {
    BenchDaemon& daemon = bench.machine.roomy();
    Watched memory(daemon.pid());
    const Flat ours(daemon.mount() + "/scale"), theirs(bench.machine.tmpfs() + "/scale");
    std::uint64_t from = 0;
    for (std::uint64_t level = std::min(kFirstLevel, bench.names);;
         level = std::min(level * 10, bench.names)) {
        measure_level(bench, ours, level <= kReferenceNamesMax ? &theirs : nullptr, from, level);
        const auto most = memory.peak();
        for (const auto& [what, mib] : {std::pair{"heap", most.heap},
                                        {"shared memory", most.shared},
                                        {"mapped files", most.mapped}})
            bench.rows.push_back({fmt::format("{} names, {}, most", level, what),
                                  "MiB",
                                  Better::kLower,
                                  {{mib}},
                                  {},
                                  "",
                                  0});
        from = level;
        if (level == bench.names) return;
    }
}

}  // namespace kvfs
