#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "gpumap.h"
#include "gpumap/daemon.h"
#include "gpumap/device.h"

namespace kvfs::gpumap {

/// A caller's range, checked, in the order in which a plan wants it.
struct PlannedRange {
    std::uint64_t file_off = 0;
    std::uint64_t length = 0;
    gm_devptr device = 0;
    std::uint32_t index = 0;  ///< in the caller's array
    std::uint32_t group = 0;  ///< index in Plan::groups
};

/// Ranges of one file and one group that follow each other in the file and in the device.
struct Piece {
    std::uint64_t file_off = 0;
    std::uint64_t length = 0;
    gm_devptr device = 0;
    std::uint32_t group = 0;  ///< index in Plan::groups
    std::uint32_t first_range = 0;
    std::uint32_t n_ranges = 0;
};

/// What a job is to move: the caller's ranges, sorted and put together.
struct Plan {
    std::vector<std::uint32_t> groups;       ///< the caller's numbers, ascending
    std::vector<std::uint64_t> group_bytes;  ///< that are to be moved
    std::vector<std::uint32_t> group_pieces;
    std::vector<PlannedRange>
        ranges;                 ///< by file, group, offset; empty and short ones are left out
    std::vector<Piece> pieces;  ///< likewise
    std::vector<std::uint32_t> first_piece;                          ///< of each file, and the end
    std::vector<std::pair<std::uint32_t, std::uint32_t>> too_short;  ///< range index, group index
};

/// The ranges that a job wants of one file.
struct FileRanges {
    std::uint64_t file_size = 0;
    std::span<const gm_range> ranges;
};

/// Errors: EINVAL - a group of 65536 or more, a device range that wraps around or is at NULL, more
/// than 2^32 - 2 ranges.
Result<Plan> make_plan(std::span<const FileRanges> files);

/// Do two ranges of a plan, which is of one file, have a byte of it in common?
bool overlaps_in_file(const Plan& plan);

/// Where in its file the bytes of a copy are, which is part of a piece of the plan.
inline std::uint64_t file_offset(const Plan& plan, const Copy& copy) {
    const Piece& piece = plan.pieces[copy.piece];
    return piece.file_off + (copy.device - piece.device);
}

/// Largest single copy: what is with the device cannot be called back.
inline constexpr std::uint64_t kCopyBytesMax = 4 << 20;

/// Cuts the pieces of file number `file` of the plan where the segments of `lease`, which is one in
/// DRAM, are cut; hands each copy with its group to `take`, in order of pieces.
template <typename Take>
void cut_at_segments(const Plan& plan, std::uint32_t file, const FileLease& lease, Take&& take) {
    const auto& segments = lease.segments;
    std::size_t at = 0;  // pieces of one group ascend in the file; a new group starts over
    for (std::uint32_t p = plan.first_piece[file]; p < plan.first_piece[file + 1]; ++p) {
        const Piece& piece = plan.pieces[p];
        std::uint64_t done = 0;
        while (done < piece.length) {
            const std::uint64_t offset = piece.file_off + done;
            if (offset < segments[at].file_off) at = 0;
            while (offset - segments[at].file_off >= segments[at].length) ++at;
            const std::uint64_t within = offset - segments[at].file_off;
            const std::uint64_t bytes =
                std::min({piece.length - done, segments[at].length - within, kCopyBytesMax});
            take(piece.group,
                 Copy{piece.device + done, segments[at].memory + within, bytes, file, p});
            done += bytes;
        }
    }
}

/// Chunks of a file that lie side by side, and what of them goes where.
struct ChunkRead {
    std::uint32_t file = 0;
    std::uint64_t first_chunk = 0;
    std::uint32_t chunks = 0;
    struct Part {
        std::uint64_t file_off = 0;
        std::uint64_t bytes = 0;
        gm_devptr device = 0;
        std::uint32_t piece = 0;
    };
    std::vector<Part> parts;  ///< none crosses the border of a chunk; by chunk
};

/// Most chunks in one read.
inline constexpr std::uint32_t kReadChunksMax = 4;

/// The reads that bring all pieces of file number `file`, each chunk once, whatever groups want
/// some of it; with the first group that does.
std::vector<std::pair<std::uint32_t, ChunkRead>> cut_at_chunks(const Plan& plan,
                                                               std::uint32_t file);

}  // namespace kvfs::gpumap
