#include "tests/model/model.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

constexpr std::size_t kHistoryShown = 25;
constexpr int kStepsBetweenComparisons = 500;
constexpr int kStepsBetweenRestarts = 700;

/// What the daemon has counted since it started: a number out of its statistics.
long counted(const std::string& what) {
    const std::string stats = xattr_of(mounted->path(), "user.kvfs.stats");
    const std::size_t at = stats.find("\"" + what + "\":");
    return at == stats.npos ? -1 : std::atol(stats.c_str() + at + what.size() + 3);
}

bool can_write(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

Model::Model(std::uint64_t seed)
    : seed_(seed),
      sides_{Side{.root = mounted->path("volume"), .is_mount = true},
             Side{.root = mounted->scrap() + "/plain", .is_mount = false}} {
    for (const Side& side : sides_) cr_assert_eq(::mkdir(side.root.c_str(), 0755), 0);
}

Model::~Model() { close_all(); }

Model::Failure Model::run(const std::vector<int>& steps) {
    try {
        for (const int step : steps) {
            step_ = step;
            random_.seed(seed_ * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(step));
            take_step();
        }
        close_all();
        compare_trees("");
    } catch (const Difference& difference) {
        return {step_, difference.what};
    }
    return {};
}

std::string Model::any_name() {
    // Few names in few directories, so that operations meet.
    static const std::array<const char*, 4> kDirectories = {"", "a/", "b/", "a/c/"};
    static const std::array<const char*, 9> kNames = {"a", "b", "c", "u",    "v",
                                                      "x", "y", "z", "x.tmp"};
    return std::string(any_of(kDirectories)) + any_of(kNames);
}

std::string Model::any_key() { return "key" + std::to_string(any(24)) + ".bin"; }

std::size_t Model::any_offset() {
    return any(any_of(std::array<std::size_t, 6>{1, 4096, 70'000, 1 << 20, 2 << 20, 3 << 20}));
}
std::size_t Model::any_size() { return any_offset() + 1; }

void Model::both(const std::string& what, const Operation& operation) {
    history_.push_back(std::to_string(step_) + ": " + what);
    if (history_.size() > kHistoryShown) history_.pop_front();
    const Outcome ours = operation(sides_[0]);
    const Outcome theirs = operation(sides_[1]);
    if (ours == theirs) return;
    std::string trace;
    for (const auto& line : history_) trace += "    " + line + "\n";
    const auto shown = [](const Outcome& one) {
        return std::to_string(one.result) + " " + std::strerror(one.error) + " " +
               (one.data.size() < 400 ? one.data : std::to_string(one.data.size()) + " bytes");
    };
    const auto [a, b] =
        std::mismatch(ours.data.begin(), ours.data.end(), theirs.data.begin(), theirs.data.end());
    throw Difference{trace + "  mount: " + shown(ours) + "\n  plain: " + shown(theirs) +
                     "\n  first other byte: " + std::to_string(a - ours.data.begin())};
}

void Model::take_step() {
    if (step_ % kStepsBetweenRestarts == kStepsBetweenRestarts - 1) return restart(any(2) == 0);
    if (step_ % kStepsBetweenComparisons == kStepsBetweenComparisons - 1) return compare_trees("");
    const std::uint64_t choice = any(100);
    if (choice < 12) return save_one();
    if (choice < 23) return load_one();
    if (choice < 38) return open_one();
    if (choice < 42) return close_one();
    if (choice < 54) return step_on_names();
    if (choice < 64) return step_on_attributes();
    if (choice < 74) return step_on_maps();
    step_on_bytes();
}

/// As an engine does: a file written at once under a temporary name, and renamed.
void Model::save_one() {
    const std::string key = any_key();
    const std::string bytes = pattern(any(2 << 20), random_());
    both("save " + key + " " + std::to_string(bytes.size()), [&](Side& s) {
        const std::string tmp = s.at(key) + ".tmp";
        const int fd = ::open(tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
        const long written = ::write(fd, bytes.data(), bytes.size());
        ::close(fd);
        return outcome_of(std::rename(tmp.c_str(), s.at(key).c_str()), std::to_string(written));
    });
}

void Model::load_one() {
    const std::string key = any_key();
    both("load " + key, [&](Side& s) { return load(s.at(key)); });
}

void Model::open_one() {
    const std::string name = any(5) == 0 ? any_key() : any_name();
    const std::size_t slot = any(kSlotsMax);
    static const std::array<int, 12> kFlags = {O_RDONLY,
                                               O_RDONLY,
                                               O_RDWR,
                                               O_RDWR,
                                               O_RDWR | O_CREAT,
                                               O_RDWR | O_CREAT,
                                               O_RDWR | O_CREAT | O_TRUNC,
                                               O_WRONLY | O_CREAT | O_TRUNC,
                                               O_WRONLY | O_CREAT | O_EXCL,
                                               O_RDWR | O_CREAT | O_EXCL,
                                               O_RDWR | O_APPEND | O_CREAT,
                                               O_RDONLY | O_CREAT};
    const int flags = any_of(kFlags);
    struct stat before {
    }, now{};
    const bool was_there = ::stat(sides_[1].at(name).c_str(), &before) == 0;
    // In the plain directory O_DIRECT would ask for alignment, and change nothing else; and so
    // would the kernel of a file that it may serve itself (K2). The kernel has no direct
    // directories.
    constexpr off_t kQuarterOfDram = 4 << 20;
    const bool may_be_direct =
        !was_there || (!S_ISDIR(before.st_mode) && before.st_size <= kQuarterOfDram);
    const int direct = any(3) == 0 && may_be_direct ? O_DIRECT : 0;
    both(
        "open " + name + " flags " + std::to_string(flags | direct) + " as " + std::to_string(slot),
        [&](Side& s) {
            s.close_slot(slot);
            s.fds[slot] = ::open(s.at(name).c_str(), flags | (s.is_mount ? direct : 0), 0640);
            return outcome_of(s.fds[slot] < 0 ? -1 : 0);
        });
    unfinished_[slot] = false;
    if (sides_[1].fds[slot] < 0 || ::fstat(sides_[1].fds[slot], &now) != 0) return;
    bool unfinished = !was_there || (flags & O_TRUNC) != 0;
    for (std::size_t other = 0; other < kSlotsMax; ++other) {
        struct stat st {};
        if (unfinished_[other] && ::fstat(sides_[1].fds[other], &st) == 0 &&
            st.st_ino == now.st_ino)
            unfinished = true;
    }
    for (const Map& map : sides_[1].maps) {
        struct stat st {};
        if (can_write(map.fd) && ::fstat(map.fd, &st) == 0 && st.st_ino == now.st_ino)
            unfinished = true;
    }
    if (unfinished) wrote_to(now);
    // Who makes a file is its writer, whatever it may do with it.
    if (!was_there) unfinished_[slot] = true;
}

void Model::close_one() {
    const std::size_t slot = any(kSlotsMax);
    unfinished_[slot] = false;
    both("close " + std::to_string(slot),
         [&](Side& s) { return outcome_of(::close(std::exchange(s.fds[slot], -1))); });
}

void Model::wrote_to(std::size_t slot) {
    struct stat st {};
    if (::fstat(sides_[1].fds[slot], &st) == 0) wrote_to(st);
}

void Model::wrote_to(const struct stat& file) {
    for (std::size_t slot = 0; slot < kSlotsMax; ++slot) {
        struct stat st {};
        const int fd = sides_[1].fds[slot];
        if (can_write(fd) && ::fstat(fd, &st) == 0 && st.st_ino == file.st_ino)
            unfinished_[slot] = true;
    }
}

void Model::close_all() {
    for (Side& side : sides_) {
        for (Map& map : side.maps) map.unmap();
        for (std::size_t slot = 0; slot < kSlotsMax; ++slot) side.close_slot(slot);
    }
    unfinished_ = {};
}

void Model::restart(bool files_open) {
    std::vector<ino_t> unfinished;
    // A page of a map that is not in memory could not be had any more.
    for (Side& side : sides_) {
        for (Map& map : side.maps) map.unmap();
    }
    for (std::size_t slot = 0; files_open && slot < kSlotsMax; ++slot) {
        struct stat st {};
        if (unfinished_[slot] && ::fstat(sides_[1].fds[slot], &st) == 0)
            unfinished.push_back(st.st_ino);
    }
    if (!files_open) close_all();
    fills_ += counted("fills");
    evictions_ += counted("dram_evictions");
    history_.push_back(std::to_string(step_) + ": restart" + (files_open ? ", files open" : ""));
    mounted->stop();
    mounted->start();
    close_all();
    forget_unfinished("", unfinished);
    compare_trees("");
}

void Model::forget_unfinished(const std::string& below, const std::vector<ino_t>& unfinished) {
    for (const auto& name : list_names(sides_[1].at(below))) {
        const std::string path = below.empty() ? name : below + "/" + name;
        struct stat st {
        }, ours{};
        cr_assert_eq(::lstat(sides_[1].at(path).c_str(), &st), 0);
        if (S_ISDIR(st.st_mode)) forget_unfinished(path, unfinished);
        if (std::find(unfinished.begin(), unfinished.end(), st.st_ino) != unfinished.end() &&
            ::lstat(sides_[0].at(path).c_str(), &ours) != 0 && errno == ENOENT)
            ::unlink(sides_[1].at(path).c_str());
    }
}

void Model::compare_trees(const std::string& below) {
    both("list " + below, [&](Side& s) { return list(s.at(below)); });
    for (const auto& name : list_names(sides_[1].at(below))) {
        const std::string path = below.empty() ? name : below + "/" + name;
        struct stat st {};
        cr_assert_eq(::lstat(sides_[1].at(path).c_str(), &st), 0);
        both("compare " + path, [&](Side& s) {
            struct stat one {};
            const int result = ::lstat(s.at(path).c_str(), &one);
            return stat_outcome(result, one);
        });
        if (!S_ISLNK(st.st_mode))
            both("compare xattrs of " + path, [&](Side& s) { return xattrs_of(s.at(path)); });
        if (S_ISDIR(st.st_mode)) compare_trees(path);
        if (S_ISREG(st.st_mode))
            both("compare bytes of " + path, [&](Side& s) { return load(s.at(path)); });
    }
}

}  // namespace kvfs::tests
