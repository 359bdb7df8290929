#include "fs/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <syslog.h>

#include <algorithm>
#include <array>
#include <memory>

namespace kvfs {

Status set_up_log(const std::string& program, const std::string& level) {
    static constexpr std::array<const char*, 6> levels{"trace", "debug", "info",
                                                       "warn",  "error", "off"};
    if (std::find(levels.begin(), levels.end(), level) == levels.end())
        return Error{EINVAL,
                     "log level '" + level + "' is none of trace debug info warn error off"};
    auto logger = std::make_shared<spdlog::logger>(
        program, std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %l: %v");
    logger->set_level(spdlog::level::from_str(level));
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
    return {};
}

void log_to_syslog(const std::string& program) {
    auto logger = std::make_shared<spdlog::logger>(
        program,
        std::make_shared<spdlog::sinks::syslog_sink_mt>(program, LOG_PID, LOG_DAEMON, true));
    logger->set_pattern("%v");
    logger->set_level(spdlog::default_logger()->level());
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace kvfs
