#include "daemon/settings.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvfs {
namespace {

namespace po = boost::program_options;

/// Keys of the command line and of the config file alike.
po::options_description common_keys() {
    po::options_description keys("Options, also keys of the config file (KEY = VALUE)", 100, 70);
    auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
    auto texts = [](const char* name) {
        return po::value<std::vector<std::string>>()->value_name(name);
    };
    keys.add_options()("dram", text("SIZE"),
                       "size of the DRAM tier (default: a quarter of memory)");
    keys.add_options()("ssd", texts("DIR[,size=SIZE]"),
                       "directory for SSD objects, with a quota (default: what its file system has "
                       "free, less 5 %); repeatable, at least one; further sub-options: "
                       "request=SIZE, window=SIZE");
    keys.add_options()(
        "socket", text("PATH"),
        "socket for mapper clients (default: /run/kvfs/NAME.sock, NAME from the mount "
        "point; $XDG_RUNTIME_DIR/kvfs/NAME.sock without root)");
    keys.add_options()("no-mount", po::bool_switch(), "serve mapper clients only; no MOUNTPOINT");
    keys.add_options()(
        "no-tuning", po::bool_switch(),
        "leave the kernel's switches alone, which kvfsd as root sets for 2 MiB pages "
        "and FUSE over io_uring");
    keys.add_options()("foreground", po::bool_switch(),
                       "stay; print `ready` on stdout once the mount answers; log to stderr");
    keys.add_options()("log-level", text("LEVEL"),
                       "trace debug info warn error off (default: info)");
    keys.add_options()("policy", text("NAME"),
                       "which file leaves a full tier first: lru, s3fifo or kvfs (default: kvfs)");
    keys.add_options()("io-timeout", text("SECONDS"),
                       "bound on every wait for a device, 1 to 3600 (default: 30)");
    keys.add_options()("scrub", text("RATE"),
                       "bytes a second that are read from SSD in the background, to find damage "
                       "(default: 32MiB; 0: none)");
    keys.add_options()("keep-awake", text("MS"),
                       "for so many milliseconds after a request, idle CPUs may not sleep deeply, "
                       "0 to 10000 (default: 50)");
    keys.add_options()("options,o", texts("OPT,..."),
                       "mount options for FUSE, as in mount.fuse3(8)");
    return keys;
}

/// Understood, so that they can be refused with a reason.
po::options_description future_keys() {
    po::options_description keys;
    keys.add_options()("net", po::value<std::string>(), "");
    keys.add_options()("metrics", po::value<std::string>(), "");
    keys.add_options()("mountpoint", po::value<std::string>(), "");
    return keys;
}

po::options_description command_line_keys() {
    po::options_description keys("Options of the command line");
    keys.add_options()("config", po::value<std::string>()->value_name("FILE"),
                       "read this config file (default: /etc/kvfs/kvfs.conf if no --ssd is given)");
    keys.add_options()("help", po::bool_switch(), "print this and exit");
    keys.add_options()("version", po::bool_switch(), "print the version and exit");
    return keys;
}

}  // namespace

std::string help_text() {
    std::ostringstream text;
    text << "Usage: kvfsd --ssd DIR[,size=SIZE] [--dram SIZE] [option...] MOUNTPOINT\n"
            "       kvfsd --config FILE [option...] [MOUNTPOINT]\n"
            "Cache file system for LLM KV caches: DRAM and SSD tiers under one mount.\n\n"
         << common_keys() << "\n"
         << command_line_keys()
         << "\nSIZE takes K M G T or KiB MiB GiB TiB, both powers of 1024. See kvfsd(8).\n";
    return text.str();
}

namespace {

/// Adds what boost parsed to `settings`; keys in `taken` are left out.
void collect(const po::parsed_options& parsed, const std::string& origin, const Settings& taken,
             Settings& settings) {
    for (const auto& option : parsed.options) {
        if (taken.contains(option.string_key)) continue;
        const std::string named = origin + option.string_key;
        auto& values = settings[option.string_key];
        if (option.value.empty()) values.push_back({"true", named});  // a switch
        for (const auto& value : option.value) values.push_back({value, named});
    }
}

}  // namespace

Result<Settings> read_command_line(const std::vector<std::string>& arguments) {
    po::options_description all;
    all.add(common_keys()).add(future_keys()).add(command_line_keys());
    po::positional_options_description positional;
    positional.add("mountpoint", -1);
    // A prefix of an option would be an option until the next release adds a second one like it.
    const int style = po::command_line_style::unix_style &
                      ~static_cast<int>(po::command_line_style::allow_guessing);
    try {
        Settings settings;
        collect(po::command_line_parser(arguments)
                    .options(all)
                    .positional(positional)
                    .style(style)
                    .run(),
                "--", {}, settings);
        return settings;
    } catch (const po::unknown_option& error) {
        return Error{EINVAL, "unknown option '" + error.get_option_name() + "' (see kvfsd --help)"};
    } catch (const po::error& error) {
        return Error{EINVAL, std::string(error.what()) + " (see kvfsd --help)"};
    }
}

namespace {

std::string trimmed(const std::string& line) {
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) return {};
    return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Status read_config(const std::string& path, Settings& settings) {
    std::ifstream file(path);
    if (!file || std::filesystem::is_directory(path)) {
        const int code = file ? EISDIR : errno;
        return Error{code == EINVAL ? EIO : code,
                     "config file " + path + ": " + std::strerror(code)};
    }
    po::options_description keys;
    keys.add(common_keys()).add(future_keys());
    const Settings from_command_line = settings;
    std::size_t number = 0;
    for (std::string line; std::getline(file, line);) {
        const std::string where = path + ":" + std::to_string(++number) + ": ";
        line = trimmed(line.substr(0, line.find('#')));
        if (line.empty()) continue;
        if (line.front() == '[' || line.find('=') == std::string::npos)
            return Error{EINVAL, where + "'" + line + "' is not KEY = VALUE"};
        try {
            // A line at a time: boost does not say on which line it found a fault.
            std::istringstream text(line);
            collect(po::parse_config_file(text, keys), where, from_command_line, settings);
        } catch (const po::unknown_option& error) {
            return Error{EINVAL, where + "unknown key '" + error.get_option_name() +
                                     "'; kvfs.conf(5) lists the known ones"};
        } catch (const po::error& error) {
            return Error{EINVAL, where + error.what()};
        }
    }
    if (file.bad()) return Error{EIO, "config file " + path + ": read error"};
    return {};
}

Result<std::string> single(const Settings& settings, const std::string& key,
                           const std::string& otherwise) {
    const auto found = settings.find(key);
    if (found == settings.end()) return otherwise;
    if (found->second.size() > 1) return found->second.back().wrong("is given more than once");
    if (found->second.front().value.empty()) return found->second.front().wrong("is empty");
    return found->second.front().value;
}

Result<bool> flag(const Settings& settings, const std::string& key) {
    const auto text = single(settings, key, "false");
    if (!text) return text.error();
    static const std::vector<std::string> yes{"true", "yes", "on", "1"};
    static const std::vector<std::string> no{"false", "no", "off", "0"};
    if (std::find(yes.begin(), yes.end(), *text) != yes.end()) return true;
    if (std::find(no.begin(), no.end(), *text) != no.end()) return false;
    return settings.at(key).front().wrong("'" + *text + "' is neither true nor false");
}

}  // namespace kvfs
