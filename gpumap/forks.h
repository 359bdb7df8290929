#pragma once
#include <cstdint>

namespace kvfs::gpumap {

/// How often fork() has made this process another one since this was first called. Thread-safe.
std::uint64_t forks();

}  // namespace kvfs::gpumap
