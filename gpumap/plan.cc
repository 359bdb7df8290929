#include "gpumap/plan.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <tuple>

#include "fs/base/crc32c.h"

namespace kvfs::gpumap {
namespace {

constexpr std::uint32_t kGroupsMax = 65536;

/// Fills in the plan's groups. Returns the place of each in there, by the caller's number.
Result<std::vector<std::uint32_t>> number_groups(Plan& plan, std::span<const FileRanges> files) {
    std::vector<std::uint32_t> place;  // at first: 1 where there is such a group
    std::uint32_t index = 0;
    for (const FileRanges& file : files) {
        for (const gm_range& range : file.ranges) {
            if (range.group >= kGroupsMax)
                return Error{EINVAL,
                             "range " + std::to_string(index) + ": its group is above 65535"};
            if (range.group >= place.size()) place.resize(range.group + 1);
            place[range.group] = 1;
            ++index;
        }
    }
    for (std::uint32_t number = 0; number < place.size(); ++number) {
        if (place[number] == 0) continue;
        place[number] = static_cast<std::uint32_t>(plan.groups.size());
        plan.groups.push_back(number);
    }
    plan.group_bytes.resize(plan.groups.size());
    plan.group_pieces.resize(plan.groups.size());
    return place;
}

bool comes_before(const PlannedRange& a, const PlannedRange& b) {
    return a.group != b.group ? a.group < b.group : a.file_off < b.file_off;
}

bool is_within(const FileRanges& file, const gm_range& range) {
    return range.file_off <= file.file_size && range.len <= file.file_size - range.file_off;
}

/// Appends one file's ranges, of which the first has number `index`, in order of group and offset.
/// Layers of blocks come group by turns, and in order within each: they are dealt out to their
/// groups.
void append_sorted(Plan& plan, const FileRanges& file, std::span<const std::uint32_t> place,
                   std::uint32_t index) {
    const auto take_each = [&](auto take) {
        std::uint32_t number = index;
        for (const gm_range& range : file.ranges) {
            if (range.len > 0 && is_within(file, range))
                take(
                    PlannedRange{range.file_off, range.len, range.dst, number, place[range.group]});
            ++number;
        }
    };
    // Groups that have hardly a range each are put together into one pile.
    const std::size_t groups = plan.groups.size();
    const std::size_t piles = groups > file.ranges.size() ? 1 : groups;
    const auto pile = [&](const PlannedRange& range) { return piles == 1 ? 0 : range.group; };
    std::vector<std::size_t> ends(piles + 1);
    take_each([&](const PlannedRange& range) { ++ends[pile(range) + 1]; });
    ends[0] = plan.ranges.size();
    std::partial_sum(ends.begin(), ends.end(), ends.begin());
    auto begin = static_cast<std::ptrdiff_t>(plan.ranges.size());
    plan.ranges.resize(ends.back());
    take_each([&](const PlannedRange& range) { plan.ranges[ends[pile(range)]++] = range; });
    ends.pop_back();
    for (const std::size_t next : ends) {
        const auto end = static_cast<std::ptrdiff_t>(next);
        const auto from = plan.ranges.begin() + begin;
        const auto to = plan.ranges.begin() + end;
        if (!std::is_sorted(from, to, comes_before)) std::stable_sort(from, to, comes_before);
        begin = end;
    }
}

/// Puts the ranges from `first` on, which are one file's, in order, into pieces.
void put_together(Plan& plan, std::size_t first) {
    plan.first_piece.push_back(static_cast<std::uint32_t>(plan.pieces.size()));
    for (std::size_t i = first; i < plan.ranges.size(); ++i) {
        const PlannedRange& range = plan.ranges[i];
        Piece* last = i > first ? &plan.pieces.back() : nullptr;
        if (last != nullptr && last->group == range.group &&
            last->file_off + last->length == range.file_off &&
            last->device + last->length == range.device) {
            last->length += range.length;
            ++last->n_ranges;
        } else {
            plan.pieces.push_back({range.file_off, range.length, range.device, range.group,
                                   static_cast<std::uint32_t>(i), 1});
            ++plan.group_pieces[range.group];
        }
        plan.group_bytes[range.group] += range.length;
    }
}

}  // namespace

Result<Plan> make_plan(std::span<const FileRanges> files) {
    std::size_t total = 0;
    for (const FileRanges& file : files) total += file.ranges.size();
    if (total >= std::numeric_limits<std::uint32_t>::max())
        return Error{EINVAL, "too many ranges for one job"};
    Plan plan;
    const auto place = number_groups(plan, files);
    if (!place) return place.error();
    plan.ranges.reserve(total);
    plan.pieces.reserve(total);
    plan.first_piece.reserve(files.size() + 1);

    std::uint32_t index = 0;
    for (const FileRanges& file : files) {
        const std::size_t first = plan.ranges.size();
        const std::uint32_t first_index = index;
        bool in_order = true;
        for (const gm_range& range : file.ranges) {
            if (range.len > std::numeric_limits<gm_devptr>::max() - range.dst)
                return Error{EINVAL,
                             "range " + std::to_string(index) + ": it wraps around in the device"};
            const std::uint32_t group = (*place)[range.group];
            if (!is_within(file, range)) {
                plan.too_short.emplace_back(index, group);
            } else if (range.len > 0) {
                if (range.dst == 0)
                    return Error{EINVAL, "range " + std::to_string(index) + ": dst is NULL"};
                const PlannedRange next{range.file_off, range.len, range.dst, index, group};
                in_order = in_order &&
                           (plan.ranges.size() == first || !comes_before(next, plan.ranges.back()));
                if (in_order) plan.ranges.push_back(next);
            }
            ++index;
        }
        if (!in_order) {
            plan.ranges.resize(first);
            append_sorted(plan, file, *place, first_index);
        }
        put_together(plan, first);
    }
    plan.first_piece.push_back(static_cast<std::uint32_t>(plan.pieces.size()));
    return plan;
}

bool overlaps_in_file(const Plan& plan) {
    struct Part {
        std::uint64_t begin;
        std::uint64_t end;
    };
    std::vector<Part> parts;
    parts.reserve(plan.pieces.size());
    for (const Piece& piece : plan.pieces)
        parts.push_back({piece.file_off, piece.file_off + piece.length});
    const auto before = [](const Part& a, const Part& b) { return a.begin < b.begin; };
    // Of one group they are in order.
    if (plan.groups.size() > 1) std::sort(parts.begin(), parts.end(), before);
    const auto meets = [](const Part& a, const Part& b) { return b.begin < a.end; };
    return std::adjacent_find(parts.begin(), parts.end(), meets) != parts.end();
}

std::vector<std::pair<std::uint32_t, ChunkRead>> cut_at_chunks(const Plan& plan,
                                                               std::uint32_t file) {
    struct Cut {
        std::uint64_t chunk;
        std::uint32_t group;
        ChunkRead::Part part;
    };
    std::vector<Cut> cuts;
    for (std::uint32_t p = plan.first_piece[file]; p < plan.first_piece[file + 1]; ++p) {
        const Piece& piece = plan.pieces[p];
        for (std::uint64_t done = 0; done < piece.length;) {
            const std::uint64_t offset = piece.file_off + done;
            const std::uint64_t bytes =
                std::min(piece.length - done, kChunkBytes - offset % kChunkBytes);
            cuts.push_back(
                {offset / kChunkBytes, piece.group, {offset, bytes, piece.device + done, p}});
            done += bytes;
        }
    }
    const auto before = [](const Cut& a, const Cut& b) {
        return std::tie(a.chunk, a.group) < std::tie(b.chunk, b.group);
    };
    if (!std::is_sorted(cuts.begin(), cuts.end(), before))
        std::stable_sort(cuts.begin(), cuts.end(), before);

    std::vector<std::pair<std::uint32_t, ChunkRead>> reads;
    for (std::size_t i = 0; i < cuts.size();) {
        const std::uint64_t chunk = cuts[i].chunk;
        const std::uint32_t first_group = cuts[i].group;
        // A read is checked and copied once all of it has landed: at the file's end chunk by chunk,
        // so that little is left to do after the last byte.
        const bool near_end = chunk + kReadChunksMax > cuts.back().chunk;
        const bool goes_on =
            !near_end && !reads.empty() && reads.back().first == first_group &&
            reads.back().second.first_chunk + reads.back().second.chunks == chunk &&
            reads.back().second.chunks < kReadChunksMax;
        if (!goes_on) reads.push_back({first_group, ChunkRead{file, chunk, 0, {}}});
        ChunkRead& read = reads.back().second;
        ++read.chunks;
        for (; i < cuts.size() && cuts[i].chunk == chunk; ++i) read.parts.push_back(cuts[i].part);
    }
    return reads;
}

}  // namespace kvfs::gpumap
