#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <optional>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/names/namespace_impl.h"

namespace kvfs {
namespace {

/// The state file is written once for so many inode numbers.
constexpr Ino kInodesAtOnce = 1 << 20;
/// No database has handed out numbers faster than this since 1970.
constexpr Ino kInodesASecond = 1 << 20;

constexpr std::string_view kFormat = "format";

/// Locks `directory` against a second daemon; `make`: makes it and those above it.
Result<UniqueFd> lock_directory(const std::string& directory, bool make) {
    std::error_code failed;
    if (make) std::filesystem::create_directories(directory, failed);
    if (failed) return Error{failed.value(), "names: cannot make " + directory};
    UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return errno_error("names: " + directory);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return errno_error("names: cannot lock " + directory);
        return Error{EBUSY, "names: " + directory + " is in use by another daemon"};
    }
    return fd;
}

/// Empty: the database may be trusted, or there never was one.
std::string why_untrusted(const std::optional<State>& state, bool exists, const std::string& boot) {
    if (!state) return exists ? "nothing tells whether it was synced" : "";
    if (!exists) return "it is gone";
    if (!state->clean && state->boot_id != boot) return "the machine went down while it was in use";
    return "";
}

}  // namespace

Result<std::unique_ptr<Namespace>> Namespace::open(const Options& options) {
    Result<std::unique_ptr<Impl>> impl = Impl::open(options);
    if (!impl) return impl.error();
    return std::unique_ptr<Namespace>(new Namespace(std::move(*impl)));
}

Namespace::Namespace(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Namespace::~Namespace() = default;

bool Namespace::needs_rebuild() const { return impl_->needs_rebuild(); }
Status Namespace::finish_rebuild() { return impl_->finish_rebuild(); }
Status Namespace::sync() { return impl_->sync(); }
Status Namespace::close_clean() { return impl_->close_clean(); }

Result<std::unique_ptr<Namespace::Impl>> Namespace::Impl::open(const Options& options) {
    std::unique_ptr<Impl> impl(new Impl);
    impl->directory_ = options.directory;
    Result<UniqueFd> lock = lock_directory(options.directory, !options.read_only);
    if (!lock) return lock.error();
    impl->lock_ = std::move(*lock);

    const std::string boot = options.boot_id.empty() ? current_boot_id() : options.boot_id;
    const bool exists = ::access((options.directory + "/data.mdb").c_str(), F_OK) == 0;
    const std::optional<State> state = read_state(options.directory);
    impl->state_ = state.value_or(State{});
    impl->next_ino_ = std::max(impl->state_.inodes_below, kRootIno + 1);
    impl->rebuild_ = impl->state_.rebuild;
    impl->state_.boot_id = boot;
    impl->state_.clean = false;

    const std::string why =
        options.start_over ? "a new one was asked for" : why_untrusted(state, exists, boot);
    if (options.read_only) {
        if (!exists) return Error{ENOENT, "names: no database in " + options.directory};
        if (!why.empty()) return Error{EBADMSG, why};
        if (impl->rebuild_) return Error{EBADMSG, "a rebuild of it was cut short"};
        if (Status opened = impl->open_read_only(options); !opened) return opened.error();
        return impl;
    }
    if (!why.empty()) {
        if (Status aside = impl->set_aside(why); !aside) return aside.error();
    }
    Status opened = impl->open_database(options);
    if (!opened && opened.error().code == EBADMSG) {
        if (Status aside = impl->set_aside(opened.error().what); !aside) return aside.error();
        opened = impl->open_database(options);
    }
    if (!opened) return opened.error();
    return impl;
}

Status Namespace::Impl::set_aside(const std::string& why) {
    env_.reset();
    const std::string data = directory_ + "/data.mdb";
    if (::rename(data.c_str(), (data + ".lost").c_str()) != 0 && errno != ENOENT) {
        return errno_error("names: cannot set " + data + " aside");
    }
    spdlog::warn("names: the database in {} is not used ({}): starting an empty one", directory_,
                 why);
    rebuild_ = state_.rebuild = true;
    return {};
}

/// Errors: EBADMSG - it is damaged; others are not its fault.
Status Namespace::Impl::open_database(const Options& options) {
    Result<std::unique_ptr<lmdb::Environment>> env =
        lmdb::Environment::open(options.directory, options.map_bytes, false);
    if (!env) return env.error();
    env_ = std::move(*env);

    // Said before the first page changes: from here on it is not clean.
    state_.inodes_below = next_ino_ + kInodesAtOnce;
    if (Status written = write_state(directory_, state_); !written) return written;

    const Result<Tables> tables = Tables::open(*env_);
    if (!tables) return tables.error();
    tables_ = *tables;
    Status rooted = make_root();
    if (!rooted) return rooted;
    return state_.rebuild ? write([&](Edit&) { return use_lost_inos(); }) : Status{};
}

/// Errors: EBADMSG - it is damaged.
Status Namespace::Impl::open_read_only(const Options& options) {
    auto env = lmdb::Environment::open(options.directory, options.map_bytes, true);
    if (!env) return env.error();
    env_ = std::move(*env);
    const Result<Tables> tables = Tables::open(*env_);
    if (!tables) return Error{EBADMSG, tables.error().what};
    tables_ = *tables;
    closed_ = true;
    return {};
}

/// In an empty database; of one that is not empty, checks the format.
Status Namespace::Impl::make_root() {
    return write([&](Edit& edit) -> Status {
        const Result<std::string_view> format = edit.txn().find(tables_.meta, kFormat);
        if (format) {
            const Result<std::uint64_t> version = record::decode_number(*format);
            if (!version || *version != record::kFormatVersion || !edit.directory(kRootIno)) {
                return Error{EBADMSG, "its format is another"};
            }
            return {};
        }
        if (format.error().code != ENOENT) return Error{EBADMSG, format.error().what};

        const auto version = record::encode_number(record::kFormatVersion);
        const Status put =
            edit.write().put(tables_.meta, kFormat, {version.data(), version.size()});
        if (!put) return put;
        Inode root;
        root.ino = root.volume = kRootIno;
        root.mode = S_IFDIR | 0755;
        root.uid = ::geteuid();
        root.gid = ::getegid();
        root.nlink = 2;
        root.atime_ns = root.mtime_ns = root.ctime_ns = root.btime_ns = wall_ns();
        if (Status added = edit.append_inode(root); !added) return added;
        return edit.count_directories(1);
    });
}

Result<Ino> Namespace::Impl::new_ino() {
    const Ino ino = next_ino_;
    if (Status used = use_ino(ino); !used) return used.error();
    return ino;
}

Status Namespace::Impl::use_ino(Ino ino) {
    if (ino < next_ino_) return {};
    if (ino >= state_.inodes_below) {
        State next = state_;
        next.inodes_below = ino + kInodesAtOnce;
        if (Status written = write_state(directory_, next); !written) return written;
        state_ = next;
    }
    next_ino_ = ino + 1;
    return {};
}

Status Namespace::Impl::use_lost_inos() {
    if (lost_used_) return {};
    const auto seconds = static_cast<Ino>(std::max<std::int64_t>(wall_ns() / 1'000'000'000, 0));
    if (Status used = use_ino(seconds * kInodesASecond); !used) return used;
    lost_used_ = true;
    return {};
}

Status Namespace::Impl::finish_rebuild() {
    return write([&](Edit&) -> Status {
        State next = state_;
        next.rebuild = false;
        if (Status written = write_state(directory_, next); !written) return written;
        state_ = next;
        rebuild_ = false;
        return {};
    });
}

Status Namespace::Impl::close_clean() {
    // The mark is of no use to a database that goes on changing, and a lie to one that was changed
    // between the sync and the mark.
    Status stopped = write([&](Edit&) {
        closed_ = true;
        return Status{};
    });
    if (!stopped && stopped.error().code != EROFS) return stopped;
    if (Status synced = env_->sync(); !synced) return synced;
    State next = state_;
    next.clean = true;
    next.inodes_below = next_ino_;
    return write_state(directory_, next);
}

}  // namespace kvfs
