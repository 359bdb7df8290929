#pragma once
#include <string>

namespace kvfs::gpu_check {

/// Runs a section in a process of its own, with the options of this one, for at most so many
/// seconds. Returns "" or how it failed, as "ended by signal 11".
std::string run_again(const std::string& section, unsigned seconds);

/// What run_again() gives the program besides: the options that this one was started with.
void remember_options(int count, char** options);
/// More of them, as for the daemons that were started since.
void remember_option(const std::string& option);

}  // namespace kvfs::gpu_check
