#pragma once
#include <optional>
#include <string>
#include <vector>

namespace kvfs::tests {

/// What a call returned, or minus the errno.
using Outcome = long;

/// The directory of an attempt; ends in a slash.
using In = const std::string&;

/// One call, in a directory with `file` ("content"), `empty`/, `full`/`entry`, the symbolic links
/// `link` -> file, `loop` -> loop and `dangling` -> nowhere.
struct Attempt {
    const char* what;
    Outcome (*run)(In in);
    /// What the mount answers where the disk answers something else, and the sentence of
    /// SEMANTICS.md that says so.
    std::optional<Outcome> on_mount{};
    const char* claim = "";
};

/// Makes each attempt on the mount and in a directory on an ordinary disk, in a new directory each:
/// both must answer alike, unless SEMANTICS.md says otherwise.
void expect_alike(const std::vector<Attempt>& attempts);

/// Of a call's result, before errno is lost.
Outcome outcome(long result);
/// Of open: success without the descriptor's number. Closes it.
Outcome opened(int fd);

}  // namespace kvfs::tests
