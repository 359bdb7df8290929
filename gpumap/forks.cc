#include "gpumap/forks.h"

#include <pthread.h>

#include <atomic>

namespace kvfs::gpumap {
namespace {

std::atomic<std::uint64_t> count = 0;

}  // namespace

std::uint64_t forks() {
    static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++count; });
    static_cast<void>(registered);
    return count.load(std::memory_order_relaxed);
}

}  // namespace kvfs::gpumap
