#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "gpumap.h"
#include "gpumap/completion_queue.h"
#include "gpumap/connection.h"
#include "gpumap/daemon.h"
#include "gpumap/device.h"
#include "gpumap/draft.h"
#include "gpumap/file_reader.h"
#include "gpumap/forks.h"
#include "gpumap/job.h"
#include "gpumap/scheduler.h"
#include "gpumap/slabs.h"
#include "gpumap/staging.h"

namespace kvfs::gpumap {
class Context;
}

struct gm_file {
    kvfs::gpumap::Context* context = nullptr;
    kvfs::gpumap::FileVersion version;
    std::shared_ptr<kvfs::gpumap::Draft> draft;  ///< null: a file to load from
};

struct gm_job {
    kvfs::gpumap::Context* context = nullptr;
    kvfs::gpumap::JobPtr job;
};

namespace kvfs::gpumap {

/// One connection, one device, and all that was made from them. Thread-safe.
class Context {
  public:
    /// Requires: a configuration with all defaults filled in, but for the socket. Errors: EINVAL -
    /// out of range; ENOTSUP - backend; and those of Connection::open.
    static Result<std::unique_ptr<Context>> open(const gm_config& config);
    /// See gm_close.
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    /// Errors: ENOTCONN, with what to do.
    Status check_connected() const;
    void describe(gm_info& info) const;
    /// Is this process a child, by fork(), of the one that opened it?
    bool inherited() const { return forks() != forks_; }

    Result<std::vector<gm_stat>> look_up(std::span<const char* const> paths,
                                         std::vector<FileVersion>* versions);
    Status set(const char* path, const char* key, const char* value);
    gm_file* add_file(FileVersion version);
    /// See gm_file_create.
    Result<gm_file*> create(std::string_view path, std::string_view parent, std::uint64_t size,
                            bool make_directories);
    void close_file(gm_file* file);

    /// Starts jobs. Errors: EINVAL, EAGAIN, ENOTCONN.
    Result<gm_job*> load(std::span<gm_file* const> files, std::span<const FileRanges> ranges,
                         const gm_opts& opts);
    Result<gm_job*> save(gm_file& file, const FileRanges& ranges, const gm_opts& opts);
    Result<gm_job*> commit(gm_file& file);
    void free_job(gm_job* job);

    Device& device() { return *device_; }
    Daemon& daemon() { return *daemon_; }
    Scheduler& scheduler() { return *scheduler_; }
    CompletionQueue& completions() { return *completions_; }

  private:
    explicit Context(const gm_config& config);
    Status open_device();
    Status open_rest();
    Result<gm_job*> start(const JobPtr& job, const gm_opts& opts);

    const std::uint64_t forks_ = forks();
    gm_config config_;
    std::string backend_reason_;
    std::uint32_t mode_ = 0644;  ///< of files that are created

    std::unique_ptr<CompletionQueue> completions_;
    std::unique_ptr<Device> device_;
    std::unique_ptr<Slabs> slabs_;
    std::unique_ptr<Staging> staging_;
    std::unique_ptr<FileReader> reader_;
    std::unique_ptr<Connection> connection_;
    std::unique_ptr<Daemon> daemon_;
    std::unique_ptr<Scheduler> scheduler_;

    Mutex mutex_;
    std::unordered_map<gm_file*, std::unique_ptr<gm_file>> files_ GUARDED_BY(mutex_);
    std::unordered_map<gm_job*, std::unique_ptr<gm_job>> jobs_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::gpumap

struct gm_ctx {
    std::unique_ptr<kvfs::gpumap::Context> context;
};

namespace kvfs::gpumap {

inline const Context& context_of(const gm_ctx& ctx) { return *ctx.context; }
inline const Context& context_of(const gm_file& file) { return *file.context; }
inline const Context& context_of(const gm_job& job) { return *job.context; }

}  // namespace kvfs::gpumap
