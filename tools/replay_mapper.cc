#include <fmt/format.h>
#include <gpumap.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/clock.h"
#include "fs/base/mapping.h"
#include "tools/block.h"
#include "tools/replay_lane.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// Blocks saved at a time: drafts are DRAM that nobody can evict.
constexpr std::size_t kDraftsMax = 16;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The error of a gm_ call that failed on this thread.
Error gpumap_error(const std::string& what, gm_status status) {
    const std::string reason = gm_message();
    return Error{ENOTCONN, what + ": " + (reason.empty() ? gm_strerror(status) : reason)};
}

/// A context, and the device memory that lanes take from it.
struct Context {
    explicit Context(gm_ctx* opened) : ctx(opened) {}
    ~Context() { gm_close(ctx); }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    gm_ctx* ctx;
    bool host = true;  ///< device memory is memory: it can be looked at in place
};
using ContextPtr = std::shared_ptr<Context>;

enum class Outcome { kThere, kEvicted, kUnreadable, kFailed };

Outcome outcome_of(gm_status status) {
    switch (status) {
        case GM_OK:
            return Outcome::kThere;
        case GM_ENOENT:
        case GM_EEVICTED:
        case GM_ESTALE:
            return Outcome::kEvicted;
        case GM_ECHECKSUM:
        case GM_EIO:
            return Outcome::kUnreadable;
        default:
            return Outcome::kFailed;
    }
}

/// Files opened together, closed together.
class OpenFiles {
  public:
    explicit OpenFiles(std::size_t count) : files_(count) {}
    ~OpenFiles() {
        for (gm_file* file : files_) gm_file_close(file);
    }
    OpenFiles(const OpenFiles&) = delete;
    OpenFiles& operator=(const OpenFiles&) = delete;
    gm_file** data() { return files_.data(); }

  private:
    std::vector<gm_file*> files_;
};

using JobPtr = std::unique_ptr<gm_job, void (*)(gm_job*)>;

/// A draft on its way to its name.
struct Publication {
    std::string path;
    gm_file* draft = nullptr;
    gm_job* job = nullptr;
};

class MapperLane final : public ReplayLane {
  public:
    MapperLane(ContextPtr context, const LaneOptions& options, gm_devptr memory, Mapping staging)
        : context_(std::move(context)),
          options_(options),
          memory_(memory),
          staging_(std::move(staging)) {}
    ~MapperLane() override { gm_device_free(context_->ctx, memory_); }

    Result<Done> load_prefix(std::span<const std::uint64_t> hash_ids) override {
        Done done;
        set_paths(hash_ids);
        const auto start = Clock::now();
        const Result<std::size_t> cached = look_up();
        done.seconds = seconds_since(start);
        if (!cached) return cached.error();
        const std::size_t window = window_blocks(options_.block_bytes);
        while (done.blocks < *cached) {
            const std::size_t count = std::min(window, *cached - done.blocks);
            const auto begin = Clock::now();
            const Result<std::size_t> loaded = load(done.blocks, count);
            done.seconds += seconds_since(begin);
            if (!loaded) return loaded.error();
            const std::size_t right = verify_window(hash_ids, done.blocks, *loaded);
            done.blocks += right;
            if (right < count) break;
        }
        counts_.blocks_loaded += done.blocks;
        return done;
    }

    Result<Done> save_rest(std::span<const std::uint64_t> hash_ids, std::size_t first) override {
        std::vector<std::size_t> absent;
        for (std::size_t i = first; i < hash_ids.size(); ++i) {
            // The first one missed, whatever the look-up had said.
            if (i == first || stats_[i].status != GM_OK)
                absent.push_back(i);
            else
                ++counts_.blocks_kept;
        }
        Done done;
        const std::size_t window = std::min(kDraftsMax, window_blocks(options_.block_bytes));
        while (done.blocks < absent.size()) {
            const auto batch = std::span(absent).subspan(
                done.blocks, std::min(window, absent.size() - done.blocks));
            if (const Status made = make_content(hash_ids, batch); !made) return made.error();
            const auto start = Clock::now();
            if (const Status saved = save(batch); !saved) return saved.error();
            done.seconds += seconds_since(start);
            done.blocks += batch.size();
        }
        counts_.blocks_saved += done.blocks;
        return done;
    }

  private:
    void set_paths(std::span<const std::uint64_t> hash_ids) {
        paths_.clear();
        path_texts_.clear();
        for (const std::uint64_t id : hash_ids)
            paths_.push_back(block_path(options_.directory, id));
        for (const std::string& path : paths_) path_texts_.push_back(path.c_str());
        stats_.assign(paths_.size(), gm_stat{});
    }

    /// Asks for all blocks at once; how many of the leading ones are cached.
    Result<std::size_t> look_up() {
        if (paths_.empty()) return std::size_t{0};
        const auto count = static_cast<std::uint32_t>(paths_.size());
        const gm_status status = gm_lookup(context_->ctx, path_texts_.data(), count, stats_.data());
        if (status != GM_OK) return gpumap_error("look-up", status);
        std::size_t cached = 0;
        for (; cached < paths_.size(); ++cached) {
            const gm_stat& stat = stats_[cached];
            if (stat.status == GM_ENOENT) break;
            if (stat.status != GM_OK)
                return Error{EACCES, paths_[cached] + ": " + gm_strerror(stat.status)};
            if (stat.size != options_.block_bytes) {
                count_wrong_size(paths_[cached], stat.size, options_.block_bytes);
                break;
            }
        }
        return cached;
    }

    /// Loads blocks [first, first + count) as one job. Returns how many of them, from the first on,
    /// are in device memory; the next one is then a miss.
    Result<std::size_t> load(std::size_t first, std::size_t count) {
        OpenFiles files(count);
        std::vector<gm_stat> opened(count);
        const auto files_max = static_cast<std::uint32_t>(count);
        gm_status status = gm_file_open_many(context_->ctx, path_texts_.data() + first, files_max,
                                             files.data(), opened.data());
        if (status != GM_OK) return gpumap_error("open", status);
        std::uint32_t there = 0;
        while (there < count && opened[there].status == GM_OK) ++there;
        if (there < count) {
            const Status miss = count_miss(paths_[first + there], opened[there].status);
            if (!miss) return miss.error();
        }
        if (there == 0) return std::size_t{0};
        std::vector<std::uint32_t> one_each(there, 1);
        std::vector<gm_range> ranges(there);
        for (std::uint32_t i = 0; i < there; ++i)
            ranges[i] = {0, options_.block_bytes, block_memory(i), 0, i};
        gm_job* started = nullptr;
        status = gm_prefetch_many(context_->ctx, files.data(), one_each.data(), there,
                                  ranges.data(), nullptr, &started);
        if (status != GM_OK) return gpumap_error("load", status);
        const JobPtr job(started, gm_job_free);
        status = gm_job_wait(job.get(), GM_ALL_GROUPS, -1);
        return status == GM_OK ? Result<std::size_t>(there) : leading_good(job.get(), first);
    }

    /// Of a job that failed in part: the ranges before the first that did.
    Result<std::size_t> leading_good(gm_job* job, std::size_t first) {
        std::uint32_t failed = 0, failures = 0;
        gm_status reason = GM_OK;
        const gm_status status = gm_job_errors(job, &failed, &reason, 1, &failures);
        if (status != GM_OK || failures == 0) return gpumap_error("load", status);
        const Status miss = count_miss(paths_[first + failed], reason);
        if (!miss) return miss.error();
        return std::size_t{failed};
    }

    Status count_miss(const std::string& path, gm_status reason) {
        switch (outcome_of(reason)) {
            case Outcome::kThere:
                break;
            case Outcome::kEvicted:
                ++counts_.blocks_evicted;
                break;
            case Outcome::kUnreadable:
                ++counts_.blocks_unreadable;
                break;
            case Outcome::kFailed:
                return no_daemon(path + ": " + gm_strerror(reason));
        }
        return {};
    }

    std::size_t verify_window(std::span<const std::uint64_t> hash_ids, std::size_t first,
                              std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            if (!verify(hash_ids[first + i], paths_[first + i], look_at_device(i))) return i;
        return count;
    }

    /// The bytes of block `slot` of the lane's device memory, where the CPU can read them.
    std::span<const std::byte> look_at_device(std::size_t slot) {
        if (context_->host) return host_view(slot);
        gm_device_copy_out(context_->ctx, staging_.data(), block_memory(slot), staging_.size(),
                           nullptr);
        return staging_.bytes();
    }

    Status make_content(std::span<const std::uint64_t> hash_ids,
                        std::span<const std::size_t> blocks) {
        for (std::size_t slot = 0; slot < blocks.size(); ++slot) {
            const std::uint64_t id = hash_ids[blocks[slot]];
            if (context_->host) {
                fill_block(id, host_view(slot));
                continue;
            }
            fill_block(id, staging_.bytes());
            const gm_status status = gm_device_copy_in(context_->ctx, block_memory(slot),
                                                       staging_.data(), staging_.size(), nullptr);
            if (status != GM_OK) return gpumap_error("copy to the device", status);
        }
        return {};
    }

    /// Saves `blocks`, whose content is in device memory; returns when all have their names.
    Status save(std::span<const std::size_t> blocks) {
        std::vector<Publication> under_way;
        Status outcome;
        for (std::size_t slot = 0; slot < blocks.size() && outcome; ++slot) {
            gm_status status = start_save(blocks[slot], slot, under_way);
            if (status == GM_EAGAIN && !under_way.empty()) {
                outcome = finish(under_way);
                if (outcome) status = start_save(blocks[slot], slot, under_way);
            }
            if (outcome && status != GM_OK) outcome = gpumap_error(paths_[blocks[slot]], status);
        }
        const Status rest = finish(under_way);
        return outcome ? rest : outcome;
    }

    gm_status start_save(std::size_t block, std::size_t slot, std::vector<Publication>& under_way) {
        std::uint64_t size = options_.block_bytes;
        Publication publication{paths_[block], nullptr, nullptr};
        gm_status status = gm_file_open(context_->ctx, path_texts_[block], GM_CREATE | GM_MAKE_DIRS,
                                        &publication.draft, &size);
        if (status != GM_OK) return status;
        const gm_range range{0, options_.block_bytes, block_memory(slot), 0, 0};
        gm_job* saving = nullptr;
        status = gm_save(publication.draft, &range, 1, nullptr, &saving);
        // The commit tells how the save went; its own job is not needed.
        if (status == GM_OK) status = gm_commit(publication.draft, 0, &publication.job);
        gm_job_free(saving);
        if (status == GM_OK)
            under_way.push_back(std::move(publication));
        else
            gm_file_close(publication.draft);
        return status;
    }

    static Status finish(std::vector<Publication>& under_way) {
        Status outcome;
        for (const Publication& publication : under_way) {
            const gm_status status = gm_job_wait(publication.job, GM_ALL_GROUPS, -1);
            if (status != GM_OK && outcome)
                outcome = no_daemon(publication.path + ": save: " + gm_strerror(status));
            gm_job_free(publication.job);
            gm_file_close(publication.draft);
        }
        under_way.clear();
        return outcome;
    }

    gm_devptr block_memory(std::size_t slot) const { return memory_ + slot * options_.block_bytes; }
    std::span<std::byte> host_view(std::size_t slot) const {
        return {reinterpret_cast<std::byte*>(block_memory(slot)), options_.block_bytes};
    }

    ContextPtr context_;
    LaneOptions options_;
    gm_devptr memory_;  ///< window_blocks() of device memory
    Mapping staging_;   ///< one block, when device memory is not the CPU's
    std::vector<std::string> paths_;
    std::vector<const char*> path_texts_;
    std::vector<gm_stat> stats_;
};

Result<std::uint32_t> backend_number(const std::string& name) {
    if (name == "auto") return std::uint32_t{GM_BACKEND_AUTO};
    if (name == "host") return std::uint32_t{GM_BACKEND_HOST};
    if (name == "cuda") return std::uint32_t{GM_BACKEND_CUDA};
    return Error{EINVAL, "backend '" + name + "' is none of auto host cuda"};
}

Result<std::unique_ptr<ReplayLane>> make_lane(const ContextPtr& context,
                                              const LaneOptions& options) {
    Result<Mapping> staging = Mapping::anonymous(options.block_bytes);
    if (!staging) return staging.error();
    const std::uint64_t bytes = options.block_bytes * window_blocks(options.block_bytes);
    gm_devptr memory = 0;
    const gm_status status = gm_device_alloc(context->ctx, bytes, &memory);
    if (status != GM_OK) return gpumap_error("device memory", status);
    return std::unique_ptr<ReplayLane>(
        std::make_unique<MapperLane>(context, options, memory, std::move(*staging)));
}

}  // namespace

Result<LaneFactory> mapper_lanes(const LaneOptions& options, const std::string& socket,
                                 const std::string& backend) {
    const Result<std::uint32_t> number = backend_number(backend);
    if (!number) return number.error();
    gm_config config{};
    config.size = sizeof config;
    config.backend = *number;
    config.socket_path = socket.empty() ? nullptr : socket.c_str();
    gm_ctx* opened = nullptr;
    const gm_status status = gm_open(&config, &opened);
    if (status != GM_OK) return no_daemon(gm_message());  // which names the socket
    auto context = std::make_shared<Context>(opened);
    gm_info info{};
    info.size = sizeof info;
    gm_query(opened, &info);
    context->host = info.backend == GM_BACKEND_HOST;
    return LaneFactory([context, options] { return make_lane(context, options); });
}

}  // namespace kvfs
