// Random operations on the mount and on a plain directory: results, errnos and contents must agree.
//
//     KVFS_SEED=n KVFS_STEPS=n make check ARGS='--filter=mount_model/*'     replays a failure
//
// DRAM holds a fraction of the files, SSD all: spills, evictions and fills run underneath.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <utility>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kFileBytesMax = 3 << 20;
constexpr int kFdsMax = 8;

/// What a call did, as far as both sides must agree.
struct Outcome {
    long result = 0;
    int error = 0;
    std::string data{};
    bool operator==(const Outcome&) const = default;
};
Outcome outcome_of(long result, std::string data = {}) {
    if (result < 0) return {-1, errno, {}};
    return {result, 0, std::move(data)};
}

/// One of the two directories.
struct Side {
    std::string root;
    std::array<int, kFdsMax> fds{-1, -1, -1, -1, -1, -1, -1, -1};
    std::string at(const std::string& name) const { return root + "/" + name; }
};

Outcome stat_outcome(int result, const struct stat& st) {
    if (result != 0) return {-1, errno, {}};
    std::array<char, 160> text{};
    const bool regular = S_ISREG(st.st_mode);
    std::snprintf(text.data(), text.size(), "mode %o size %lld links %lu uid %u gid %u", st.st_mode,
                  regular || S_ISLNK(st.st_mode) ? static_cast<long long>(st.st_size) : 0LL,
                  static_cast<unsigned long>(st.st_nlink), st.st_uid, st.st_gid);
    return {0, 0, text.data()};
}

Outcome list(const std::string& directory) {
    DIR* stream = ::opendir(directory.c_str());
    if (stream == nullptr) return {-1, errno, {}};
    std::vector<std::string> entries;
    while (const dirent* entry = ::readdir(stream)) {
        entries.push_back(std::string(entry->d_name) + ":" + std::to_string(entry->d_type));
    }
    ::closedir(stream);
    std::sort(entries.begin(), entries.end());
    std::string all;
    for (const auto& entry : entries) all += entry + " ";
    return {0, 0, all};
}

/// All bytes, by one read that asks for more than there are.
Outcome load(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    if (fd < 0) return {-1, errno, {}};
    struct stat st {};
    ::fstat(fd, &st);
    std::string bytes(static_cast<std::size_t>(st.st_size) + 10, '\0');
    const long n = ::read(fd, bytes.data(), bytes.size());
    bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    const Outcome all = outcome_of(n, std::move(bytes));
    ::close(fd);
    return all;
}

Outcome map_and_read(int fd, std::size_t offset, std::size_t size) {
    struct stat st {};
    if (::fstat(fd, &st) != 0) return {-1, errno, {}};
    if (!S_ISREG(st.st_mode)) return {};  // sizes of directories are anybody's
    const auto end = static_cast<std::size_t>(st.st_size);
    if (offset >= end) return {0, 0, "beyond"};
    const std::size_t from = offset & ~std::size_t{4095};
    const std::size_t length = std::min(size, end - from);
    void* memory = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(from));
    if (memory == MAP_FAILED) return {-1, errno, {}};
    std::string bytes(static_cast<const char*>(memory), length);
    ::munmap(memory, length);
    return {0, 0, bytes};
}

class Model {
  public:
    Model(std::uint64_t seed, int steps) : seed_(seed), steps_(steps), random_(seed) {
        sides_[0].root = mounted->path("volume");
        sides_[1].root = mounted->scrap() + "/plain";
        for (const Side& side : sides_) cr_assert_eq(::mkdir(side.root.c_str(), 0755), 0);
    }

    /// What the daemon has counted since it started: a number out of its statistics.
    static long counted(const std::string& what) {
        const std::string stats = xattr_of(mounted->path(), "user.kvfs.stats");
        const std::size_t at = stats.find("\"" + what + "\":");
        return at == stats.npos ? -1 : std::atol(stats.c_str() + at + what.size() + 3);
    }

    void run() {
        for (step_ = 0; step_ < steps_; ++step_) {
            take_step();
            if (step_ % 500 == 499) compare_trees("");
            if (step_ % 1200 == 1199) restart();
        }
        close_all();
        compare_trees("");
        // Otherwise it was only a test of memory.
        if (steps_ >= 6000)
            cr_expect(fills_ > 10 && evictions_ > 10, "%ld fills, %ld evictions", fills_,
                      evictions_);
    }

  private:
    std::uint64_t any(std::uint64_t below) { return random_() % below; }

    /// A dozen files and directories, so that operations meet.
    std::string any_name() {
        static const std::array<const char*, 4> kDirectories = {"", "a/", "b/", "a/c/"};
        static const std::array<const char*, 9> kNames = {"a", "b", "c", "u",    "v",
                                                          "x", "y", "z", "x.tmp"};
        return std::string(kDirectories[any(4)]) + kNames[any(9)];
    }
    std::size_t any_offset() {
        static const std::array<std::size_t, 6> kBelow = {1,       4096,    70'000,
                                                          1 << 20, 2 << 20, kFileBytesMax};
        return any(kBelow[any(6)]);
    }

    /// Runs `operation` on both sides and compares.
    void both(const std::string& what, const std::function<Outcome(Side&)>& operation) {
        history_.push_back(std::to_string(step_) + ": " + what);
        if (history_.size() > 25) history_.pop_front();
        const Outcome ours = operation(sides_[0]);
        const Outcome theirs = operation(sides_[1]);
        if (ours == theirs) return;
        std::string trace;
        for (const auto& line : history_) trace += "    " + line + "\n";
        const auto shown = [](const Outcome& one) {
            return std::to_string(one.result) + " " + std::strerror(one.error) + " " +
                   (one.data.size() < 400 ? one.data : std::to_string(one.data.size()) + " bytes");
        };
        cr_assert_fail(
            "KVFS_SEED=%llu KVFS_STEPS=%d: the mount differs from a plain directory\n%s"
            "  mount: %s\n  plain: %s\nlog:\n%s",
            static_cast<unsigned long long>(seed_), step_ + 1, trace.c_str(), shown(ours).c_str(),
            shown(theirs).c_str(), mounted->log().c_str());
    }

    void take_step();
    void step_on_names(std::uint64_t choice);
    void step_on_attributes(std::uint64_t choice);
    void step_on_bytes(std::uint64_t choice);
    std::string any_key();
    void save_one();
    void load_one();
    void open_one();
    void write_one(std::size_t slot);
    void close_all();
    void restart();
    void compare_trees(const std::string& below);

    std::uint64_t seed_;
    int steps_;
    int step_ = 0;
    std::mt19937_64 random_;
    std::array<Side, 2> sides_;
    std::deque<std::string> history_;
    long fills_ = 0;  ///< up to the last restart
    long evictions_ = 0;
};

void Model::take_step() {
    if (any(8) == 0) return save_one();
    if (any(8) == 0) return load_one();
    const std::uint64_t choice = any(100);
    if (choice < 20) return step_on_names(choice);
    if (choice < 32) return step_on_attributes(choice);
    if (choice < 50) return open_one();
    step_on_bytes(choice);
}

std::string Model::any_key() { return "key" + std::to_string(any(24)) + ".bin"; }

/// As an engine does: a file written at once under a temporary name, and renamed.
void Model::save_one() {
    const std::string key = any_key();
    const std::string bytes = pattern(any(2 << 20), random_());
    both("save " + key + " " + std::to_string(bytes.size()), [&](Side& s) {
        const std::string tmp = s.at(key) + ".tmp";
        const int fd = ::open(tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
        const long written = ::write(fd, bytes.data(), bytes.size());
        ::close(fd);
        return outcome_of(std::rename(tmp.c_str(), s.at(key).c_str()), std::to_string(written));
    });
}

void Model::load_one() {
    const std::string key = any_key();
    both("load " + key, [&](Side& s) { return load(s.at(key)); });
}

void Model::step_on_names(std::uint64_t choice) {
    const std::string name = any_name();
    const std::string other = any_name();
    if (choice < 4) {
        both("mkdir " + name,
             [&](Side& s) { return outcome_of(::mkdir(s.at(name).c_str(), 0750)); });
    } else if (choice < 6) {
        both("rmdir " + name, [&](Side& s) { return outcome_of(::rmdir(s.at(name).c_str())); });
    } else if (choice < 9) {
        both("unlink " + name, [&](Side& s) { return outcome_of(::unlink(s.at(name).c_str())); });
    } else if (choice < 15) {
        static const std::array<unsigned, 4> kFlags = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
        const unsigned flags = kFlags[any(4)];
        both("rename " + name + " " + other + " " + std::to_string(flags), [&](Side& s) {
            return outcome_of(
                ::renameat2(AT_FDCWD, s.at(name).c_str(), AT_FDCWD, s.at(other).c_str(), flags));
        });
    } else if (choice < 16) {
        both("symlink " + name,
             [&](Side& s) { return outcome_of(::symlink("x", s.at(name).c_str())); });
    } else if (choice < 17) {
        both("readlink " + name, [&](Side& s) {
            std::array<char, 100> target{};
            const long n = ::readlink(s.at(name).c_str(), target.data(), target.size());
            return outcome_of(n, target.data());
        });
    } else {
        const std::string directory = std::array<const char*, 4>{"", "a", "b", "a/c"}[any(4)];
        both("list " + directory, [&](Side& s) { return list(s.at(directory)); });
    }
}

void Model::step_on_attributes(std::uint64_t choice) {
    const std::string name = any_name();
    const std::string xattr = std::array<const char*, 3>{"user.a", "user.b", "user.crc"}[any(3)];
    if (choice < 24) {
        both("stat " + name, [&](Side& s) {
            struct stat st {};
            const int result = ::lstat(s.at(name).c_str(), &st);
            return stat_outcome(result, st);
        });
    } else if (choice < 26) {
        const std::string value = pattern(any(300), random_());
        const int flags = std::array<int, 4>{0, 0, XATTR_CREATE, XATTR_REPLACE}[any(4)];
        both("setxattr " + name + " " + xattr + " " + std::to_string(flags), [&](Side& s) {
            return outcome_of(
                ::setxattr(s.at(name).c_str(), xattr.c_str(), value.data(), value.size(), flags));
        });
    } else if (choice < 28) {
        both("getxattr " + name + " " + xattr, [&](Side& s) {
            std::string value(400, '\0');
            const long n =
                ::getxattr(s.at(name).c_str(), xattr.c_str(), value.data(), value.size());
            return outcome_of(n, value);
        });
    } else if (choice < 29) {
        both("removexattr " + name + " " + xattr,
             [&](Side& s) { return outcome_of(::removexattr(s.at(name).c_str(), xattr.c_str())); });
    } else if (choice < 30) {
        const mode_t mode = 0600 | static_cast<mode_t>(any(0200));
        both("chmod " + name,
             [&](Side& s) { return outcome_of(::chmod(s.at(name).c_str(), mode)); });
    } else {
        const auto sec = static_cast<time_t>(any(2'000'000'000));
        both("utimens " + name, [&](Side& s) {
            const timespec times[2] = {{sec + 1, 5}, {sec, 123'456'789}};
            if (::utimensat(AT_FDCWD, s.at(name).c_str(), times, 0) != 0) return outcome_of(-1);
            struct stat st {};
            const int result = ::stat(s.at(name).c_str(), &st);
            return outcome_of(result, std::to_string(st.st_mtim.tv_sec) + "." +
                                          std::to_string(st.st_mtim.tv_nsec) + " " +
                                          std::to_string(st.st_atim.tv_sec));
        });
    }
}

void Model::open_one() {
    const std::string name = any_name();
    const std::size_t slot = any(kFdsMax);
    static const std::array<int, 10> kFlags = {O_RDONLY,
                                               O_RDONLY,
                                               O_RDWR,
                                               O_RDWR | O_CREAT,
                                               O_WRONLY | O_CREAT | O_TRUNC,
                                               O_RDWR | O_CREAT | O_TRUNC,
                                               O_WRONLY | O_CREAT | O_EXCL,
                                               O_RDWR | O_CREAT | O_EXCL,
                                               O_WRONLY | O_APPEND | O_CREAT,
                                               O_RDONLY | O_CREAT};
    const int flags = kFlags[any(10)];
    both("open " + name + " flags " + std::to_string(flags) + " as " + std::to_string(slot),
         [&](Side& s) {
             if (s.fds[slot] >= 0) ::close(s.fds[slot]);
             s.fds[slot] = ::open(s.at(name).c_str(), flags, 0640);
             return outcome_of(s.fds[slot] < 0 ? -1 : 0);
         });
}

void Model::write_one(std::size_t slot) {
    const std::size_t offset = any_offset();
    const std::string bytes =
        pattern(std::min(any_offset() + 1, kFileBytesMax - offset), random_());
    both("write to " + std::to_string(slot) + " " + std::to_string(bytes.size()) + " at " +
             std::to_string(offset),
         [&](Side& s) {
             return outcome_of(
                 ::pwrite(s.fds[slot], bytes.data(), bytes.size(), static_cast<off_t>(offset)));
         });
    // Appending files grow without end otherwise.
    both("fstat " + std::to_string(slot), [&](Side& s) {
        struct stat st {};
        const int result = ::fstat(s.fds[slot], &st);
        if (result == 0 && st.st_size > off_t{2 * kFileBytesMax}) {
            return outcome_of(::ftruncate(s.fds[slot], 1000));
        }
        return stat_outcome(result, st);
    });
}

void Model::step_on_bytes(std::uint64_t choice) {
    const std::size_t slot = any(kFdsMax);
    const std::string slot_name = std::to_string(slot);
    const std::size_t offset = any_offset();
    const std::size_t size = any_offset() + 1;
    const std::string range = std::to_string(size) + " at " + std::to_string(offset);
    if (choice < 68) return write_one(slot);
    if (choice < 80) {
        both("read from " + slot_name + " " + range, [&](Side& s) {
            std::string bytes(size, '\0');
            const long n = ::pread(s.fds[slot], bytes.data(), size, static_cast<off_t>(offset));
            return outcome_of(n, bytes);
        });
    } else if (choice < 83) {
        both("map " + slot_name + " " + range,
             [&](Side& s) { return map_and_read(s.fds[slot], offset, size); });
    } else if (choice < 87) {
        both("ftruncate " + slot_name + " " + std::to_string(offset), [&](Side& s) {
            return outcome_of(::ftruncate(s.fds[slot], static_cast<off_t>(offset)));
        });
    } else if (choice < 89) {
        const std::string name = any_name();
        both("truncate " + name + " " + std::to_string(offset), [&](Side& s) {
            return outcome_of(::truncate(s.at(name).c_str(), static_cast<off_t>(offset)));
        });
    } else if (choice < 91) {
        const int mode = any(2) == 0 ? 0 : FALLOC_FL_KEEP_SIZE;
        both("fallocate " + slot_name + " " + range, [&](Side& s) {
            return outcome_of(::fallocate(s.fds[slot], mode, static_cast<off_t>(offset),
                                          static_cast<off_t>(size)));
        });
    } else if (choice < 92) {
        both("fsync " + slot_name, [&](Side& s) { return outcome_of(::fsync(s.fds[slot])); });
    } else if (choice < 93) {
        both("seek to the end of " + slot_name, [&](Side& s) {
            struct stat st {};
            if (::fstat(s.fds[slot], &st) == 0 && S_ISDIR(st.st_mode)) return Outcome{};
            return outcome_of(::lseek(s.fds[slot], 0, SEEK_END));
        });
    } else {
        both("close " + slot_name,
             [&](Side& s) { return outcome_of(::close(std::exchange(s.fds[slot], -1))); });
    }
}

void Model::close_all() {
    for (Side& side : sides_) {
        for (int& fd : side.fds) {
            if (fd >= 0) ::close(std::exchange(fd, -1));
        }
    }
}

void Model::restart() {
    close_all();
    fills_ += counted("fills");
    evictions_ += counted("dram_evictions");
    history_.push_back(std::to_string(step_) + ": restart");
    mounted->stop();
    mounted->start();
    compare_trees("");
}

void Model::compare_trees(const std::string& below) {
    both("list " + below, [&](Side& s) { return list(s.at(below)); });
    for (const auto& name : list_names(sides_[1].at(below))) {
        const std::string path = below.empty() ? name : below + "/" + name;
        struct stat st {};
        cr_assert_eq(::lstat(sides_[1].at(path).c_str(), &st), 0);
        both("compare " + path, [&](Side& s) {
            struct stat one {};
            const int result = ::lstat(s.at(path).c_str(), &one);
            return stat_outcome(result, one);
        });
        if (S_ISDIR(st.st_mode)) compare_trees(path);
        if (S_ISREG(st.st_mode)) {
            both("compare bytes of " + path, [&](Side& s) { return load(s.at(path)); });
        }
    }
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "1GiB"}); }

}  // namespace

TestSuite(mount_model, .init = mount_small, .fini = mount_down, .timeout = 3600);

Test(mount_model, the_mount_is_as_a_plain_directory) {
    const std::uint64_t seed = number_from("KVFS_SEED", std::random_device()());
    Model(seed, static_cast<int>(number_from("KVFS_STEPS", 6000))).run();
}
