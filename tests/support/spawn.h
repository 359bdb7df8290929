#pragma once
#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace kvfs::tests {

/// What a program that has ended leaves behind. `code`: its exit code, or 128 + its signal.
struct Outcome {
    int code = -1;
    std::string out;
    std::string err;
};

using Words = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;  ///< on top of the caller's own

/// Runs `words` (the program's path first) to its end, or rather until nobody holds its stdout and
/// stderr any more. Fails the test after 60 s.
Outcome run(const Words& words, const Environment& environment = {});

/// A program that goes on. It dies with the test.
struct Child {
    pid_t pid = -1;
    int out = -1;  ///< read ends of its stdout and stderr
    int err = -1;
};
Child spawn(const Words& words, const Environment& environment = {});
/// What it writes to stdout, up to the first newline; less if it ends before.
std::string first_line(const Child& child);
/// Waits for its end and closes the pipes.
Outcome finish(Child& child);

/// Processes that lost their parent become this process's children (a daemon, when the process that
/// started it has ended), so that they can be found and waited for.
void adopt_orphans();
std::vector<pid_t> children();
/// The exit code of an adopted child. Fails the test after 60 s.
int wait_for(pid_t pid);

}  // namespace kvfs::tests
