#pragma once
#include <iosfwd>
#include <string>
#include <vector>

namespace kvfs {

/// The three streams of a program, so that tests can run it inside their own process.
struct Io {
    std::istream& in;
    std::ostream& out;
    std::ostream& err;
};

enum ExitCode { kSuccess = 0, kFailed = 1, kUsage = 2 };

/// What the program `kvfs` does with its arguments (the program's name left out): runs a verb.
/// Returns an ExitCode. Throws nothing.
int run_kvfs(const std::vector<std::string>& arguments, Io io);

}  // namespace kvfs
