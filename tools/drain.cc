// Moves what an SSD directory holds into the others, so that it can be taken away.
#include <fmt/format.h>
#include <sys/xattr.h>

#include <chrono>
#include <filesystem>
#include <ostream>
#include <thread>

#include "fs/base/size.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr const char* kControl = "user.kvfs.drain";

/// As the daemon names it, which may be gone from the file system.
std::string canonical(const std::string& directory) {
    std::error_code error;
    const auto path = std::filesystem::weakly_canonical(directory, error);
    return error ? directory : path.string();
}

/// The tier in `directory`, as the statistics have it.
Json tier_in(const std::string& mount, const std::string& directory) {
    const Result<Json> statistics = mount_statistics(mount);
    if (!statistics) throw Failure(statistics.error());
    for (const Json& tier : (*statistics)["tiers"])
        if (tier.value("name", "") == "ssd:" + directory) return tier;
    throw Failure(directory + ": no SSD directory of this mount");
}

void watch(const std::string& mount, const std::string& directory, Io& io) {
    constexpr auto kEvery = std::chrono::milliseconds(200);
    std::string last;
    for (;;) {
        const Json tier = tier_in(mount, directory);
        if (number_of(tier, "files") == 0) break;
        if (!tier.value("draining", false))
            throw Failure(directory + ": is no longer being drained");
        std::string left = fmt::format("{} files, {} left", format_count(number_of(tier, "files")),
                                       format_size(number_of(tier, "used_bytes")));
        if (tier.value("degraded", false))
            left += " (degraded: " + tier.value("degraded_reason", "") + ")";
        if (left != last) io.err << "kvfs: drain: " << left << std::endl;
        last = std::move(left);
        std::this_thread::sleep_for(kEvery);
    }
    io.out << directory << ": drained\n";
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()                                                              //
        ("stop", po::bool_switch(), "drain none of the mount's directories any more")  //
        ("no-wait", po::bool_switch(), "return at once; `kvfs stat` tells how far it is");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    const bool stop = arguments.flag("stop");
    if (arguments.operands.size() != (stop ? 1U : 2U))
        throw UsageError(stop ? "give one MOUNT" : "give MOUNT and DIR");
    const Result<Mount> mount = find_mount(arguments.operands.front());
    if (!mount) throw Failure(mount.error());
    if (stop) {
        if (::removexattr(mount->path.c_str(), kControl) != 0)
            throw Failure(errno_error(mount->path));
        return kSuccess;
    }
    const std::string directory = canonical(arguments.operands.back());
    static_cast<void>(tier_in(mount->path, directory));
    if (::setxattr(mount->path.c_str(), kControl, directory.data(), directory.size(), 0) != 0)
        throw Failure(errno == EBUSY ? Error{ENOTCONN, directory + ": the mount has no other"}
                                     : errno_error(directory));
    if (!arguments.flag("no-wait")) watch(mount->path, directory, io);
    return kSuccess;
}

}  // namespace

const Verb drain_verb{"drain", "[--no-wait] MOUNT DIR | --stop MOUNT",
                      "Moves all files out of an SSD directory, while the daemon serves", options,
                      run};

}  // namespace kvfs
