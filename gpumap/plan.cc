#include "gpumap/plan.h"

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "fs/base/crc32c.h"

namespace kvfs::gpumap {
namespace {

constexpr std::uint32_t kGroupsMax = 65536;

struct Wanted {
    std::uint32_t file;
    std::uint32_t group;
    PlannedRange range;
};

std::vector<std::uint32_t> group_numbers(std::span<const FileRanges> files) {
    std::vector<std::uint32_t> groups;
    for (const FileRanges& file : files) {
        for (const gm_range& range : file.ranges) {
            if (groups.empty() || groups.back() != range.group) groups.push_back(range.group);
        }
    }
    std::sort(groups.begin(), groups.end());
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    return groups;
}

Status check(const gm_range& range, std::uint32_t index) {
    const char* what = nullptr;
    if (range.group >= kGroupsMax) what = ": its group is above 65535";
    if (range.len > std::numeric_limits<gm_devptr>::max() - range.dst)
        what = ": it wraps around in the device";
    if (what == nullptr) return {};
    return Error{EINVAL, "range " + std::to_string(index) + what};
}

/// Fills in pieces and what belongs to them from ranges that are in order.
void put_together(Plan& plan, const std::vector<Wanted>& wanted, std::uint32_t n_files) {
    plan.ranges.reserve(wanted.size());
    for (const Wanted& want : wanted) {
        const PlannedRange& range = want.range;
        while (plan.first_piece.size() <= want.file)
            plan.first_piece.push_back(static_cast<std::uint32_t>(plan.pieces.size()));
        const bool same_file = plan.pieces.size() > plan.first_piece[want.file];
        Piece* last = same_file ? &plan.pieces.back() : nullptr;
        if (last != nullptr && last->group == want.group &&
            last->file_off + last->length == range.file_off &&
            last->device + last->length == range.device) {
            last->length += range.length;
            ++last->n_ranges;
        } else {
            plan.pieces.push_back({range.file_off, range.length, range.device, want.group,
                                   static_cast<std::uint32_t>(plan.ranges.size()), 1});
        }
        plan.ranges.push_back(range);
        plan.group_bytes[want.group] += range.length;
    }
    while (plan.first_piece.size() <= n_files)
        plan.first_piece.push_back(static_cast<std::uint32_t>(plan.pieces.size()));
}

}  // namespace

Result<Plan> make_plan(std::span<const FileRanges> files) {
    std::size_t total = 0;
    for (const FileRanges& file : files) total += file.ranges.size();
    if (total >= std::numeric_limits<std::uint32_t>::max())
        return Error{EINVAL, "too many ranges for one job"};
    Plan plan;
    plan.groups = group_numbers(files);
    plan.group_bytes.resize(plan.groups.size());

    std::vector<Wanted> wanted;
    wanted.reserve(total);
    std::uint32_t index = 0;
    std::size_t group = 0;
    for (std::uint32_t f = 0; f < files.size(); ++f) {
        for (const gm_range& range : files[f].ranges) {
            if (Status checked = check(range, index); !checked) return checked.error();
            if (plan.groups[group] != range.group) {
                const auto found =
                    std::lower_bound(plan.groups.begin(), plan.groups.end(), range.group);
                group = static_cast<std::size_t>(found - plan.groups.begin());
            }
            const auto its_group = static_cast<std::uint32_t>(group);
            const std::uint64_t size = files[f].file_size;
            if (range.file_off > size || range.len > size - range.file_off)
                plan.too_short.emplace_back(index, its_group);
            else if (range.len > 0)
                wanted.push_back({f, its_group, {range.file_off, range.len, range.dst, index}});
            ++index;
        }
    }
    const auto before = [](const Wanted& a, const Wanted& b) {
        return std::tie(a.file, a.group, a.range.file_off) <
               std::tie(b.file, b.group, b.range.file_off);
    };
    if (!std::is_sorted(wanted.begin(), wanted.end(), before))
        std::stable_sort(wanted.begin(), wanted.end(), before);
    put_together(plan, wanted, static_cast<std::uint32_t>(files.size()));
    return plan;
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
        const bool goes_on =
            !reads.empty() && reads.back().first == first_group &&
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
