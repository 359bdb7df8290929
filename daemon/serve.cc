#include "daemon/serve.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stop_token>
#include <thread>

#include "daemon/await_mount.h"
#include "daemon/notify.h"
#include "fs/base/fd.h"
#include "fs/base/log.h"
#include "fs/base/size.h"

namespace kvfs {
namespace {

sigset_t awaited_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
    return set;
}

/// An event that a poll() can wait for.
class Event {
  public:
    void set() {
        const std::uint64_t one = 1;
        static_cast<void>(!::write(fd_.get(), &one, sizeof one));
    }
    int fd() const { return fd_.get(); }

  private:
    UniqueFd fd_{::eventfd(0, EFD_CLOEXEC)};
};

/// Waits for a signal that ends the daemon, or for `event`. Returns the signal's number, or 0.
int await_signal(int signals, const Event& event, bool hangup_ends) {
    for (;;) {
        pollfd sources[] = {{signals, POLLIN, 0}, {event.fd(), POLLIN, 0}};
        if (::poll(sources, 2, -1) < 0) continue;
        if (sources[1].revents != 0) return 0;
        signalfd_siginfo info{};
        if (::read(signals, &info, sizeof info) != sizeof info) continue;
        if (info.ssi_signo != SIGHUP || hangup_ends) return static_cast<int>(info.ssi_signo);
    }
}

/// Every second: what must not wait for the shutdown.
void keep_up(const std::stop_token& stop, Parts& parts) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    bool failing = false;
    std::unique_lock lock(mutex);
    while (!stopped.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; }) &&
           !stop.stop_requested()) {
        parts.cache->flush_uses();  // what was just used has not expired
        parts.files->drop_expired();
        const Status synced = parts.names->sync();
        if (!synced && !failing)
            spdlog::error("names cannot be written to disk: {}", synced.error().message());
        failing = !synced;
    }
}

/// Ends the process at once if another signal comes while it is stopping.
void watch_impatience(int signals, const Event& stopped, const Options& options) {
    if (await_signal(signals, stopped, false) == 0) return;
    spdlog::warn("second signal: ends without spilling the rest");
    if (!options.no_mount) ::umount2(options.mount_point.c_str(), MNT_DETACH);
    ::unlink(options.socket.c_str());
    ::_exit(1);
}

void log_summary(const Cache& cache) {
    const CacheCounters& counters = cache.counters();
    spdlog::info(
        "stopped; since the start {} were written and {} read from DRAM, {} from SSD; "
        "{} files spilled, {} evicted from SSD, {} checksum errors",
        format_size(counters.written_bytes), format_size(counters.dram_read_bytes),
        format_size(counters.store_read_bytes), counters.spills.load(),
        counters.store_evictions.load(), counters.checksum_errors.load());
}

/// The mount's serving thread, which sets `ended` when the mount has gone.
class Serving {
  public:
    Serving(FuseMount* mount, Event& ended) : mount_(mount) {
        if (mount_ == nullptr) return;
        thread_ = std::thread([this, &ended] {
            outcome_ = mount_->run();
            ended.set();
        });
    }
    ~Serving() { static_cast<void>(stop()); }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;

    Status stop() {
        if (!thread_.joinable()) return outcome_;
        mount_->stop();
        thread_.join();
        return outcome_;
    }

  private:
    FuseMount* mount_;
    Status outcome_;
    std::thread thread_;
};

}  // namespace

void block_signals() {
    const sigset_t set = awaited_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

Status serve(Parts& parts, const Options& options, const std::function<void()>& ready) {
    const sigset_t set = awaited_signals();
    const UniqueFd signals(::signalfd(-1, &set, SFD_CLOEXEC));
    Event ended;
    Serving serving(parts.mount.get(), ended);
    if (parts.mount)
        if (auto answers = await_mount(options.mount_point, options.io_timeout); !answers)
            return answers;
    ready();
    {
        const std::jthread keeper([&](const std::stop_token& stop) { keep_up(stop, parts); });
        const int signal = await_signal(signals.get(), ended, options.foreground);
        spdlog::info("stopping: {}", signal == 0 ? "unmounted" : ::strsignal(signal));
    }
    notify_service_manager("STOPPING=1");
    Event stopped;
    std::thread impatience([&] { watch_impatience(signals.get(), stopped, options); });
    parts.mapper.reset();
    const Status served = serving.stop();
    parts.cache->stop();
    parts.cache->flush_uses();
    const Status closed = parts.names->close_clean();
    stopped.set();
    impatience.join();
    log_summary(*parts.cache);
    return served ? closed : served;
}

}  // namespace kvfs
