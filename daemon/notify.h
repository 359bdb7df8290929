#pragma once
#include <string_view>

namespace kvfs {

/// Tells the service manager that started this process (systemd, Type=notify) how it is: "READY=1",
/// "STOPPING=1". Does nothing where $NOTIFY_SOCKET is not set. See sd_notify(3), whose protocol is
/// these few lines; the library is not worth a dependency.
void notify_service_manager(std::string_view state);

}  // namespace kvfs
