#include "daemon/detach.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace kvfs {
namespace {

/// The caller's part: ends as the daemon's start ends.
[[noreturn]] void wait_for(pid_t daemon, int from_daemon) {
    char byte = 0;
    ssize_t got = 0;
    while ((got = ::read(from_daemon, &byte, 1)) < 0 && errno == EINTR) {
    }
    if (got == 1) ::_exit(0);
    int state = 0;
    while (::waitpid(daemon, &state, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(state))
        std::fprintf(stderr, "kvfsd: ended by signal %d (%s) while starting\n", WTERMSIG(state),
                     ::strsignal(WTERMSIG(state)));
    ::_exit(WIFEXITED(state) ? WEXITSTATUS(state) : 1);
}

}  // namespace

Result<Detached> Detached::start() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("pipe");
    UniqueFd from_daemon(ends[0]);
    UniqueFd to_caller(ends[1]);
    const pid_t caller = ::getpid();
    const pid_t daemon = ::fork();
    if (daemon < 0) return errno_error("fork");
    if (daemon > 0) {
        to_caller.reset();
        wait_for(daemon, from_daemon.get());
    }
    ::setsid();
    // Ctrl-C reaches the caller only; a daemon nobody waits for any more is not wanted.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != caller) ::_exit(1);
    return Detached(std::move(to_caller));
}

void Detached::ready() {
    ::prctl(PR_SET_PDEATHSIG, 0);
    if (::chdir("/") != 0) ::_exit(1);  // cannot happen; a busy directory of the caller's would
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (null) ::dup2(null.get(), fd);
    const char byte = 0;
    static_cast<void>(!::write(caller_.get(), &byte, 1));  // a caller that is gone need not know
    caller_.reset();
}

}  // namespace kvfs
