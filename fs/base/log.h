#pragma once
#include <spdlog/spdlog.h>

#include <string>

#include "fs/base/result.h"

namespace kvfs {

/// The program's log is spdlog's default logger: spdlog::info("spilled {} to {}", ...).
/// Until set_up_log is called it prints to stderr.

/// Sends the log to stderr, with the program's name, at `level` (trace debug info warn error off).
/// Errors: EINVAL - unknown level.
Status set_up_log(const std::string& program, const std::string& level);

/// From now on to syslog (facility daemon): what a daemonized process has instead of a terminal.
void log_to_syslog(const std::string& program);

}  // namespace kvfs
