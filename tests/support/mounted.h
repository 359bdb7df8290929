#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvfs::tests {

/// A kvfsd of one test's own, with an SSD directory and a mount point in a directory that goes with
/// it.
///
/// Belongs to .init and .fini, not to a test's body: a failing cr_assert leaves the body without
/// running destructors. What goes wrong here fails the test, with the daemon's log.
class Mounted {
  public:
    struct Options {
        std::string dram = "64MiB";
        std::string ssd_size{};                ///< "size=" of the SSD directory; empty: none
        std::vector<std::string> arguments{};  ///< more of them
    };

    explicit Mounted(Options options);
    Mounted() : Mounted(Options{}) {}
    /// Stops the daemon as SIGTERM does, if it runs, and removes everything.
    ~Mounted();
    Mounted(const Mounted&) = delete;
    Mounted& operator=(const Mounted&) = delete;

    /// Path of `name` in the mount; of the mount itself without.
    std::string path(std::string_view name = "") const;
    std::string ssd() const { return directory_ + "/ssd"; }
    std::string socket() const { return directory_ + "/socket"; }
    /// A directory beside the mount, on an ordinary file system.
    std::string scrap() const { return directory_ + "/scrap"; }
    /// Path of the SSD object that holds the file of inode `ino`.
    std::string object(std::uint64_t ino) const;

    /// Starts the daemon (the constructor has, once) and waits until the mount answers.
    void start();
    /// As start(), but expects the daemon to refuse: its exit code.
    int start_refused();
    /// SIGTERM; expects exit code 0 and nothing left mounted.
    void stop();
    /// SIGKILL: the machine's power, as far as the daemon can tell. Leaves a dead mount.
    void kill();
    /// Waits for the daemon to end by itself: its exit code.
    int wait();
    pid_t pid() const { return pid_; }
    /// What the daemon has written to stderr.
    std::string log() const;

  private:
    void spawn();
    bool await_ready();
    std::vector<std::string> command() const;

    Options options_;
    std::string directory_;
    pid_t pid_ = -1;
    int ready_pipe_ = -1;
};

/// The mount of the running test: made by `mount_up` or a test's own .init, removed by
/// `mount_down`.
extern Mounted* mounted;
void mount_up();
void mount_up_with(Mounted::Options options);
void mount_down();

// What tests do with files. Each fails the test when it does not succeed, and says why.
std::string pattern(std::size_t size, std::uint64_t seed);
void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);
std::vector<std::string> list_names(const std::string& directory);
std::uint64_t inode_of(const std::string& path);
/// Whether the name is there; a symlink is, wherever it leads.
bool exists(const std::string& path);
/// Whether an evicted file's name goes. The kernel forgets it only a moment after the bytes went.
bool is_gone(const std::string& path);
/// Value of the xattr; "" and errno when there is none.
std::string xattr_of(const std::string& path, const std::string& name);
/// 0, or the errno.
int put_xattr(const std::string& path, const char* name, const std::string& value);
/// Waits until the file is whole on SSD (write-behind has done its work).
void await_spilled(const std::string& path);
/// Waits until `holds()`; fails after ten seconds. For what happens behind the caller's back.
template <typename Condition>
bool eventually(Condition holds);

}  // namespace kvfs::tests

#include <chrono>
#include <thread>

template <typename Condition>
bool kvfs::tests::eventually(Condition holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}
