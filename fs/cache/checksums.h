#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace kvfs {

class Content;

/// CRC32C of each chunk of a file while it is written. As far as a file is written front to back,
/// its bytes are summed as they go by, while they are in a cache; finish() reads the rest.
///
/// Not thread-safe.
class Checksums {
  public:
    /// The file has `bytes` at `offset` now. Requires: nobody else is writing there.
    void wrote(std::uint64_t offset, std::span<const std::byte> bytes);
    /// What the file has at and after `offset` is not what it was.
    void changed(std::uint64_t offset);
    /// Those of all chunks of a file of `size` bytes that are in `content`.
    std::vector<std::uint32_t> finish(const Content& content, std::uint64_t size) const;

  private:
    std::uint64_t summed_ = 0;           ///< bytes, from the front
    std::vector<std::uint32_t> chunks_;  ///< of these bytes; the last may be of part of a chunk
};

}  // namespace kvfs
