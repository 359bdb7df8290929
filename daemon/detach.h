#pragma once
#include "fs/base/fd.h"
#include "fs/base/result.h"

namespace kvfs {

/// Turns the process into a daemon, in two steps, so that whoever started it waits until it serves
/// and gets its error messages (on stderr) and its exit code if it does not.
class Detached {
  public:
    /// Forks. Returns in the child, which still has the caller's stderr and ends when it is
    /// interrupted at the terminal; the caller's process waits and never returns.
    /// Requires: no threads yet. Errors: EAGAIN, ENOMEM.
    static Result<Detached> start();

    /// Lets go of the terminal and of the caller, whose process ends with 0.
    void ready();

  private:
    explicit Detached(UniqueFd caller) : caller_(std::move(caller)) {}
    UniqueFd caller_;  ///< the waiting process reads the other end
};

}  // namespace kvfs
