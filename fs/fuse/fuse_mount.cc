#include "fs/fuse/fuse_mount.h"

#include <poll.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <thread>

#include "fs/fuse/front.h"
#include "fs/fuse/mountpoint.h"
#include "fs/fuse/reply.h"
#include "fs/fuse/ring_transport.h"

namespace kvfs {
namespace {

using fuse::Front;
using fuse::RingTransport;

constexpr auto kInvalidationPatience = std::chrono::seconds(1);

/// What libfuse said last: the reason, when fuse_session_new or _mount fails. It logs on the thread
/// that called.
thread_local std::string last_complaint;
/// A line comes in several pieces at times.
thread_local bool complaint_goes_on = false;
/// What it says then goes into mount()'s Error, and need not go into the log as well.
thread_local bool mounting = false;

void take_log(fuse_log_level level, const char* format, va_list arguments) {
    std::array<char, 512> line{};
    // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): the format is libfuse's
    std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view text = line.data();
    if (!complaint_goes_on) last_complaint.clear();
    complaint_goes_on = !text.ends_with('\n');
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with("fuse: ")) text.remove_prefix(6);
    if (text.empty()) return;
    last_complaint += text;
    if (level <= FUSE_LOG_ERR && !mounting) {
        spdlog::error("fuse: {}", text);
    } else {
        spdlog::debug("fuse: {}", text);
    }
}

/// Bytes of one read or write request: 1 MiB, or what the machine's owner allows, up to 4 MiB
/// (beyond that the gain is lost in the noise, and every thread keeps a buffer of this size).
unsigned request_bytes() {
    constexpr unsigned kPagesDefault = 256;
    constexpr unsigned kBytesMax = 4 << 20;
    const auto page = static_cast<unsigned>(::sysconf(_SC_PAGESIZE));
    unsigned pages = kPagesDefault;
    std::ifstream limit("/proc/sys/fs/fuse/max_pages_limit");
    unsigned allowed = 0;
    if (limit >> allowed) pages = std::max(allowed, 1U);
    return pages >= kBytesMax / page ? kBytesMax : pages * page;
}

void greet(void* user_data, fuse_conn_info* connection) {
    auto& front = *static_cast<Front*>(user_data);
    // Requests of the background kind (asynchronous direct I/O) that may be under way.
    constexpr unsigned kBackgroundMax = 64;
    for (const std::uint64_t wanted :
         {std::uint64_t{FUSE_CAP_ATOMIC_O_TRUNC}, std::uint64_t{FUSE_CAP_PARALLEL_DIROPS},
          std::uint64_t{FUSE_CAP_ASYNC_DIO}, std::uint64_t{FUSE_CAP_CACHE_SYMLINKS},
          std::uint64_t{FUSE_CAP_DIRECT_IO_ALLOW_MMAP}}) {
        fuse_set_feature_flag(connection, wanted);
    }
    if (fuse_set_feature_flag(connection, FUSE_CAP_PASSTHROUGH)) {
        connection->max_backing_stack_depth = FUSE_BACKING_STACKED_OVER;  // a container's overlay
        front.backing_files.offer(front.device);
    }
    // One copy, between the program's memory and the arena; splicing through a pipe makes it two.
    for (const std::uint64_t unwanted :
         {std::uint64_t{FUSE_CAP_SPLICE_READ}, std::uint64_t{FUSE_CAP_SPLICE_WRITE},
          std::uint64_t{FUSE_CAP_SPLICE_MOVE}}) {
        fuse_unset_feature_flag(connection, unwanted);
    }
    if (!fuse_get_feature_flag(connection, FUSE_CAP_DIRECT_IO_ALLOW_MMAP)) {
        spdlog::warn("this kernel cannot mmap files of the mount shared (Linux 6.6 can)");
    }
    connection->max_write = front.rings != nullptr ? RingTransport::kRequestBytes : request_bytes();
    connection->max_background = kBackgroundMax;
    connection->congestion_threshold = kBackgroundMax * 3 / 4;
    if (front.ready) front.ready();
}

bool asks_for(const std::vector<std::string>& options, std::string_view wanted) {
    for (const std::string& list : options) {
        std::string_view rest = list;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            if (rest.substr(0, comma) == wanted) return true;
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return false;
}

/// `options` without those that are not libfuse's business: ours, and what fstab carries for
/// mount(8).
std::string for_libfuse(const std::vector<std::string>& options) {
    std::string kept = "fsname=kvfs,subtype=kvfs,default_permissions";
    if (::geteuid() == 0 && !asks_for(options, "noallow_other") &&
        !asks_for(options, "allow_root")) {
        kept += ",allow_other";
    }
    for (const std::string& list : options) {
        std::string_view rest = list;
        while (!rest.empty()) {
            const std::size_t comma = std::min(rest.find(','), rest.size());
            const std::string_view option = rest.substr(0, comma);
            rest.remove_prefix(std::min(comma + 1, rest.size()));
            constexpr std::array<std::string_view, 8> kOthers = {
                "noallow_other", "io_uring", "no_io_uring", "defaults",
                "_netdev",       "nofail",   "auto",        "noauto"};
            if (option.empty() || std::ranges::find(kOthers, option) != kOthers.end()) continue;
            kept.append(",").append(option);
        }
    }
    return kept;
}

/// Why libfuse did not mount, and what to do.
Error mount_error(const std::string& mountpoint, int code) {
    const std::string where = "cannot mount on " + mountpoint + ": ";
    if (::access("/dev/fuse", F_OK) != 0) {
        return Error{ENODEV, where +
                                 "there is no /dev/fuse; load the module (modprobe fuse), give " +
                                 "the container the device (--device /dev/fuse), or serve the " +
                                 "mapper alone (--no-mount)"};
    }
    if (code == EPERM || code == EACCES) {
        return Error{code, where + last_complaint + "; run as root, or give the container " +
                               "/dev/fuse and CAP_SYS_ADMIN, or install fusermount3 (package " +
                               "fuse3), or serve the mapper alone (--no-mount)"};
    }
    // fusermount3, which mounts for ordinary users, says why on stderr.
    if (last_complaint.empty()) return Error{EPERM, where + "fusermount3 refused"};
    return Error{code == 0 ? EPERM : code, where + last_complaint};
}

/// Of an inode that the kernel does not know, nothing needs to be done.
void invalidate_attributes(fuse_session* session, Ino ino) {
    constexpr off_t kNoBytes = -1;
    static_cast<void>(fuse_lowlevel_notify_inval_inode(session, ino, kNoBytes, 0));
}

fuse_lowlevel_ops make_ops() {
    fuse_lowlevel_ops ops{};
    ops.init = greet;
    fuse::set_name_ops(ops);
    fuse::set_byte_ops(ops);
    fuse::set_directory_ops(ops);
    fuse::set_xattr_ops(ops);
    return ops;
}

}  // namespace

class FuseMount::Impl {
  public:
    Impl(Files& files, Options options)
        : options_(std::move(options)),
          front_{files, std::move(options_.ready), std::move(options_.on_request)} {}
    ~Impl() {
        close();
        if (session_ != nullptr) fuse_session_destroy(session_);
    }

    Status open();
    Status run();
    void stop();

  private:
    void invalidate(const Files::Change& change);
    bool quiet() const;
    void drain();
    void release_handles(bool abandoned);
    void close();

    Options options_;
    Front front_;
    fuse_session* session_ = nullptr;
    std::unique_ptr<RingTransport> rings_;
    std::atomic<bool> stopping_ = false;
    bool mounted_ = false;

    Mutex mutex_;
    CondVar invalidated_;
    bool invalidating_ GUARDED_BY(mutex_) = false;
    bool deaf_ GUARDED_BY(mutex_) = true;  ///< there is no kernel to invalidate anything in
};

Status FuseMount::Impl::open() {
    fuse_set_log_func(take_log);
    auto path = fuse::prepare_mountpoint(options_.mountpoint);
    if (!path.ok()) return path.error();
    options_.mountpoint = *path;

    std::string list = for_libfuse(options_.mount_options);
    std::array<char*, 3> argv = {const_cast<char*>("kvfsd"), const_cast<char*>("-o"), list.data()};
    fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
    const fuse_lowlevel_ops ops = make_ops();
    last_complaint.clear();
    session_ = fuse_session_new(&arguments, &ops, sizeof ops, &front_);
    fuse_opt_free_args(&arguments);
    if (session_ == nullptr) {
        return Error{EINVAL, "mount options -o " + list + ": " + last_complaint};
    }
    if (!asks_for(options_.mount_options, "no_io_uring") && RingTransport::is_offered()) {
        rings_ = std::make_unique<RingTransport>(session_);
    }
    errno = 0;
    if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) {
        return mount_error(options_.mountpoint, errno);
    }
    mounted_ = true;
    if (rings_) {
        const Status attached = rings_->attach();
        if (!attached.ok()) {
            spdlog::info("{}", attached.error().message());
            rings_.reset();
        }
        front_.rings = rings_.get();
    }
    front_.device = fuse_session_fd(session_);
    {
        MutexLock lock(mutex_);
        deaf_ = false;
    }
    front_.files.set_listener([this](const Files::Change& change) { invalidate(change); });
    return {};
}

/// Waits for the kernel's lock on the directory, and so, maybe, for requests: on Files' thread,
/// never on one that serves requests.
void FuseMount::Impl::invalidate(const Files::Change& change) {
    {
        MutexLock lock(mutex_);
        if (deaf_) return;
        invalidating_ = true;
    }
    if (change.parent != 0) {
        // Of a name it does not know the kernel does not take that the directory has changed.
        if (fuse_lowlevel_notify_inval_entry(session_, change.parent, change.name.c_str(),
                                             change.name.size()) != 0)
            invalidate_attributes(session_, change.parent);
    }
    if (change.ino != 0) invalidate_attributes(session_, change.ino);
    MutexLock lock(mutex_);
    invalidating_ = false;
    invalidated_.notify_all();
}

Status FuseMount::Impl::run() {
    assert(mounted_);
    fuse_loop_config* config = fuse_loop_cfg_create();
    if (config == nullptr) return Error{ENOMEM};
    // With rings /dev/fuse carries little, and libfuse cannot clone what we read it for.
    fuse_loop_cfg_set_clone_fd(config, rings_ ? 0 : 1);
    fuse_loop_cfg_set_max_threads(config, std::max(options_.threads_max, 2U));
    const int result = fuse_session_loop_mt(session_, config);
    fuse_loop_cfg_destroy(config);
    if (rings_) rings_->stop();

    // An abort through /sys leaves the dead mount in place, a umount does not. Only then is it
    // certain that programs have closed their files, though the kernel may not have got round to
    // say so.
    const bool unmounted = !fuse::kvfs_is_mounted_on(options_.mountpoint);
    close();
    release_handles(!unmounted);
    if (result < 0 && !stopping_ && !unmounted) {
        return Error{EIO, options_.mountpoint + ": connection to the kernel failed"};
    }
    return {};
}

bool FuseMount::Impl::quiet() const {
    pollfd device{fuse_session_fd(session_), POLLIN, 0};
    return ::poll(&device, 1, 0) == 0 && front_.busy.load(std::memory_order_acquire) == 0;
}

/// A program's close(2) does not wait for us: what it closed must be released, or its file counts
/// as never finished. No request waiting and none being served for a while is as near as one can
/// know.
void FuseMount::Impl::drain() {
    constexpr auto kPatience = std::chrono::seconds(1);
    constexpr auto kPause = std::chrono::milliseconds(2);
    constexpr int kQuietPauses = 5;
    const Deadline deadline = deadline_after(kPatience);
    for (int calm = 0; calm < kQuietPauses && Clock::now() < deadline;) {
        calm = quiet() ? calm + 1 : 0;
        std::this_thread::sleep_for(kPause);
    }
}

void FuseMount::Impl::stop() {
    if (stopping_.exchange(true)) return;
    {
        // An invalidation may wait for a program's request, which must be served until it has
        // ended.
        MutexLock lock(mutex_);
        const bool was_deaf = std::exchange(deaf_, true);
        const Deadline deadline = deadline_after(kInvalidationPatience);
        while (invalidating_ && invalidated_.wait_until(lock, deadline)) {
        }
        if (was_deaf) return;  // run() is returning, or was never to be called
    }
    drain();
    fuse_session_exit(session_);
#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 18)
    // Before 3.18 the loop sees that only with the next request.
    std::thread([path = options_.mountpoint] {
        struct statvfs st {};
        ::statvfs(path.c_str(), &st);
    }).detach();
#endif
}

void FuseMount::Impl::release_handles(bool abandoned) {
    for (auto& handle : front_.handles.take_all()) {
        if (abandoned && handle->writes) continue;  // never finished: not to be served as a file
        const Status released = fuse::checked("release", [&]() -> Status {
            front_.files.release(std::move(handle));
            return {};
        });
        static_cast<void>(released);
    }
    front_.listings.take_all();
    front_.lingering.release_all();
}

void FuseMount::Impl::close() {
    if (!std::exchange(mounted_, false)) return;
    {
        MutexLock lock(mutex_);
        deaf_ = true;
        const Deadline deadline = deadline_after(kInvalidationPatience);
        while (invalidating_ && invalidated_.wait_until(lock, deadline)) {
        }
        // It waits for a program that waits for us, who serve no more: abort the connection for
        // both.
        if (invalidating_) ::umount2(options_.mountpoint.c_str(), MNT_FORCE | MNT_DETACH);
        while (invalidating_) invalidated_.wait(lock);
    }
    front_.files.set_listener(nullptr);
    fuse_session_unmount(session_);
}

FuseMount::FuseMount(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FuseMount::~FuseMount() = default;

Result<std::unique_ptr<FuseMount>> FuseMount::mount(Files& files, Options options) {
    auto impl = std::make_unique<Impl>(files, std::move(options));
    mounting = true;
    const Status opened = impl->open();
    mounting = false;
    if (!opened.ok()) return opened.error();
    return std::unique_ptr<FuseMount>(new FuseMount(std::move(impl)));
}

Status FuseMount::run() { return impl_->run(); }

void FuseMount::stop() { impl_->stop(); }

}  // namespace kvfs
