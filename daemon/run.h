#pragma once
#include <string>
#include <vector>

namespace kvfs {

/// kvfsd, from its arguments (without the program's name) to its exit code: 0 - served and stopped
/// clean, or answered --help; 1 - failed; 2 - usage. Says why on stderr, in one line.
int run_kvfsd(const std::vector<std::string>& arguments);

}  // namespace kvfs
