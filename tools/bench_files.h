#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"

namespace kvfs {

/// The plain file operations that measurements are made of. All throw Failure.

/// Seconds that `work` takes.
double time_of(const std::function<void()>& work);
/// Seconds until `threads` calls of `work`, each on its own thread with its number, have ended.
double time_of_threads(unsigned threads, const std::function<void(unsigned)>& work);
/// Microseconds that a call of `work` takes while `threads` make `calls` each: p50 and p99 of all.
/// `work` gets the thread's number.
std::vector<double> latencies_us(unsigned threads, unsigned calls,
                                 const std::function<void(unsigned)>& work);
double gb_per_s(std::uint64_t bytes, double seconds);

/// Reads `path` to its end, buffer by buffer. Returns its bytes.
std::uint64_t read_file(const std::string& path, std::span<std::byte> buffer);
/// Creates (or empties) `path`, writes `bytes` of `buffer` over and over, closes.
void write_file(const std::string& path, std::uint64_t bytes, std::span<const std::byte> buffer);
/// Waits until the file is written back: on SSD, for kvfs.
void sync_file(const std::string& path);
void remove_file(const std::string& path);
/// An open descriptor. `flags` as open(2) has them; new files get mode 0644.
UniqueFd open_file(const std::string& path, int flags);
std::uint64_t resident_bytes(const std::string& path);

/// Memory that is there, filled with something that is not zeros.
Mapping touched_memory(std::size_t bytes);

std::string numbered(const std::string& prefix, std::uint64_t number);

/// Microseconds of a 4 KiB read anywhere in the file, p50 and p99. Each thread has a descriptor.
std::vector<double> read_pages(const std::string& path, std::uint64_t file_bytes, unsigned threads,
                               unsigned calls);

}  // namespace kvfs
