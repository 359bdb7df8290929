// Directories: listed, listed with what stat says of each file (`ls -l`), and files looked at
// again.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

struct CloseDirectory {
    void operator()(DIR* stream) const { ::closedir(stream); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// As long as an engine's: the hex digits of a hash.
std::string file_name(const std::string& directory, unsigned i) {
    return fmt::format("{}/{:032x}.kv", directory, i);
}

void make_files(const std::string& directory, unsigned count) {
    std::filesystem::create_directory(directory);
    for (unsigned i = 0; i < count; ++i) {
        open_file(file_name(directory, i), O_WRONLY | O_CREAT);
        if (i % 256 == 0) check_interrupted();
    }
}

void remove_files(const std::string& directory, unsigned count) {
    for (unsigned i = 0; i < count; ++i) remove_file(file_name(directory, i));
}

/// Thousands of names a second. With `look`, each is looked at as it is listed, as `ls -l` does.
double list(const std::string& directory, unsigned expected, bool look) {
    unsigned listed = 0;
    const double seconds = time_of([&] {
        const Directory stream(::opendir(directory.c_str()));
        if (!stream) throw Failure(errno_error(directory));
        errno = 0;
        while (const dirent* entry = ::readdir(stream.get())) {
            if (entry->d_name[0] == '.') continue;
            ++listed;
            struct stat status {};
            if (look &&
                ::fstatat(::dirfd(stream.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
                throw Failure(errno_error(directory + "/" + entry->d_name));
        }
        if (errno != 0) throw Failure(errno_error(directory));
    });
    if (listed != expected)
        throw Failure(fmt::format("{}: {} names listed of {}", directory, listed, expected));
    return listed / seconds / 1e3;
}

/// Thousands of files a second that were looked at just before.
double look_again(const std::string& directory, unsigned count) {
    constexpr unsigned kPasses = 10;
    const auto look = [&] {
        for (unsigned i = 0; i < count; ++i) {
            struct stat status {};
            const std::string path = file_name(directory, i);
            if (::stat(path.c_str(), &status) != 0) throw Failure(errno_error(path));
        }
    };
    look();
    const double seconds = time_of([&] {
        for (unsigned pass = 0; pass < kPasses; ++pass) look();
    });
    return kPasses * count / seconds / 1e3;
}

BenchRow listing_row(const std::string& name, double goal) {
    return {name, "k/s", Better::kHigher, {}, {}, "tmpfs", goal};
}

void measure_listing(Bench& bench, unsigned count, const std::string& ours,
                     const std::string& theirs) {
    BenchRow row = listing_row(fmt::format("names listed, of {}", count), 0);
    row.figure_goal = 500;
    bench.compare(
        row, [&] { return list(ours, count, false); }, [&] { return list(theirs, count, false); });
}

}  // namespace

void measure_listings(Bench& bench) {
    constexpr unsigned kFew = 10'000, kMany = 100'000, kSeen = 1000;
    BenchDaemon& daemon = bench.machine.roomy();
    const std::string ours = daemon.mount() + "/list", theirs = bench.machine.tmpfs() + "/list";
    for (const std::string& directory : {ours, theirs}) make_files(directory, kFew);
    measure_listing(bench, kFew, ours, theirs);
    bench.compare(
        listing_row(fmt::format("ls -l of {} files, again", kFew), 0.7),
        [&] { return list(ours, kFew, true); }, [&] { return list(theirs, kFew, true); });
    // For one side only: tmpfs has its names in the kernel and nowhere else. Making an inode and a
    // dentry for each is the most of it.
    if (daemon.forget_names())
        bench.compare(
            listing_row(fmt::format("ls -l of {} files, cold", kFew), 0),
            [&] {
                daemon.forget_names();
                return list(ours, kFew, true);
            },
            [&] { return list(theirs, kFew, true); });
    bench.compare(
        listing_row("stat of cached names", 0.8), [&] { return look_again(ours, kSeen); },
        [&] { return look_again(theirs, kSeen); });
    for (const std::string& directory : {ours, theirs}) remove_files(directory, kFew);

    if (!bench.quick) {
        for (const std::string& directory : {ours, theirs}) make_files(directory, kMany);
        measure_listing(bench, kMany, ours, theirs);
        for (const std::string& directory : {ours, theirs}) remove_files(directory, kMany);
    }
    for (const std::string& directory : {ours, theirs}) std::filesystem::remove(directory);
}

}  // namespace kvfs
