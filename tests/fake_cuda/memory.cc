// The fake driver's memory: allocations, registrations, and which of them a copy may name.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/fake_cuda/driver.h"

namespace fake_cuda {
namespace {

constexpr std::size_t kAlignment = 4096;
constexpr int kFreed = 0xDB;

/// May all of it be written, as the process's mappings say?
bool is_writable(const std::byte* start, std::size_t bytes) {
    const auto from = reinterpret_cast<std::uintptr_t>(start);
    std::ifstream maps("/proc/self/maps");
    std::uintptr_t covered = from;
    for (std::string line; std::getline(maps, line) && covered < from + bytes;) {
        std::uintptr_t first = 0;
        std::uintptr_t end = 0;
        char access[5] = {};
        if (std::sscanf(line.c_str(), "%lx-%lx %4s", &first, &end, access) != 3) continue;
        if (first <= covered && covered < end) {
            if (access[1] != 'w') return false;
            covered = end;
        }
    }
    return covered >= from + bytes;
}

}  // namespace

cuda::Result Driver::allocate(cuda::DevicePointer* memory, std::size_t bytes) {
    const Lock lock(mutex_);
    if (bytes == 0) return cuda::kInvalidValue;
    if (bytes > knobs_.memory || allocated_ > knobs_.memory - bytes) return cuda::kOutOfMemory;
    if (bytes > SIZE_MAX - kAlignment) return cuda::kOutOfMemory;
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    auto* start = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    if (start == nullptr) return cuda::kOutOfMemory;
    memory_[start] = {start, bytes, true, false, 0};
    allocated_ += bytes;
    *memory = reinterpret_cast<cuda::DevicePointer>(start);
    return cuda::kSuccess;
}

cuda::Result Driver::free(cuda::DevicePointer memory) {
    auto* start = reinterpret_cast<std::byte*>(memory);
    Lock lock(mutex_);
    const auto found = memory_.find(start);
    if (found == memory_.end() || !found->second.on_device) return cuda::kInvalidValue;
    const bool in_use = found->second.in_use > 0;
    const std::size_t bytes = found->second.bytes;
    // As a real one does, it waits for what uses the memory. But who frees so is mistaken.
    while (memory_.at(start).in_use > 0) changed_.wait(lock);
    memory_.erase(start);
    allocated_ -= bytes;
    lock.unlock();
    if (in_use) complain("device memory was freed under a copy");
    std::memset(start, kFreed, bytes);
    std::free(start);
    return cuda::kSuccess;
}

cuda::Result Driver::add_host(std::byte* start, std::size_t bytes, unsigned flags) {
    const bool read_only = (flags & cuda::kRegisterReadOnly) != 0;
    const bool writable = is_writable(start, bytes);
    const Lock lock(mutex_);
    if (start == nullptr || bytes == 0) return cuda::kInvalidValue;
    if (read_only && !knobs_.read_only) return cuda::kNotSupported;
    if (!read_only && !writable) return cuda::kInvalidValue;
    std::uint64_t total = bytes;
    for (const auto& [at, memory] : memory_) {
        if (memory.on_device) continue;
        if (start < memory.start + memory.bytes && memory.start < start + bytes)
            return cuda::kHostMemoryAlreadyRegistered;
        total += memory.bytes;
    }
    if (bytes >= knobs_.register_max || total > knobs_.register_total) return cuda::kOutOfMemory;
    memory_[start] = {start, bytes, false, read_only, 0};
    return cuda::kSuccess;
}

cuda::Result Driver::remove_host(std::byte* start) {
    Lock lock(mutex_);
    const auto found = memory_.find(start);
    if (found == memory_.end() || found->second.on_device) return cuda::kHostMemoryNotRegistered;
    const bool in_use = found->second.in_use > 0;
    while (memory_.at(start).in_use > 0) changed_.wait(lock);
    memory_.erase(start);
    lock.unlock();
    if (in_use) complain("host memory was unregistered under a copy");
    return cuda::kSuccess;
}

cuda::Result Driver::allocate_host(void** memory, std::size_t bytes) {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    *memory = std::aligned_alloc(kAlignment, rounded);
    if (*memory == nullptr) return cuda::kOutOfMemory;
    return add_host(static_cast<std::byte*>(*memory), rounded, cuda::kRegisterPortable);
}

cuda::Result Driver::free_host(void* memory) {
    const cuda::Result removed = remove_host(static_cast<std::byte*>(memory));
    if (removed == cuda::kSuccess) std::free(memory);
    return removed;
}

std::uint64_t Driver::registered_bytes() {
    const Lock lock(mutex_);
    std::uint64_t bytes = 0;
    for (const auto& [start, memory] : memory_) bytes += memory.on_device ? 0 : memory.bytes;
    return bytes;
}

/// The memory that all of the bytes are in; null: none. `*crosses`: some are in one.
Memory* Driver::memory_at(const std::byte* start, std::size_t bytes, bool on_device,
                          bool* crosses) {
    *crosses = false;
    for (auto& [at, memory] : memory_) {
        if (memory.on_device != on_device) continue;
        if (memory.start <= start && start + bytes <= memory.start + memory.bytes) return &memory;
        if (start < memory.start + memory.bytes && memory.start < start + bytes) *crosses = true;
    }
    return nullptr;
}

/// Checks both sides of a copy, and counts it as a user of them.
cuda::Result Driver::hold(const Copy& copy, bool to_device, Host host, Hold& held, bool* pageable) {
    const std::byte* on_device = to_device ? copy.to : copy.from;
    const std::byte* on_host = to_device ? copy.from : copy.to;
    bool crosses = false;
    Memory* device = memory_at(on_device, copy.bytes, true, &crosses);
    if (device == nullptr) return cuda::kInvalidValue;
    Memory* registered = memory_at(on_host, copy.bytes, false, &crosses);
    if (registered == nullptr && (crosses || host == Host::registered)) return cuda::kInvalidValue;
    if (registered != nullptr && registered->read_only && !to_device) return cuda::kInvalidValue;
    *pageable = registered == nullptr;
    for (Memory* memory : {device, registered}) {
        if (memory == nullptr) continue;
        ++memory->in_use;
        held.push_back(memory);
    }
    return cuda::kSuccess;
}

}  // namespace fake_cuda
