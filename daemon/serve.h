#pragma once
#include <functional>

#include "daemon/options.h"
#include "daemon/wire.h"
#include "fs/base/result.h"

namespace kvfs {

/// Blocks, for this thread and all it starts, the signals that serve() waits for. Before any
/// thread.
void block_signals();

/// Serves until SIGTERM or SIGINT (without a terminal to lose, SIGHUP is ignored) or until somebody
/// unmounts; then stops the fronts, spills what is sealed and closes the namespace. Calls `ready`
/// once the mount answers through the kernel. A second signal ends the process at once, with 1:
/// what was not spilled is lost, and nothing stays mounted.
/// Errors: a sentence - the mount never answered, or its connection failed.
Status serve(Parts& parts, const Options& options, const std::function<void()>& ready);

}  // namespace kvfs
