#pragma once
#include <sys/types.h>

#include "fs/base/fd.h"
#include "fs/base/result.h"
#include "fs/files/files.h"

namespace kvfs::mapper {

/// The process at the other end of a Unix socket, as it was when it connected.
struct Peer {
    pid_t pid = 0;  ///< 0: not visible from here (another PID namespace)
    Caller caller;
    UniqueFd process;  ///< a pidfd: readable once the process is gone
};

/// Errors: ESRCH - the process cannot be watched: it is gone, or hidden in another PID namespace on
/// a kernel before 6.5; others as getsockopt.
Result<Peer> peer_of(int socket);

/// Is the process that `pidfd` names gone, with all its threads and mappings?
bool has_ended(int pidfd);

}  // namespace kvfs::mapper
