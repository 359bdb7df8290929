#pragma once
#include <map>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// One value as it was written, and where: "--dram" or "/etc/kvfs/kvfs.conf:3: dram".
struct Setting {
    std::string value;
    std::string origin;

    Error wrong(const std::string& what) const { return Error{EINVAL, origin + ": " + what}; }
};

/// All values of each key, in order.
using Settings = std::map<std::string, std::vector<Setting>>;

/// What `--help` prints.
std::string help_text();

/// Errors: EINVAL - an unknown option, a missing value.
Result<Settings> read_command_line(const std::vector<std::string>& arguments);

/// Adds the settings of the file at `path` (absolute), but for keys that are there already.
/// Errors: EINVAL - a line that is not KEY = VALUE, an unknown key; others - it cannot be read.
Status read_config(const std::string& path, Settings& settings);

/// The value of `key`, or `otherwise`. Errors: EINVAL - empty, or given more than once.
Result<std::string> single(const Settings& settings, const std::string& key,
                           const std::string& otherwise);

/// The same for a switch: absent is false.
Result<bool> flag(const Settings& settings, const std::string& key);

}  // namespace kvfs
