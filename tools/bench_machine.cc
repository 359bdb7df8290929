#include "tools/bench_machine.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "tools/verb.h"

extern char** environ;

namespace kvfs {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
// Bounds for what hangs: a daemon with 10^7 names writes gigabytes when it stops.
constexpr auto kStartTimeout = std::chrono::seconds(300);
constexpr auto kStopTimeout = std::chrono::seconds(300);
constexpr auto kForgettingTime = std::chrono::milliseconds(100);

std::atomic<bool> interrupted = false;

/// The child's output up to `wanted`, or all of it when it ended before. Throws when the time is
/// up.
bool wait_for_word(int fd, const std::string& wanted, std::string& said) {
    const Deadline deadline = Clock::now() + kStartTimeout;
    std::array<char, 512> buffer{};
    while (said.find(wanted) == std::string::npos) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd ready{fd, POLLIN, 0};
        if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) < 0)
            return false;
        if (ready.revents == 0) continue;
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got <= 0) return false;
        said.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return true;
}

pid_t spawn(const std::vector<std::string>& command, int output, int errors) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    // A process group of its own: ^C is for us, and we end the daemon in order.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    pid_t pid = -1;
    const int code =
        ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0) throw Failure(Error{code, command.front()});
    return pid;
}

/// True when the child has ended within the time.
bool reap(pid_t pid, std::chrono::seconds timeout) {
    const Deadline deadline = Clock::now() + timeout;
    while (::waitpid(pid, nullptr, WNOHANG) == 0) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
}

bool is_roomy_tmpfs(const char* directory) {
    struct statfs status {};
    return ::statfs(directory, &status) == 0 && status.f_type == TMPFS_MAGIC &&
           ::access(directory, W_OK) == 0 &&
           static_cast<std::uint64_t>(status.f_bavail) *
                   static_cast<std::uint64_t>(status.f_bsize) >
               1024 * kMiB;
}

/// Removes what lies three levels below `root`, several at a time: a disk that is told of each
/// freed block frees one after the other slowly, and daemons leave thousands of directories.
void remove_parts(const std::string& root) {
    namespace stdfs = std::filesystem;
    std::error_code ignored;
    std::vector<stdfs::path> parts;
    for (stdfs::recursive_directory_iterator at(root, ignored), end; at != end;
         at.increment(ignored)) {
        if (at.depth() < 2) continue;
        parts.push_back(at->path());
        at.disable_recursion_pending();
    }
    std::atomic<std::size_t> next = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i)
        threads.emplace_back([&] {
            std::error_code unheeded;
            for (std::size_t part = next++; part < parts.size(); part = next++)
                stdfs::remove_all(parts[part], unheeded);
        });
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

ScratchDirectory::ScratchDirectory(const std::string& parent)
    : path_(parent + "/kvfs-bench-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw Failure(errno_error(path_));
}

ScratchDirectory::~ScratchDirectory() {
    remove_parts(path_);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

BenchDaemon::BenchDaemon(const Options& options) : options_(options), scratch_(options.parent) {
    std::filesystem::create_directory(mount());
    std::filesystem::create_directory(ssd());
    start();
}

void BenchDaemon::start() {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw Failure(errno_error("pipe"));
    const UniqueFd from_daemon(pipe[0]);
    UniqueFd to_us(pipe[1]);
    const std::string log = scratch_.path() + "/log";
    const UniqueFd errors(::open(log.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    pid_ = spawn({options_.program, "--foreground", "--config", "/dev/null", "--log-level", "warn",
                  "--dram", std::to_string(options_.dram_bytes), "--ssd",
                  ssd() + ",size=" + std::to_string(options_.ssd_bytes), "--socket", socket(),
                  options_.mounts ? mount() : "--no-mount"},
                 to_us.get(), errors.get());
    to_us.reset();
    std::string said;
    if (wait_for_word(from_daemon.get(), "ready\n", said)) return;
    std::string complaint(4096, '\0');
    const ssize_t length = ::pread(errors.get(), complaint.data(), complaint.size(), 0);
    complaint.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    while (!complaint.empty() && complaint.back() == '\n') complaint.pop_back();
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    throw Failure(options_.program +
                  " did not start: " + (complaint.empty() ? "it said nothing" : complaint));
}

void BenchDaemon::stop() {
    mapper_.reset();
    ::kill(pid_, SIGTERM);
    if (!reap(pid_, kStopTimeout)) throw Failure(options_.program + " did not stop");
    pid_ = -1;
}

BenchDaemon::~BenchDaemon() {
    mapper_.reset();
    if (pid_ > 0) {  // what it holds is not wanted any more
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    // Nothing is mounted any more unless it died; what is must not be followed into and deleted.
    ::umount2(mount().c_str(), MNT_DETACH);
}

gm_ctx* BenchDaemon::mapper() {
    if (mapper_) return mapper_.get();
    const std::string path = socket();
    gm_config config{};
    config.size = sizeof config;
    config.backend = GM_BACKEND_HOST;
    config.socket_path = path.c_str();
    gm_ctx* opened = nullptr;
    expect_ok(gm_open(&config, &opened), "gm_open");
    mapper_.reset(opened);
    return opened;
}

std::map<std::uint64_t, std::string> BenchDaemon::objects() const {
    std::map<std::uint64_t, std::string> objects;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(ssd() + "/objects")) {
        if (!entry.is_regular_file()) continue;
        const std::string name = entry.path().filename();
        std::uint64_t inode = 0;
        const auto [end, error] =
            std::from_chars(name.data(), name.data() + name.size(), inode, 16);
        if (error == std::errc{} && end == name.data() + name.size())
            objects[inode] = entry.path().string();
    }
    return objects;
}

bool BenchDaemon::forget_names() {
    struct statvfs status {};
    if (::statvfs(mount().c_str(), &status) != 0) throw Failure(errno_error(mount()));
    // Whatever is mounted anew with the options that it has loses its cached names first.
    constexpr unsigned long kKept = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RDONLY;
    const unsigned long flags = MS_REMOUNT | (status.f_flag & kKept);
    if (::mount(nullptr, mount().c_str(), nullptr, flags, nullptr) != 0) {
        if (errno == EPERM) return false;
        throw Failure(errno_error("remount of " + mount()));
    }
    // The daemon is told of each name that is forgotten, which takes it from what is measured next.
    std::this_thread::sleep_for(kForgettingTime);
    return true;
}

BenchMachine::BenchMachine(std::string program, std::string parent)
    : program_(std::move(program)), parent_(std::move(parent)) {}

BenchMachine::~BenchMachine() {
    if (tmpfs_mounted_) ::umount2(tmpfs_->path().c_str(), MNT_DETACH);
}

BenchDaemon& BenchMachine::roomy() {
    tight_.reset();
    if (!roomy_)
        roomy_ = std::make_unique<BenchDaemon>(
            BenchDaemon::Options{program_, parent_, 1536 * kMiB, 8192 * kMiB});
    return *roomy_;
}

BenchDaemon& BenchMachine::tight() {
    roomy_.reset();
    if (!tight_)
        tight_ = std::make_unique<BenchDaemon>(
            BenchDaemon::Options{program_, parent_, kTightDramBytes, 4096 * kMiB});
    return *tight_;
}

void BenchMachine::stop_daemons() {
    roomy_.reset();
    tight_.reset();
}

std::string BenchMachine::tmpfs() {
    if (!tmpfs_) make_tmpfs();
    return tmpfs_->path() + "/mount";
}

void BenchMachine::make_tmpfs() {
    if (is_roomy_tmpfs("/dev/shm")) {
        tmpfs_ = std::make_unique<ScratchDirectory>("/dev/shm");
    } else {
        tmpfs_ = std::make_unique<ScratchDirectory>(parent_);
        if (::mount("kvfs-bench", tmpfs_->path().c_str(), "tmpfs", 0, "mode=0700") != 0)
            throw Failure(
                "no tmpfs to compare with: /dev/shm has less than 1 GiB, and mounting one: " +
                errno_error().message());
        tmpfs_mounted_ = true;
    }
    std::filesystem::create_directory(tmpfs_->path() + "/mount");
}

void catch_interrupts() {
    interrupted = false;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

void check_interrupted() {
    if (interrupted) throw Failure("interrupted");
}

void expect_ok(gm_status status, const char* what) {
    if (status == GM_OK) return;
    const std::string reason = gm_message();
    throw Failure(std::string(what) + ": " + (reason.empty() ? gm_strerror(status) : reason));
}

}  // namespace kvfs
