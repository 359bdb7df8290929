// gm_* of jobs. What each does stands in gpumap.h.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>

#include "gpumap.h"
#include "gpumap/api_guard.h"
#include "gpumap/context.h"

namespace gpumap = kvfs::gpumap;
using gpumap::fail;
using gpumap::guarded;
using gpumap::invalid;

namespace {

kvfs::Result<gm_opts> checked(const gm_opts* given) {
    gm_opts opts{};
    if (given == nullptr) return opts;
    if (!gpumap::is_size(given->size)) return kvfs::Error{EINVAL, "gm_opts: size is not set"};
    std::memcpy(&opts, given, std::min<std::size_t>(given->size, sizeof opts));
    if ((opts.flags & ~(GM_NOTIFY | GM_NOTIFY_GROUPS)) != 0)
        return kvfs::Error{EINVAL, "gm_opts: unknown flags"};
    return opts;
}

// What programs that call without a C compiler count on.
static_assert(sizeof(gm_range) == 32 && sizeof(gm_grid) == 80 && sizeof(gm_opts) == 32);
static_assert(sizeof(gm_result) == 32 && sizeof(gm_stat) == 24 && sizeof(gm_config) == 48);
static_assert(offsetof(gm_info, backend_reason) == 64 && sizeof(gm_info) == 448);

gm_status with_message(gm_status status) {
    return status < 0 ? fail(status, std::string("the job: ") + gm_strerror(status)) : status;
}

/// Hands the job over, or waits for it when nobody wants it.
gm_status hand_over(kvfs::Result<gm_job*> started, gm_job** job) {
    if (!started) return fail(started.error());
    if (job != nullptr) {
        *job = *started;
        return GM_OK;
    }
    const gm_status status = gm_job_wait(*started, GM_ALL_GROUPS, -1);
    gm_job_free(*started);
    return status;
}

gm_status load(gpumap::Context& context, std::span<gm_file* const> files,
               std::span<const gpumap::FileRanges> ranges, const gm_opts* given, gm_job** job) {
    const auto opts = checked(given);
    if (!opts) return fail(opts.error());
    for (const gm_file* file : files) {
        if (file == nullptr || file->context != &context)
            return invalid("a file is NULL, or of another context");
        if (file->draft != nullptr) return invalid("a draft cannot be loaded from");
    }
    return hand_over(context.load(files, ranges, *opts), job);
}

/// Is base + blocks * block_stride + layers * layer_stride + bytes within 64 bits?
bool fits(std::uint64_t base, std::uint64_t blocks, std::uint64_t block_stride,
          std::uint64_t layers, std::uint64_t layer_stride, std::uint64_t bytes) {
    std::uint64_t across = 0;
    std::uint64_t down = 0;
    return !__builtin_mul_overflow(blocks, block_stride, &across) &&
           !__builtin_mul_overflow(layers, layer_stride, &down) &&
           !__builtin_add_overflow(base, across, &base) &&
           !__builtin_add_overflow(base, down, &base) &&
           !__builtin_add_overflow(base, bytes, &base);
}

kvfs::Status check(const gm_grid& grid) {
    const std::uint64_t pieces = std::uint64_t{grid.n_blocks} * grid.n_layers;
    if (pieces > std::numeric_limits<std::uint32_t>::max() / 2)
        return kvfs::Error{EINVAL, "gm_grid: more than 2^31 pieces"};
    if (pieces == 0) return {};
    std::uint64_t last_block = grid.n_blocks - 1;
    if (grid.block_ids != nullptr) {
        const auto [least, most] =
            std::minmax_element(grid.block_ids, grid.block_ids + grid.n_blocks);
        if (*least < 0) return kvfs::Error{EINVAL, "gm_grid: a block id is negative"};
        last_block = static_cast<std::uint64_t>(*most);
    }
    // What wraps around could be found within the file again, as other bytes.
    const std::uint64_t last_layer = grid.n_layers - 1;
    if (!fits(grid.file_off, grid.n_blocks - 1, grid.file_block_stride, last_layer,
              grid.file_layer_stride, grid.piece))
        return kvfs::Error{EINVAL, "gm_grid: offsets in the file wrap around"};
    if (!fits(grid.dev_base, last_block, grid.dev_block_stride, last_layer, grid.dev_layer_stride,
              grid.piece))
        return kvfs::Error{EINVAL, "gm_grid: addresses in the device wrap around"};
    return {};
}

/// The pieces of a grid as ranges.
kvfs::Result<std::vector<gm_range>> ranges_of(const gm_grid& grid) {
    if (kvfs::Status checked = check(grid); !checked) return checked.error();
    const std::uint32_t layers_per_group = std::max(grid.layers_per_group, 1U);
    std::vector<gm_range> ranges;
    ranges.reserve(std::size_t{grid.n_blocks} * grid.n_layers);
    for (std::uint32_t b = 0; b < grid.n_blocks; ++b) {
        const std::int64_t block = grid.block_ids != nullptr ? grid.block_ids[b] : std::int64_t{b};
        const std::uint64_t file_off = grid.file_off + b * grid.file_block_stride;
        const gm_devptr dst =
            grid.dev_base + static_cast<std::uint64_t>(block) * grid.dev_block_stride;
        for (std::uint32_t l = 0; l < grid.n_layers; ++l)
            ranges.push_back({file_off + l * grid.file_layer_stride, grid.piece,
                              dst + l * grid.dev_layer_stride, l / layers_per_group, 0});
    }
    return ranges;
}

}  // namespace

extern "C" {

gm_status gm_prefetch(gm_file* file, const gm_range* ranges, uint32_t n, const gm_opts* opts,
                      gm_job** job) {
    return guarded(file, [&] {
        if (job != nullptr) *job = nullptr;
        if (file == nullptr || (n > 0 && ranges == nullptr))
            return invalid("gm_prefetch: an argument is NULL");
        const gpumap::FileRanges wanted{file->version.size, {ranges, n}};
        return load(*file->context, {&file, 1}, {&wanted, 1}, opts, job);
    });
}

gm_status gm_prefetch_grid(gm_file* file, const gm_grid* grid, const gm_opts* opts, gm_job** job) {
    return guarded(file, [&] {
        if (job != nullptr) *job = nullptr;
        if (file == nullptr || grid == nullptr)
            return invalid("gm_prefetch_grid: an argument is NULL");
        if (grid->size < sizeof *grid || !gpumap::is_size(grid->size))
            return invalid("gm_prefetch_grid: grid->size is not set");
        if (grid->reserved != 0) return invalid("gm_prefetch_grid: grid->reserved must be 0");
        const auto ranges = ranges_of(*grid);
        if (!ranges) return fail(ranges.error());
        const gpumap::FileRanges wanted{file->version.size, *ranges};
        return load(*file->context, {&file, 1}, {&wanted, 1}, opts, job);
    });
}

gm_status gm_prefetch_many(gm_ctx* ctx, gm_file* const* files, const uint32_t* n_ranges,
                           uint32_t n_files, const gm_range* ranges, const gm_opts* opts,
                           gm_job** job) {
    return guarded(ctx, [&] {
        if (job != nullptr) *job = nullptr;
        if (ctx == nullptr || (n_files > 0 && (files == nullptr || n_ranges == nullptr)))
            return invalid("gm_prefetch_many: an argument is NULL");
        std::vector<gpumap::FileRanges> wanted(n_files);
        std::size_t first = 0;
        for (uint32_t f = 0; f < n_files; ++f) {
            if (files[f] == nullptr || (n_ranges[f] > 0 && ranges == nullptr))
                return invalid("gm_prefetch_many: an argument is NULL");
            wanted[f] = {files[f]->version.size, {ranges + first, n_ranges[f]}};
            first += n_ranges[f];
        }
        return load(*ctx->context, {files, n_files}, wanted, opts, job);
    });
}

gm_status gm_save(gm_file* file, const gm_range* ranges, uint32_t n, const gm_opts* opts,
                  gm_job** job) {
    return guarded(file, [&] {
        if (job != nullptr) *job = nullptr;
        if (file == nullptr || (n > 0 && ranges == nullptr))
            return invalid("gm_save: an argument is NULL");
        if (file->draft == nullptr) return invalid("gm_save: not opened with GM_CREATE");
        const auto options = checked(opts);
        if (!options) return fail(options.error());
        const gpumap::FileRanges wanted{file->version.size, {ranges, n}};
        return hand_over(file->context->save(*file, wanted, *options), job);
    });
}

gm_status gm_commit(gm_file* file, uint32_t flags, gm_job** job) {
    return guarded(file, [&] {
        if (job != nullptr) *job = nullptr;
        if (file == nullptr || flags != 0) return invalid("gm_commit: file is NULL, or flags");
        if (file->draft == nullptr) return invalid("gm_commit: not opened with GM_CREATE");
        return hand_over(file->context->commit(*file), job);
    });
}

gm_status gm_job_wait_stream(gm_job* job, uint32_t group, gm_stream stream, uint32_t flags) {
    return guarded(job, [&] {
        if (job == nullptr || flags != 0)
            return invalid("gm_job_wait_stream: job is NULL, or flags");
        if (!job->job->outcome.has_group(group))
            return invalid("gm_job_wait_stream: no such group");
        const auto batches = job->job->outcome.wait_handed_over(group);
        const kvfs::Status waits = job->context->device().wait_for(stream, batches);
        return waits ? gm_status{GM_OK} : fail(waits.error());
    });
}

gm_status gm_job_poll(gm_job* job, uint32_t group) {
    return guarded(job, [&] {
        if (job == nullptr) return invalid("gm_job_poll: job is NULL");
        if (!job->job->outcome.has_group(group)) return invalid("gm_job_poll: no such group");
        gm_status status = job->job->outcome.poll(group);
        if (status == GM_PENDING) {
            job->context->device().look();
            status = job->job->outcome.poll(group);
        }
        return with_message(status);
    });
}

gm_status gm_job_wait(gm_job* job, uint32_t group, int64_t timeout_us) {
    return guarded(job, [&] {
        if (job == nullptr) return invalid("gm_job_wait: job is NULL");
        if (!job->job->outcome.has_group(group)) return invalid("gm_job_wait: no such group");
        // Beyond what a clock can say, it is for ever.
        constexpr std::int64_t kLongestUs = std::int64_t{1} << 50;
        std::optional<kvfs::Deadline> deadline;
        if (timeout_us >= 0 && timeout_us < kLongestUs)
            deadline = kvfs::Clock::now() + std::chrono::microseconds(timeout_us);
        return with_message(job->job->outcome.wait(group, deadline));
    });
}

gm_status gm_job_errors(gm_job* job, uint32_t* idx, gm_status* st, uint32_t cap, uint32_t* n) {
    return guarded(job, [&] {
        if (job == nullptr || n == nullptr || (cap > 0 && (idx == nullptr || st == nullptr)))
            return invalid("gm_job_errors: an argument is NULL");
        const auto errors = job->job->outcome.errors();
        *n = static_cast<uint32_t>(errors.size());
        for (uint32_t i = 0; i < std::min(cap, *n); ++i) {
            idx[i] = errors[i].first;
            st[i] = errors[i].second;
        }
        return gm_status{GM_OK};
    });
}

gm_status gm_job_reprioritize(gm_job* job, int32_t priority) {
    return guarded(job, [&] {
        if (job == nullptr) return invalid("gm_job_reprioritize: job is NULL");
        job->context->scheduler().reprioritize(job->job, priority);
        return gm_status{GM_OK};
    });
}

gm_status gm_job_cancel(gm_job* job) {
    return guarded(job, [&] {
        if (job == nullptr) return invalid("gm_job_cancel: job is NULL");
        job->context->scheduler().stop(job->job, GM_ECANCELLED);
        return gm_status{GM_OK};
    });
}

void gm_job_free(gm_job* job) {
    guarded(job, [&] {
        if (job != nullptr) job->context->free_job(job);
        return gm_status{GM_OK};
    });
}

}  // extern "C"
