#include "daemon/options.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "daemon/memory.h"
#include "daemon/settings.h"
#include "fs/base/size.h"
#include "fs/base/split.h"
#include "fs/cache/cache.h"
#include "fs/cache/policy.h"
#include "fs/store/ssd_spec.h"

namespace kvfs {
namespace {

/// sockaddr_un's limit, with its final zero.
constexpr std::size_t kSocketPathBytesMax = 107;

constexpr std::string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

std::string absolute(const std::string& path, const Surroundings& surroundings) {
    std::filesystem::path full =
        (std::filesystem::path(surroundings.working_directory) / path).lexically_normal();
    if (!full.has_filename() && full.has_relative_path()) full = full.parent_path();  // "dir/"
    return full.string();
}

Result<Options::Ssd> parse_ssd(const Setting& setting, const Surroundings& surroundings) {
    auto ssd = parse_ssd_spec(setting.value);
    if (!ssd) return setting.wrong(ssd.error().what);
    ssd->directory = absolute(ssd->directory, surroundings);
    return ssd;
}

Result<std::vector<Options::Ssd>> parse_ssds(const Settings& settings,
                                             const Surroundings& surroundings) {
    const auto found = settings.find("ssd");
    if (found == settings.end())
        return Error{EINVAL, "no --ssd DIR given: objects need a directory (see kvfsd --help)"};
    std::vector<Options::Ssd> ssds;
    for (const auto& setting : found->second) {
        auto ssd = parse_ssd(setting, surroundings);
        if (!ssd) return ssd.error();
        for (const auto& other : ssds)
            if (other.directory == ssd->directory)
                return setting.wrong(ssd->directory + " is given more than once");
        ssds.push_back(*std::move(ssd));
    }
    return ssds;
}

Result<std::chrono::milliseconds> parse_timeout(const Settings& settings) {
    const auto text = single(settings, "io-timeout", "30");
    if (!text) return text.error();
    char* end = nullptr;
    const double seconds = std::strtod(text->c_str(), &end);
    if (*end != '\0' || !(seconds >= 1 && seconds <= 3600))
        return settings.at("io-timeout")
            .front()
            .wrong("'" + *text + "' is not a number of seconds from 1 to 3600");
    return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

Result<std::chrono::milliseconds> parse_keep_awake(const Settings& settings) {
    constexpr long longest = 10'000;
    const auto text = single(settings, "keep-awake", "50");
    if (!text) return text.error();
    char* end = nullptr;
    const long count = std::strtol(text->c_str(), &end, 10);
    if (text->empty() || *end != '\0' || count < 0 || count > longest)
        return settings.at("keep-awake")
            .front()
            .wrong("'" + *text + "' is not a whole number of milliseconds from 0 to 10000");
    return std::chrono::milliseconds(count);
}

Result<std::uint64_t> parse_scrub(const Settings& settings, std::uint64_t otherwise) {
    const auto text = single(settings, "scrub", "");
    if (!text) return text.error();
    if (text->empty()) return otherwise;
    const auto rate = parse_size(*text);
    if (!rate) return settings.at("scrub").front().wrong(rate.error().what);
    return rate;
}

/// The DRAM tier's size: at least one slab's worth of units, see Arena.
Result<std::uint64_t> parse_dram(const Settings& settings, const Surroundings& surroundings) {
    constexpr std::uint64_t least = 1 << 20;
    const auto text = single(settings, "dram", "");
    if (!text) return text.error();
    if (text->empty()) return std::max(surroundings.memory_bytes / 4, least);
    const Setting& setting = settings.at("dram").front();
    const auto size = parse_size(*text);
    if (!size) return setting.wrong(size.error().what);
    if (*size < least)
        return setting.wrong(format_size(*size) + " is too little; give 1 MiB or more");
    return *size;
}

/// What kvfs will have one day and does not have now.
Status refuse_unbuilt(const Settings& settings) {
    if (const auto net = settings.find("net"); net != settings.end())
        return net->second.front().wrong(
            "this version has no networked tier; leave the option out");
    if (const auto metrics = settings.find("metrics"); metrics != settings.end())
        return metrics->second.front().wrong(
            "this version has no metrics endpoint; leave the option out "
            "(getfattr -n user.kvfs.stats MOUNTPOINT shows the figures)");
    return {};
}

bool inside(const std::string& path, const std::string& directory) {
    return path == directory || path.starts_with(directory == "/" ? "/" : directory + "/");
}

/// The daemon would wait for itself if what it lives on lay in its own mount.
Status check_outside(const Options::Ssd& ssd, const Options& options) {
    if (options.no_mount || !inside(ssd.directory, options.mount_point)) return {};
    return Error{EINVAL, "--ssd " + ssd.directory + " lies in the mount point " +
                             options.mount_point + "; choose a directory outside"};
}

Status check_paths(const Options& options) {
    if (options.ssds.size() > Cache::kStoresMax)
        return Error{EINVAL, "--ssd is given more than " + std::to_string(Cache::kStoresMax) +
                                 " times, the most there may be"};
    for (const auto& ssd : options.ssds)
        if (auto outside = check_outside(ssd, options); !outside) return outside;
    if (!options.no_mount) {
        if (inside(options.socket, options.mount_point))
            return Error{EINVAL, "--socket " + options.socket + " lies in the mount point " +
                                     options.mount_point + "; choose a path outside"};
    }
    if (options.socket.size() > kSocketPathBytesMax)
        return Error{EINVAL, "socket path " + options.socket + " is longer than " +
                                 std::to_string(kSocketPathBytesMax) +
                                 " bytes; give a shorter one with --socket"};
    return {};
}

Status parse_mount_point(const Settings& settings, const Surroundings& surroundings,
                         Options& options) {
    const auto found = settings.find("mountpoint");
    if (found != settings.end() && found->second.size() > 1)
        return Error{EINVAL, "one MOUNTPOINT is expected; '" + found->second[1].value +
                                 "' is one too many (see kvfsd --help)"};
    const auto mount_point = single(settings, "mountpoint", "");
    if (!mount_point) return mount_point.error();
    if (options.no_mount) {
        if (!mount_point->empty())
            return Error{EINVAL, "--no-mount and MOUNTPOINT '" + *mount_point +
                                     "' contradict each other; leave one out"};
        return {};
    }
    if (mount_point->empty())
        return Error{EINVAL, "no MOUNTPOINT given (--no-mount serves without; see kvfsd --help)"};
    options.mount_point = absolute(*mount_point, surroundings);
    return {};
}

Result<Options> interpret(const Settings& settings, const Surroundings& surroundings) {
    Options options;
    if (auto built = refuse_unbuilt(settings); !built) return built.error();
    const auto dram = parse_dram(settings, surroundings);
    if (!dram) return dram.error();
    options.dram_bytes = *dram;
    auto ssds = parse_ssds(settings, surroundings);
    if (!ssds) return ssds.error();
    options.ssds = *std::move(ssds);
    const auto timeout = parse_timeout(settings);
    if (!timeout) return timeout.error();
    options.io_timeout = *timeout;
    const auto scrub = parse_scrub(settings, options.scrub_bytes_per_s);
    if (!scrub) return scrub.error();
    options.scrub_bytes_per_s = *scrub;
    const auto keep_awake = parse_keep_awake(settings);
    if (!keep_awake) return keep_awake.error();
    options.keep_awake = *keep_awake;
    const auto level = single(settings, "log-level", options.log_level);
    if (!level) return level.error();
    if (std::find(std::begin(kLogLevels), std::end(kLogLevels), *level) == std::end(kLogLevels))
        return settings.at("log-level")
            .front()
            .wrong("'" + *level + "' is none of trace debug info warn error off");
    options.log_level = *level;
    const auto policy = single(settings, "policy", options.policy);
    if (!policy) return policy.error();
    if (policy_named(*policy) == nullptr)
        return settings.at("policy").front().wrong("there is no '" + *policy + "'; there are " +
                                                   policy_names());
    options.policy = *policy;
    for (const auto& [key, target] :
         {std::pair{"no-mount", &options.no_mount}, std::pair{"no-tuning", &options.no_tuning},
          std::pair{"foreground", &options.foreground}}) {
        const auto value = flag(settings, key);
        if (!value) return value.error();
        *target = *value;
    }
    if (const auto found = settings.find("options"); found != settings.end())
        for (const auto& setting : found->second)
            for (auto& option : split_at_commas(setting.value))
                if (!option.empty()) options.fuse_options.push_back(std::move(option));
    if (auto parsed = parse_mount_point(settings, surroundings, options); !parsed)
        return parsed.error();
    const auto socket = single(settings, "socket", "");
    if (!socket) return socket.error();
    options.socket =
        socket->empty() ? default_socket(options, surroundings) : absolute(*socket, surroundings);
    if (auto checked = check_paths(options); !checked) return checked.error();
    return options;
}

}  // namespace

Result<Options::Ssd> parse_added_ssd(std::string_view spec, const Options& running) {
    auto ssd = parse_ssd_spec(spec);
    if (!ssd) return ssd;
    if (!ssd->directory.starts_with('/'))
        return Error{EINVAL, "'" + ssd->directory + "' is no absolute path"};
    ssd->directory = absolute(ssd->directory, {});
    if (auto outside = check_outside(*ssd, running); !outside) return outside.error();
    return ssd;
}

Surroundings Surroundings::of_this_process() {
    Surroundings surroundings;
    std::error_code ignored;
    surroundings.working_directory = std::filesystem::current_path(ignored).string();
    const char* runtime = std::getenv("XDG_RUNTIME_DIR");
    surroundings.runtime_directory = runtime != nullptr ? runtime : "";
    surroundings.memory_bytes = Memory::now().total;
    surroundings.root = ::geteuid() == 0;
    return surroundings;
}

std::string default_socket(const Options& options, const Surroundings& surroundings) {
    const std::string& first_ssd = options.ssds.front().directory;
    if (!surroundings.root && surroundings.runtime_directory.empty())
        return first_ssd + "/kvfs.sock";
    std::string key = (options.no_mount ? first_ssd : options.mount_point).substr(1);
    std::replace(key.begin(), key.end(), '/', '-');
    return (surroundings.root ? "/run" : surroundings.runtime_directory) + "/kvfs/" + key + ".sock";
}

Result<Invocation> parse_options(const std::vector<std::string>& arguments,
                                 const Surroundings& surroundings) {
    auto settings = read_command_line(arguments);
    if (!settings) return settings.error();
    if (settings->contains("help")) return Invocation{{}, help_text()};
    if (settings->contains("version"))
        return Invocation{{}, std::string("kvfsd ") + KVFS_VERSION + "\n"};
    const auto config = single(*settings, "config", "");
    if (!config) return config.error();
    std::string path = config->empty() ? "" : absolute(*config, surroundings);
    // A command line that names its SSDs is complete: no file of the machine's changes what it
    // means.
    if (path.empty() && !settings->contains("ssd") &&
        std::filesystem::exists(surroundings.default_config))
        path = surroundings.default_config;
    if (!path.empty())
        if (auto read = read_config(path, *settings); !read) return read.error();
    auto options = interpret(*settings, surroundings);
    if (!options) return options.error();
    return Invocation{*std::move(options), {}};
}

}  // namespace kvfs
