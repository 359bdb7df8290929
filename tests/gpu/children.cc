#include "tests/gpu/children.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "fs/base/clock.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

extern char** environ;

namespace kvfs::gpu_check {
namespace {

constexpr const char* kSection = "--section=";

std::vector<std::string>& options() {
    static std::vector<std::string> all;
    return all;
}

std::string text_of(int status) {
    if (WIFSIGNALED(status))
        return "ended by signal " + std::to_string(WTERMSIG(status)) + " (" +
               ::strsignal(WTERMSIG(status)) + ")";
    return WEXITSTATUS(status) == 0 ? "" : "exit " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

void remember_options(int count, char** given) {
    options().assign(given, given + count);
    std::erase_if(options(), [](const std::string& one) { return one.starts_with(kSection); });
}

void remember_option(const std::string& option) { options().push_back(option); }

std::string run_again(const std::string& section, unsigned seconds) {
    std::vector<std::string> words{"gpu-check"};
    words.insert(words.end(), options().begin(), options().end());
    words.push_back(kSection + section);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = -1;
    if (const int code =
            ::posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ);
        code != 0)
        return Error{code, "posix_spawn"}.message();
    const Deadline end = Clock::now() + std::chrono::seconds(seconds);
    int status = 0;
    for (bool killed = false; ::waitpid(pid, &status, WNOHANG) == 0;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        try {
            check_interrupted();
        } catch (...) {
            ::kill(pid, SIGKILL);
            throw;
        }
        if (Clock::now() < end) continue;
        if (!killed) ::kill(pid, SIGKILL);
        killed = true;
        // One that the kernel holds on to, in the driver, is left to it.
        if (Clock::now() > end + std::chrono::seconds(10)) return "hangs, and cannot be killed";
    }
    if (Clock::now() >= end) return "not done after " + std::to_string(seconds) + " s";
    return text_of(status);
}

}  // namespace kvfs::gpu_check
