#include "gpumap/context.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "gpumap/cuda_device.h"
#include "gpumap/host_device.h"
#include "gpumap/signals.h"
#include "gpumap/status.h"

namespace kvfs::gpumap {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// The umask, which umask(2) could only tell by changing it.
std::uint32_t process_umask() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("Umask:"))
            return static_cast<std::uint32_t>(std::strtoul(line.c_str() + 6, nullptr, 8));
    }
    return 022;
}

/// The socket that `path` names: itself, or that of the daemon that is mounted there.
Result<std::string> socket_at(const char* path) {
    if (path == nullptr) path = std::getenv("KVFS_SOCKET");
    if (path == nullptr || *path == '\0')
        return Error{
            EINVAL,
            "no socket: give gm_config.socket_path (the daemon's --socket, or the directory "
            "where it is mounted), or set KVFS_SOCKET"};
    struct stat status {};
    if (::stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) return std::string(path);
    std::array<char, 256> value{};
    const ssize_t length = ::getxattr(path, "user.kvfs.socket", value.data(), value.size());
    if (length <= 0)
        return Error{EINVAL, std::string(path) + " is a directory, and no kvfs is mounted there"};
    return std::string(value.data(), static_cast<std::size_t>(length));
}

template <std::size_t N>
void copy_text(char (&into)[N], const std::string& text) {
    const std::size_t length = std::min(text.size(), N - 1);
    std::copy_n(text.data(), length, into);
    into[length] = '\0';
}

Status check(const gm_config& config) {
    const char* wrong = nullptr;
    if (config.backend > GM_BACKEND_CUDA) wrong = "backend";
    if (config.backend == GM_BACKEND_HOST && config.device != 0)
        wrong = "device: the host backend has device 0 only";
    if (config.flags != 0 || config.reserved != 0) wrong = "flags and reserved must be 0";
    if (config.staging_bytes < 8 * kMiB) wrong = "staging_bytes is below 8 MiB";
    if (config.inflight_mib > 65536) wrong = "inflight_mib is above 65536";
    if (config.io_depth > 1024) wrong = "io_depth is above 1024";
    if (wrong != nullptr) return Error{EINVAL, std::string("gm_config: ") + wrong};
    return {};
}

/// A path as the daemon wants it.
std::string_view relative(std::string_view path) {
    while (path.starts_with('/')) path.remove_prefix(1);
    return path;
}

gm_status lookup_status(std::uint32_t code) { return from_errno(static_cast<int>(code)); }

}  // namespace

Context::Context(const gm_config& config) : config_(config) {}

Result<std::unique_ptr<Context>> Context::open(const gm_config& config) {
    if (Status checked = check(config); !checked) return checked.error();
    const SignalsBlocked blocked;
    std::unique_ptr<Context> context(new Context(config));
    if (Status opened = context->open_device(); !opened) return opened.error();
    if (Status opened = context->open_rest(); !opened) return opened.error();
    return context;
}

Status Context::open_device() {
    const bool is_choice = config_.backend == GM_BACKEND_AUTO;
    if (config_.backend != GM_BACKEND_HOST) {
        auto cuda = CudaDevice::create(config_.device, CudaOptions::from_environment());
        if (cuda) {
            device_ = std::move(*cuda);
            if (is_choice) backend_reason_ = "cuda: " + device_->description();
            return {};
        }
        // Another ordinal than 0 is meant for a GPU.
        if (!is_choice || config_.device != 0) return cuda.error();
        backend_reason_ = "host: " + cuda.error().what;
    }
    auto device = HostDevice::create(HostDevice::options_from_environment());
    if (!device) return device.error();
    device_ = std::move(*device);
    return {};
}

Status Context::open_rest() {
    auto path = socket_at(config_.socket_path);
    if (!path) return path.error();
    auto completions = CompletionQueue::create();
    if (!completions) return completions.error();
    completions_ = std::move(*completions);
    auto staging = Staging::create(config_.staging_bytes, *device_);
    if (!staging) return staging.error();
    staging_ = std::make_unique<Staging>(std::move(*staging));
    auto reader = FileReader::create(config_.io_depth, staging_->memory());
    if (!reader) return reader.error();
    reader_ = std::move(*reader);
    auto connection = Connection::open(*path, std::chrono::milliseconds(config_.timeout_ms));
    if (!connection) return connection.error();
    connection_ = std::move(*connection);

    mode_ = 0666 & ~process_umask();
    slabs_ = std::make_unique<Slabs>(*device_);
    daemon_ = std::make_unique<Daemon>(*connection_, *slabs_);
    scheduler_ = std::make_unique<Scheduler>(
        *device_, *daemon_, *reader_, *staging_, [this] { connection_->wake(); },
        Scheduler::Options{.window_bytes = config_.inflight_mib * kMiB});
    connection_->start([this] { return scheduler_->tick(); });
    return {};
}

Context::~Context() {
    if (scheduler_ == nullptr) return;
    scheduler_->stop_all();
    {
        MutexLock lock(mutex_);
        for (const auto& [handle, file] : files_) {
            if (file->draft != nullptr) file->draft->close();
        }
        files_.clear();
        jobs_.clear();
    }
    connection_->bye();
    connection_.reset();  // its last answers go to the scheduler
    device_.reset();      // and so do its streams' last words
    reader_.reset();
    scheduler_.reset();
}

Status Context::check_connected() const {
    if (connection_->connected()) return {};
    return Error{ENOTCONN, connection_->reason()};
}

void Context::describe(gm_info& info) const {
    info.backend = device_->backend();
    info.device = device_->ordinal();
    info.connected = connection_->connected() ? 1 : 0;
    info.staging_bytes = staging_->memory().size();
    info.inflight_bytes = config_.inflight_mib * kMiB;
    info.mapped_bytes = slabs_->mapped_bytes();
    const Scheduler::Moved moved = scheduler_->moved();
    info.dram_bytes = moved.dram;
    info.file_bytes = moved.file;
    info.saved_bytes = moved.saved;
    const std::string shortcomings = device_->shortcomings();
    const char* comma = backend_reason_.empty() || shortcomings.empty() ? "" : "; ";
    copy_text(info.backend_reason, backend_reason_ + comma + shortcomings);
    copy_text(info.connection_reason, connection_->reason());
}

Result<std::vector<gm_stat>> Context::look_up(std::span<const char* const> paths,
                                              std::vector<FileVersion>* versions) {
    if (Status connected = check_connected(); !connected) return connected.error();
    std::vector<std::string_view> names;
    names.reserve(paths.size());
    for (const char* path : paths) {
        if (path == nullptr) return Error{EINVAL, "a path is NULL"};
        names.push_back(relative(path));
    }
    auto lookups = daemon_->look_up(names);
    if (!lookups) {
        Status connected = check_connected();
        return connected ? lookups.error() : connected.error();
    }
    std::vector<gm_stat> stats;
    stats.reserve(paths.size());
    for (const protocol::LookupEntry& entry : *lookups) {
        gm_stat stat{};
        stat.status = lookup_status(entry.status);
        if (stat.status == GM_OK) {
            stat.tier = static_cast<std::uint32_t>(entry.tier);
            stat.size = entry.size;
            stat.hits = entry.hits;
        }
        if (versions != nullptr)
            versions->push_back(
                {entry.inode, entry.size, entry.mtime_ns, std::string(names[stats.size()])});
        stats.push_back(stat);
    }
    return stats;
}

Status Context::set(const char* path, const char* key, const char* value) {
    if (Status connected = check_connected(); !connected) return connected;
    const Status set = daemon_->set(relative(path), key, value);
    if (set) return {};
    if (Status connected = check_connected(); !connected) return connected;
    return Error{set.error().code, std::string(path) + ": " + key + " = " + value};
}

gm_file* Context::add_file(FileVersion version) {
    auto file = std::make_unique<gm_file>();
    file->context = this;
    file->version = std::move(version);
    gm_file* handle = file.get();
    MutexLock lock(mutex_);
    files_.emplace(handle, std::move(file));
    return handle;
}

Result<gm_file*> Context::create(std::string_view path, std::string_view parent, std::uint64_t size,
                                 bool make_directories) {
    if (Status connected = check_connected(); !connected) return connected.error();
    auto lease = daemon_->draft(relative(path), relative(parent), size, mode_, make_directories);
    if (!lease) {
        Status connected = check_connected();
        return connected ? lease.error() : connected.error();
    }
    gm_file* file = add_file({0, size, 0, std::string(relative(path))});
    file->draft = std::make_shared<Draft>(*daemon_, *scheduler_, std::move(*lease));
    return file;
}

void Context::close_file(gm_file* file) {
    const std::shared_ptr<Draft> draft = file->draft;
    {
        MutexLock lock(mutex_);
        files_.erase(file);
    }
    if (draft != nullptr) draft->close();
}

Result<gm_job*> Context::load(std::span<gm_file* const> files, std::span<const FileRanges> ranges,
                              const gm_opts& opts) {
    auto plan = make_plan(ranges);
    if (!plan) return plan.error();
    auto job = std::make_shared<Job>(Job::Kind::load, std::move(*plan));
    job->files.resize(files.size());
    for (std::size_t i = 0; i < files.size(); ++i) job->files[i].version = files[i]->version;
    return start(job, opts);
}

Result<gm_job*> Context::save(gm_file& file, const FileRanges& ranges, const gm_opts& opts) {
    auto plan = make_plan(std::span(&ranges, 1));
    if (!plan) return plan.error();
    if (overlaps_in_file(*plan)) return Error{EINVAL, "two ranges overlap in the file"};
    auto job = std::make_shared<Job>(Job::Kind::save, std::move(*plan));
    job->files.resize(1);
    job->files[0].version = file.version;
    job->files[0].lease = file.draft->lease();
    if (Status begun = file.draft->begin_save(); !begun) return begun.error();
    job->on_end = [draft = file.draft](gm_status status) { draft->end_save(status); };
    auto started = start(job, opts);
    if (!started) file.draft->end_save(GM_OK);  // it was none
    return started;
}

Result<gm_job*> Context::commit(gm_file& file) {
    Plan plan;
    plan.groups = {0};
    plan.group_bytes = {1};  // a commit moves nothing: one token for its end
    plan.first_piece = {0};
    auto job = std::make_shared<Job>(Job::Kind::commit, std::move(plan));
    if (Status begun = file.draft->begin_commit(); !begun) return begun.error();
    const auto draft = file.draft;
    auto started = start(job, {});
    if (started)
        draft->commit(job);
    else
        draft->give_up_commit();
    return started;
}

Result<gm_job*> Context::start(const JobPtr& job, const gm_opts& opts) {
    if (Status connected = check_connected(); !connected) return connected.error();
    job->priority = opts.priority;
    if (opts.deadline_us > 0)
        job->deadline = Clock::now() + std::chrono::microseconds(opts.deadline_us);
    auto owned = std::make_unique<gm_job>(gm_job{this, job});
    gm_job* handle = owned.get();
    if (opts.after != nullptr) {
        job->ready = false;
        Status queued =
            device_->when_reached(opts.after, [this, job] { scheduler_->reached(job); });
        if (!queued) return queued.error();
    }
    {
        MutexLock lock(mutex_);
        jobs_.emplace(handle, std::move(owned));
    }
    const Outcome::Notice notice{completions_.get(), handle, opts.cookie, opts.flags};
    if (job->outcome.start(notice, job->plan)) {
        if (job->on_end) job->on_end(job->outcome.poll(GM_ALL_GROUPS));
        return handle;
    }
    if (Status added = scheduler_->add(job); !added) {
        free_job(handle);
        return added.error();
    }
    return handle;
}

void Context::free_job(gm_job* job) {
    std::unique_ptr<gm_job> owned;
    MutexLock lock(mutex_);
    const auto found = jobs_.find(job);
    if (found == jobs_.end()) return;
    owned = std::move(found->second);
    jobs_.erase(found);
}

}  // namespace kvfs::gpumap
