#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "fs/base/result.h"
#include "fs/io/ring.h"
#include "gpumap.h"
#include "gpumap/daemon.h"

namespace kvfs::gpumap {

/// Reads chunks of leased files past the page cache and verifies them. Thread-safe.
class FileReader {
  public:
    /// `depth`: reads in the kernel at a time. `staging` is where all reads go. Errors: Ring's.
    static Result<std::unique_ptr<FileReader>> create(unsigned depth, std::span<std::byte> staging);
    /// Waits for what is under way.
    ~FileReader();

    /// One status for each chunk. Called once, on the ring's thread.
    using Done = std::function<void(std::vector<gm_status>)>;

    /// Reads chunks [first, first + into.size() / kChunkBytes) of the file, which must have that
    /// many. `lease`, which is one on SSD, and `into` must stay until `done` has run.
    void read(const FileLease& lease, std::uint64_t first, std::span<std::byte> into, Done done);

  private:
    explicit FileReader(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}

    std::unique_ptr<Ring> ring_;
};

/// The statuses of chunks [first, ...) of the file, of which `into` holds the first `got` bytes
/// (below 0: an errno value, negative).
std::vector<gm_status> verify_chunks(const FileLease& lease, std::uint64_t first,
                                     std::span<const std::byte> into, std::int64_t got);

}  // namespace kvfs::gpumap
