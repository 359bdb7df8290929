#pragma once
#include <cstddef>

namespace kvfs {

// memcpy where it is known which side is not in a cache. Both regions must not overlap.

/// For bytes that lie in memory, and soon are needed where they go. A CPU prefetches by itself only
/// up to the end of a 4 KiB page; this tells it what comes next.
void copy_from_memory(std::byte* to, const std::byte* from, std::size_t size);

/// For bytes that lie in a cache, and are not soon needed where they go: stores them past the
/// caches (non-temporal), which saves reading what is overwritten. Other threads see them as after
/// any store once they have synchronized with this one.
void copy_to_memory(std::byte* to, const std::byte* from, std::size_t size);

}  // namespace kvfs
