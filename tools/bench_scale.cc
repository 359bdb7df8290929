// One directory that grows to millions of names: whether anything slows down, what the daemon holds
// in memory, and how long it takes to start.
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
constexpr std::uint64_t kBlocks = 100'000;  ///< files with bytes, and so with an object on SSD
constexpr std::uint64_t kBlockBytes = 4096;
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

/// A directory of files of `bytes` each, on either side; made when it is not there.
class Flat {
  public:
    Flat(const std::string& path, std::uint64_t bytes) : path_(path), block_(bytes, 'b') {
        if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw Failure(errno_error(path));
        fd_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!fd_) throw Failure(errno_error(path));
    }

    /// Thousands a second, each.
    double make(std::uint64_t first, std::uint64_t end) const {
        return rate(end - first, time_of_threads(kMakers, [&](unsigned maker) {
                        for (std::uint64_t i = first + maker; i < end; i += kMakers) {
                            if (i % 1024 == 0) check_interrupted();
                            make_one(hashed_name(i).c_str());
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
    void make_one(const char* name) const {
        if (block_.empty()) {
            if (::mknodat(fd_.get(), name, S_IFREG | 0644, 0) != 0)
                throw Failure(errno_error(name));
            return;
        }
        const UniqueFd file(
            ::openat(fd_.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!file || ::write(file.get(), block_.data(), block_.size()) !=
                         static_cast<ssize_t>(block_.size()))
            throw Failure(errno_error(name));
    }

    std::string path_;
    std::string block_;
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

void add_figure(Bench& bench, const std::string& name, const char* unit, double figure) {
    bench.rows.push_back({name, unit, Better::kLower, {{figure}}, {}, "", 0});
}

/// What is measured while a directory grows from `from` to `to` files.
struct Level {
    std::string name;  ///< of the rows
    std::string directory;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    std::uint64_t bytes = 0;  ///< of each file
};

void measure_names_of(Bench& bench, const Level& level, const Flat& ours, const Flat* theirs) {
    const std::uint64_t some = std::min<std::uint64_t>(level.to / 10, 20'000);
    const std::uint64_t rest = level.to - some;
    const std::vector<Step> steps{
        {"made", [&](const Flat& flat) { return flat.make(level.from, level.to); }},
        {"stat of some", [&](const Flat& flat) { return flat.look_up(level.to, some, ""); }},
        {"  again", [&](const Flat& flat) { return flat.look_up(level.to, some, ""); }},
        {"absent", [&](const Flat& flat) { return flat.look_up(level.to, some, "-"); }},
        {"listed", [&](const Flat& flat) { return flat.list(level.to); }},
        {"removed", [&](const Flat& flat) { return flat.remove(rest, level.to); }},
        {"  made again", [&](const Flat& flat) { return flat.make(rest, level.to); }},
    };
    for (const Step& step : steps) {
        check_interrupted();
        BenchRow row{fmt::format("{}, {}", level.name, step.name),
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

void measure_level(Bench& bench, BenchDaemon& daemon, const Level& level) {
    {
        Watched memory(daemon.pid());
        const Flat ours(daemon.mount() + level.directory, level.bytes);
        const bool compared = level.to <= kReferenceNamesMax;
        const Flat theirs(bench.machine.tmpfs() + level.directory, level.bytes);
        measure_names_of(bench, level, ours, compared ? &theirs : nullptr);
        const auto most = memory.peak();
        add_figure(bench, level.name + ", heap at its peak", "MiB", most.heap);
        add_figure(bench, level.name + ", shared memory at its peak", "MiB", most.shared);
        add_figure(bench, level.name + ", mapped files at its peak", "MiB", most.mapped);
    }
    check_interrupted();
    add_figure(bench, level.name + ", stop", "s", time_of([&] { daemon.stop(); }));
    add_figure(bench, level.name + ", start to ready", "s", time_of([&] { daemon.start(); }));
    add_figure(bench, level.name + ", heap at ready", "MiB", Watched(daemon.pid()).peak().heap);
}

}  // namespace

void measure_scale(Bench& bench) {
    BenchDaemon& daemon = bench.machine.roomy();
    measure_level(bench, daemon,
                  {fmt::format("{} files of 4 KiB", kBlocks), "/blocks", 0, kBlocks, kBlockBytes});
    std::uint64_t from = 0;
    for (std::uint64_t to = std::min(kFirstLevel, bench.names);;
         to = std::min(to * 10, bench.names)) {
        measure_level(bench, daemon, {fmt::format("{} names", to), "/scale", from, to});
        from = to;
        if (to == bench.names) return;
    }
}

}  // namespace kvfs
