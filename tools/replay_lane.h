#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// What one lane of a replay has counted.
struct LaneCounts {
    std::uint64_t blocks_loaded = 0;
    std::uint64_t blocks_saved = 0;
    std::uint64_t blocks_kept = 0;        ///< behind the first miss, but there: not saved again
    std::uint64_t blocks_evicted = 0;     ///< there when looked up, gone when loaded: a miss
    std::uint64_t blocks_unreadable = 0;  ///< EIO or checksum: refused by kvfs, so a miss, too
    std::uint64_t mismatches = 0;         ///< not the bytes that belong there
    std::string first_mismatch;           ///< which file, and how

    void add(const LaneCounts& other);
};

/// One way to the cache, as one thread of an engine uses it: loads a prompt's cached prefix, saves
/// the rest. Not thread-safe; lanes run beside each other.
class ReplayLane {
  public:
    virtual ~ReplayLane() = default;

    /// How much of the work was done, and how long it took without making and verifying content.
    struct Done {
        std::size_t blocks = 0;
        double seconds = 0;
    };

    /// Loads the leading blocks that are cached, to the first miss, and verifies them.
    /// Errors: whatever is not a miss (no daemon, no permission, a deadline passed).
    virtual Result<Done> load_prefix(std::span<const std::uint64_t> hash_ids) = 0;
    /// Of the same blocks, saves those from `first` on that are not there.
    virtual Result<Done> save_rest(std::span<const std::uint64_t> hash_ids, std::size_t first) = 0;

    /// What was counted since the last call.
    LaneCounts take_counts() { return std::exchange(counts_, {}); }

  protected:
    /// Compares; counts, and remembers the first mismatch. True when the bytes are right.
    bool verify(std::uint64_t hash_id, const std::string& path, std::span<const std::byte> bytes);
    /// A file of another size than a block's can only be a foreign one, or damage.
    void count_wrong_size(const std::string& path, std::uint64_t size, std::uint64_t expected);

    LaneCounts counts_;
};

struct LaneOptions {
    std::string directory = "replay";  ///< below the mount's root
    std::uint64_t block_bytes = 0;
};

/// Makes lanes that share what can be shared. Call from one thread.
using LaneFactory = std::function<Result<std::unique_ptr<ReplayLane>>()>;

/// Blocks held in memory by one lane at a time: enough to keep an SSD busy, little enough for many
/// lanes.
std::size_t window_blocks(std::uint64_t block_bytes);

/// Through gpumap: batched look-up, one job per window of blocks, into device memory.
/// `socket`: the daemon's, or its mount; "": gpumap's default. `backend`: auto, host or cuda.
/// Errors: EINVAL - no such backend; ENOTCONN - with the sentence of gpumap.
Result<LaneFactory> mapper_lanes(const LaneOptions& options, const std::string& socket,
                                 const std::string& backend);

/// Through the mount, as an engine that knows nothing of kvfs: open, read; write, rename.
LaneFactory posix_lanes(const LaneOptions& options, const std::string& mount);

}  // namespace kvfs
