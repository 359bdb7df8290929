#include "tests/support/mounted.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvfs::tests {
namespace {

namespace stdfs = std::filesystem;
constexpr int kReadyTimeoutMs = 30'000;
constexpr int kExitTimeoutMs = 40'000;

/// Directories of tests that were killed. Their names carry the process that made them.
void remove_leftovers(const std::string& base) {
    std::error_code ignored;
    for (const auto& entry : stdfs::directory_iterator(base, ignored)) {
        int pid = 0;
        if (std::sscanf(entry.path().filename().c_str(), "kvfs-test.%d.", &pid) != 1) continue;
        if (::kill(pid, 0) != 0 && errno == ESRCH) stdfs::remove_all(entry.path(), ignored);
    }
}

/// Not /tmp: that may be a tmpfs, and the SSD tier is to be tested on a disk.
std::string make_directory() {
    const char* wanted = std::getenv("KVFS_TEST_DIR");
    const std::string base = wanted != nullptr ? wanted : "/var/tmp";
    remove_leftovers(base);
    std::string path = base + "/kvfs-test." + std::to_string(::getpid()) + ".XXXXXX";
    cr_assert(::mkdtemp(path.data()) != nullptr, "%s: %s", path.c_str(), std::strerror(errno));
    for (const char* sub : {"/ssd", "/mnt", "/scrap"}) stdfs::create_directory(path + sub);
    return path;
}

}  // namespace

Mounted* mounted = nullptr;

void mount_up() { mount_up_with({}); }
void mount_up_with(Mounted::Options options) { mounted = new Mounted(std::move(options)); }
void mount_down() {
    delete mounted;
    mounted = nullptr;
}

Mounted::Mounted(Options options) : options_(std::move(options)), directory_(make_directory()) {
    start();
}

Mounted::~Mounted() {
    if (pid_ > 0) stop();
    ::umount2(path().c_str(), MNT_DETACH);  // after a failed stop
    std::error_code ignored;
    stdfs::remove_all(directory_, ignored);
}

std::string Mounted::path(std::string_view name) const {
    std::string full = directory_ + "/mnt";
    if (!name.empty()) full.append("/").append(name);
    return full;
}

std::string Mounted::object(std::uint64_t ino) const {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "/objects/%02x/%02x/%016llx",
                  static_cast<unsigned>(ino >> 16 & 0xff), static_cast<unsigned>(ino >> 8 & 0xff),
                  static_cast<unsigned long long>(ino));
    return ssd() + name.data();
}

std::vector<std::string> Mounted::command() const {
    const char* bin = std::getenv("KVFS_BIN");
    cr_assert(bin != nullptr, "KVFS_BIN is not set: run the tests through make check");
    std::vector<std::string> words = {std::string(bin) + "/kvfsd", "--foreground", "--dram",
                                      options_.dram, "--ssd"};
    words.push_back(ssd() + (options_.ssd_size.empty() ? "" : ",size=" + options_.ssd_size));
    words.insert(words.end(), {"--socket", socket(), "--config", "/dev/null"});
    // Damage that a test makes is for the test to find.
    const auto& own = options_.arguments;
    if (std::find(own.begin(), own.end(), "--scrub") == own.end())
        words.insert(words.end(), {"--scrub", "0"});
    words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
    words.push_back(path());
    return words;
}

void Mounted::spawn() {
    const std::vector<std::string> words = command();
    std::vector<char*> argv;
    for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string log_path = directory_ + "/log";
    std::array<int, 2> pipe{};
    cr_assert(::pipe2(pipe.data(), O_CLOEXEC) == 0);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    cr_assert(pid_ >= 0);
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (::getppid() != parent || ::dup2(pipe[1], STDOUT_FILENO) < 0 ||
            ::dup2(log, STDERR_FILENO) < 0) {
            ::_exit(126);
        }
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(pipe[1]);
    ready_pipe_ = pipe[0];
}

bool Mounted::await_ready() {
    std::string said;
    for (;;) {
        pollfd source{ready_pipe_, POLLIN, 0};
        if (::poll(&source, 1, kReadyTimeoutMs) <= 0) return false;
        std::array<char, 256> bytes{};
        const ssize_t n = ::read(ready_pipe_, bytes.data(), bytes.size());
        if (n <= 0) return false;
        said.append(bytes.data(), static_cast<std::size_t>(n));
        if (said.find("ready\n") != std::string::npos) return true;
    }
}

void Mounted::start() {
    spawn();
    const bool ready = await_ready();
    cr_assert(ready, "kvfsd did not become ready; its log:\n%s", log().c_str());
}

int Mounted::start_refused() {
    spawn();
    cr_assert(!await_ready(), "kvfsd became ready");
    return wait();
}

int Mounted::wait() {
    int status = 0;
    for (int waited_ms = 0; waited_ms < kExitTimeoutMs; waited_ms += 5) {
        const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
        if (ended == pid_) {
            pid_ = -1;
            ::close(ready_pipe_);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        ::usleep(5000);
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    cr_assert_fail("kvfsd did not end; its log:\n%s", log().c_str());
    return -1;
}

void Mounted::stop() {
    ::kill(pid_, SIGTERM);
    const int code = wait();
    cr_assert_eq(code, 0, "kvfsd ended with %d; its log:\n%s", code, log().c_str());
    struct stat outside {
    }, inside{};
    cr_assert(::stat(directory_.c_str(), &outside) == 0 && ::stat(path().c_str(), &inside) == 0);
    cr_assert_eq(outside.st_dev, inside.st_dev, "still mounted");
}

void Mounted::kill() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(ready_pipe_);
    pid_ = -1;
    // What the kernel is asked in the instant of its death fails one way or another.
    struct stat st {};
    cr_assert(eventually([&] { return ::stat(path().c_str(), &st) != 0 && errno == ENOTCONN; }));
}

std::string Mounted::log() const {
    std::ifstream file(directory_ + "/log");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string pattern(std::size_t size, std::uint64_t seed) {
    std::string bytes(size, '\0');
    std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (std::size_t at = 0; at < size; at += sizeof state) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::memcpy(bytes.data() + at, &state, std::min(sizeof state, size - at));
    }
    return bytes;
}

void write_file(const std::string& path, std::string_view bytes) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert(fd >= 0, "open %s: %s", path.c_str(), std::strerror(errno));
    const ssize_t n = bytes.empty() ? 0 : ::write(fd, bytes.data(), bytes.size());
    const int failed = errno;
    ::close(fd);
    cr_assert_eq(n, static_cast<ssize_t>(bytes.size()), "write %s: %zd of %zu (%s)", path.c_str(),
                 n, bytes.size(), std::strerror(failed));
}

std::string read_file(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0, "open %s: %s", path.c_str(), std::strerror(errno));
    struct stat st {};
    ::fstat(fd, &st);
    std::string bytes(static_cast<std::size_t>(st.st_size), '\0');
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    const int failed = errno;
    ::close(fd);
    cr_assert_eq(n, st.st_size, "read %s: %zd of %lld (%s)", path.c_str(), n,
                 static_cast<long long>(st.st_size), std::strerror(failed));
    return bytes;
}

std::vector<std::string> list_names(const std::string& directory) {
    DIR* stream = ::opendir(directory.c_str());
    cr_assert(stream != nullptr, "opendir %s: %s", directory.c_str(), std::strerror(errno));
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(stream);
    return names;
}

std::uint64_t inode_of(const std::string& path) {
    struct stat st {};
    cr_assert(::stat(path.c_str(), &st) == 0, "stat %s: %s", path.c_str(), std::strerror(errno));
    return st.st_ino;
}

bool exists(const std::string& path) {
    struct stat st {};
    return ::lstat(path.c_str(), &st) == 0;
}

bool is_gone(const std::string& path) {
    return eventually([&] { return !exists(path); });
}

std::string xattr_of(const std::string& path, const std::string& name) {
    std::string value(1 << 16, '\0');
    const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return value;
}

int put_xattr(const std::string& path, const char* name, const std::string& value) {
    return ::setxattr(path.c_str(), name, value.data(), value.size(), 0) == 0 ? 0 : errno;
}

void await_spilled(const std::string& path) {
    const std::string object = mounted->object(inode_of(path));
    // The object is there before the record that says so, without which a kill loses the file.
    const bool there = eventually([&] {
        return ::access(object.c_str(), F_OK) == 0 &&
               xattr_of(path, "user.kvfs.tier").find("ssd") != std::string::npos;
    });
    cr_assert(there, "%s has not been spilled to %s", path.c_str(), object.c_str());
}

}  // namespace kvfs::tests
