#include "tests/support/spawn.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>

namespace kvfs::tests {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

using Clock = std::chrono::steady_clock;

int left_ms(Clock::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}

/// Adds what can be read from `fd` to `text`; closes it at its end.
void drain(int& fd, std::string& text) {
    std::array<char, 4096> bytes{};
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    if (n > 0) {
        text.append(bytes.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
        ::close(fd);
        fd = -1;
    }
}

}  // namespace

Child spawn(const Words& words, const Environment& environment) {
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    cr_assert(::pipe2(out.data(), O_CLOEXEC) == 0 && ::pipe2(err.data(), O_CLOEXEC) == 0);
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(126);
        for (const auto& [key, value] : environment) ::setenv(key.c_str(), value.c_str(), 1);
        ::dup2(out[1], STDOUT_FILENO);
        ::dup2(err[1], STDERR_FILENO);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(out[1]);
    ::close(err[1]);
    return {pid, out[0], err[0]};
}

std::string first_line(const Child& child) {
    std::string line;
    const auto deadline = Clock::now() + kPatience;
    for (;;) {
        pollfd source{child.out, POLLIN, 0};
        cr_assert(::poll(&source, 1, left_ms(deadline)) == 1, "no line after a minute");
        char byte = 0;
        if (::read(child.out, &byte, 1) != 1 || byte == '\n') return line;
        line += byte;
    }
}

Outcome finish(Child& child) {
    Outcome outcome;
    const auto deadline = Clock::now() + kPatience;
    while (child.out >= 0 || child.err >= 0) {
        std::array<pollfd, 2> sources{{{child.out, POLLIN, 0}, {child.err, POLLIN, 0}}};
        const int ready = ::poll(sources.data(), sources.size(), left_ms(deadline));
        if (ready == 0) ::kill(child.pid, SIGKILL);
        cr_assert_neq(ready, 0, "it did not end within a minute; it said: %s", outcome.err.c_str());
        if (sources[0].revents != 0) drain(child.out, outcome.out);
        if (sources[1].revents != 0) drain(child.err, outcome.err);
    }
    outcome.code = wait_for(child.pid);
    child.pid = -1;
    return outcome;
}

Outcome run(const Words& words, const Environment& environment) {
    Child child = spawn(words, environment);
    return finish(child);
}

void adopt_orphans() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

std::vector<pid_t> children() {
    std::ifstream file("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    std::vector<pid_t> pids;
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    return pids;
}

int wait_for(pid_t pid) {
    const auto deadline = Clock::now() + kPatience;
    int state = 0;
    while (::waitpid(pid, &state, WNOHANG) != pid) {
        if (Clock::now() > deadline) ::kill(pid, SIGKILL);
        cr_assert(Clock::now() <= deadline, "process %d did not end within a minute", pid);
        ::usleep(2000);
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

}  // namespace kvfs::tests
