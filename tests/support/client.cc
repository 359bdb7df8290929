#include "tests/support/client.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

namespace kvfs::tests {

void in_two_processes(const std::function<bool(int rank)>& body) {
    std::array<pid_t, 2> workers{};
    for (int rank = 0; rank < 2; ++rank) {
        workers[static_cast<std::size_t>(rank)] = ::fork();
        if (workers[static_cast<std::size_t>(rank)] == 0) ::_exit(body(rank) ? 0 : 1);
    }
    for (const pid_t worker : workers) {
        int status = -1;
        cr_assert_eq(::waitpid(worker, &status, 0), worker);
        cr_expect_eq(status, 0, "a worker failed; stderr says where");
    }
}

bool holds(bool holds, const char* what) {
    if (!holds)
        std::fprintf(stderr, "worker %d: not so: %s (%s)\n", ::getpid(), what,
                     std::strerror(errno));
    return holds;
}

}  // namespace kvfs::tests
