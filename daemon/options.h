#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "fs/store/ssd_store.h"

namespace kvfs {

/// What kvfsd was asked to do. All paths are absolute: a daemon leaves its working directory.
struct Options {
    using Ssd = SsdStore::Options;

    std::uint64_t dram_bytes = 0;
    std::vector<Ssd> ssds;    ///< at least one
    std::string socket;       ///< never empty: see default_socket()
    std::string mount_point;  ///< empty with no_mount
    std::vector<std::string> fuse_options;
    std::string log_level = "info";
    std::string policy = "kvfs";  ///< of eviction, in every tier
    std::chrono::milliseconds io_timeout{30'000};
    std::uint64_t scrub_bytes_per_s = 32 << 20;  ///< 0: no scrub
    std::chrono::milliseconds keep_awake{50};    ///< 0: let CPUs sleep as they like
    bool no_mount = false;
    bool no_tuning = false;  ///< leave the kernel's switches alone
    bool foreground = false;
};

/// What the options depend on besides themselves; tests bring their own.
struct Surroundings {
    std::string default_config = "/etc/kvfs/kvfs.conf";
    std::string working_directory;  ///< relative paths start here
    std::string runtime_directory;  ///< $XDG_RUNTIME_DIR, may be empty
    std::uint64_t memory_bytes = 0;
    bool root = false;

    static Surroundings of_this_process();
};

/// A command line that was understood: to be obeyed, or answered with `text` and exit 0 (--help,
/// --version).
struct Invocation {
    Options options;
    std::string text;
};

/// Reads the command line (without the program's name) and the config file it names or implies. A
/// key that stands on the command line replaces all lines of that key in the file. Errors: EINVAL -
/// usage (exit 2); any other - the config file cannot be read (exit 1). The sentence names the
/// option, or the file, line and key, and the way out; it is complete without the code.
Result<Invocation> parse_options(const std::vector<std::string>& arguments,
                                 const Surroundings& surroundings);

/// What people write for an SSD directory that a running daemon is to have, too. The path must be
/// absolute. Errors: EINVAL - a sentence.
Result<Options::Ssd> parse_added_ssd(std::string_view spec, const Options& running);

/// Where the mapper's socket is when --socket does not say: KEY.sock in /run/kvfs for root, in
/// $XDG_RUNTIME_DIR/kvfs for others, or DIR/kvfs.sock in the first SSD directory where that is
/// unset. KEY is the mount point (with --no-mount: the first SSD directory) with its slashes turned
/// to dashes.
std::string default_socket(const Options& options, const Surroundings& surroundings);

}  // namespace kvfs
