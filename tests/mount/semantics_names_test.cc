// SEMANTICS.md, "Names".
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
    return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

}  // namespace

TestSuite(semantics_names, .init = mount_up, .fini = mount_down, .timeout = 180);

Test(semantics_names, N1_rename_publishes_a_file_whole) {
    const std::string target = mounted->path("block.bin");
    write_file(target, std::string(300'000, 'A'));
    std::atomic<bool> done = false;
    std::atomic<int> torn = 0;
    std::thread reader([&] {
        while (!done) {
            const std::string bytes = read_file(target);
            if (bytes.size() != 300'000 || bytes.find_first_not_of(bytes[0]) != bytes.npos) ++torn;
        }
    });
    for (int i = 0; i < 200; ++i) {
        const std::string tmp = mounted->path("block.tmp." + std::to_string(i));
        write_file(tmp, std::string(300'000, static_cast<char>('A' + i % 26)));
        cr_assert_eq(std::rename(tmp.c_str(), target.c_str()), 0);
    }
    done = true;
    reader.join();
    cr_expect_eq(torn, 0);
    cr_expect_eq(list_names(mounted->path()).size(), 1);
}

Test(semantics_names, N1_who_has_the_old_file_open_keeps_it) {
    const std::string path = mounted->path("name");
    write_file(path, "old bytes");
    const int fd = ::open(path.c_str(), O_RDONLY);
    write_file(mounted->path("new"), "new bytes!");
    cr_assert_eq(std::rename(mounted->path("new").c_str(), path.c_str()), 0);
    std::string bytes(20, '\0');
    cr_expect_eq(::read(fd, bytes.data(), bytes.size()), 9);
    cr_expect_eq(bytes.substr(0, 9), "old bytes");
    ::close(fd);
    cr_expect_eq(read_file(path), "new bytes!");
}

Test(semantics_names, N1_a_file_may_be_renamed_while_it_is_written) {
    cr_assert_eq(::mkdir(mounted->path("v").c_str(), 0755), 0);
    cr_assert_eq(::mkdir(mounted->path("v/tmp").c_str(), 0755), 0);
    const int fd = ::open(mounted->path("v/tmp/x").c_str(), O_WRONLY | O_CREAT, 0644);
    cr_assert_eq(::write(fd, "first ", 6), 6);
    cr_assert_eq(std::rename(mounted->path("v/tmp/x").c_str(), mounted->path("v/x").c_str()), 0);
    cr_assert_eq(::write(fd, "second", 6), 6);
    ::close(fd);
    cr_expect_eq(read_file(mounted->path("v/x")), "first second");
}

Test(semantics_names, N2_rename_flags) {
    const std::string a = mounted->path("a");
    const std::string b = mounted->path("b");
    write_file(a, "a");
    write_file(b, "b");
    cr_expect_eq(rename_with(a, b, RENAME_NOREPLACE), EEXIST);
    cr_expect_eq(read_file(b), "b");
    cr_expect_eq(rename_with(a, b, RENAME_EXCHANGE), 0);
    cr_expect_eq(read_file(a), "b");
    cr_expect_eq(read_file(b), "a");
    cr_expect_eq(rename_with(a, mounted->path("c"), RENAME_EXCHANGE), ENOENT);
    cr_expect_eq(rename_with(a, mounted->path("c"), RENAME_WHITEOUT), EINVAL);
    cr_expect_eq(rename_with(a, mounted->path("c"), RENAME_NOREPLACE), 0);
    cr_expect(!exists(a) && exists(mounted->path("c")));
}

// Every kind of thing over every kind of thing, as rename(2) has it.
Test(semantics_names, N2_what_may_be_renamed_over_what) {
    const auto make = [](const std::string& path, char kind) {
        if (kind == 'f') write_file(path, "file");
        if (kind == 'l') cr_assert_eq(::symlink("nowhere", path.c_str()), 0);
        if (kind == 'd' || kind == 'D') cr_assert_eq(::mkdir(path.c_str(), 0755), 0);
        if (kind == 'D') write_file(path + "/inside", "x");  // not empty
    };
    const std::map<std::string, int> errors = {
        {"f-", 0}, {"ff", 0},       {"fl", 0},       {"fd", EISDIR}, {"fD", EISDIR},
        {"l-", 0}, {"lf", 0},       {"ll", 0},       {"ld", EISDIR}, {"lD", EISDIR},
        {"d-", 0}, {"df", ENOTDIR}, {"dl", ENOTDIR}, {"dd", 0},      {"dD", ENOTEMPTY},
        {"D-", 0}, {"Df", ENOTDIR}, {"Dl", ENOTDIR}, {"Dd", 0},      {"DD", ENOTEMPTY}};
    cr_assert_eq(::mkdir(mounted->path("v").c_str(), 0755), 0);
    for (const auto& [kinds, expected] : errors) {
        const std::string from = mounted->path("v/from-" + kinds);
        const std::string to = mounted->path("v/to-" + kinds);
        make(from, kinds[0]);
        make(to, kinds[1]);
        const int got = rename_with(from, to, 0);
        cr_expect_eq(got, expected, "%s: %s", kinds.c_str(), std::strerror(got));
        cr_expect_eq(exists(from), expected != 0, "%s", kinds.c_str());
    }
    cr_assert_eq(::mkdir(mounted->path("v/loop").c_str(), 0755), 0);
    cr_expect_eq(rename_with(mounted->path("v/loop"), mounted->path("v/loop/in"), 0), EINVAL);
    cr_expect_eq(rename_with(mounted->path("v/none"), mounted->path("v/x"), 0), ENOENT);
    write_file(mounted->path("v/same"), "same");
    cr_expect_eq(rename_with(mounted->path("v/same"), mounted->path("v/same"), 0), 0);
    cr_expect_eq(read_file(mounted->path("v/same")), "same");
}

Test(semantics_names, N3_directories_stay_in_their_volume) {
    for (const char* name : {"v1", "v2", "v1/full", "v1/empty"}) {
        cr_assert_eq(::mkdir(mounted->path(name).c_str(), 0755), 0);
    }
    write_file(mounted->path("v1/full/file"), "bytes");
    cr_expect_eq(rename_with(mounted->path("v1/full"), mounted->path("v2/full"), 0), EXDEV);
    cr_expect_eq(rename_with(mounted->path("v1/full"), mounted->path("v1/other"), 0), 0);
    cr_expect_eq(rename_with(mounted->path("v1/empty"), mounted->path("v2/empty"), 0), 0);
    const std::string bytes = pattern(1'500'000, 9);
    write_file(mounted->path("v1/file"), bytes);
    cr_expect_eq(rename_with(mounted->path("v1/file"), mounted->path("v2/file"), 0), 0);
    cr_expect(read_file(mounted->path("v2/file")) == bytes);
    cr_expect_eq(rename_with(mounted->path("v1"), mounted->path("v3"), 0), 0);
    cr_expect_eq(read_file(mounted->path("v3/other/file")), "bytes");
}

Test(semantics_names, N4_an_unlinked_file_lives_as_long_as_it_is_open) {
    const std::string path = mounted->path("unlinked");
    const std::string bytes = pattern(2'000'000, 10);
    write_file(path, bytes);
    const int fd = ::open(path.c_str(), O_RDWR);
    cr_assert_eq(::unlink(path.c_str()), 0);
    cr_expect(!exists(path));
    struct stat st {};
    cr_expect_eq(::fstat(fd, &st), 0);
    cr_expect_eq(st.st_nlink, 0);

    std::string read(bytes.size(), '\0');
    cr_expect_eq(::pread(fd, read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
    cr_expect(read == bytes);
    cr_expect_eq(::pwrite(fd, "more", 4, 2'000'000), 4);
    cr_expect_eq(::pread(fd, read.data(), 4, 2'000'000), 4);
    cr_expect_eq(read.substr(0, 4), "more");

    write_file(path, "another file");  // same name, other inode
    cr_expect_eq(::pread(fd, read.data(), 4, 0), 4);
    cr_expect(read.substr(0, 4) == bytes.substr(0, 4));
    ::close(fd);
    cr_expect_eq(read_file(path), "another file");
}

Test(semantics_names, N4_the_bytes_of_an_unlinked_file_go_with_its_last_descriptor) {
    const std::string path = mounted->path("gone");
    write_file(path, pattern(1'000'000, 11));
    await_spilled(path);
    const std::string object = mounted->object(inode_of(path));
    const int fd = ::open(path.c_str(), O_RDONLY);
    cr_assert_eq(::unlink(path.c_str()), 0);
    ::close(fd);
    cr_expect(eventually([&] { return !exists(object); }));
}

Test(semantics_names, N5_exclusive_creation_has_one_winner) {
    std::atomic<int> won = 0;
    std::vector<std::thread> racers;
    for (int i = 0; i < 8; ++i) {
        racers.emplace_back([&] {
            for (int round = 0; round < 50; ++round) {
                const std::string path = mounted->path("race" + std::to_string(round));
                const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
                if (fd >= 0) {
                    ++won;
                    ::close(fd);
                } else if (errno != EEXIST) {
                    won += 1000;
                }
            }
        });
    }
    for (auto& racer : racers) racer.join();
    cr_expect_eq(won, 50);
}

Test(semantics_names, N6_ten_thousand_names_list_once_each_while_others_come_and_go) {
    constexpr int kNames = 10'000;
    const std::string directory = mounted->path("flat");
    cr_assert_eq(::mkdir(directory.c_str(), 0755), 0);
    const auto name_of = [](int i) { return "key" + std::to_string(100'000 + i) + ".bin"; };
    for (int i = 0; i < kNames; ++i) {
        const std::string path = directory + "/" + name_of(i);
        const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
        cr_assert(fd >= 0);
        ::close(fd);
    }

    // Every third name goes, and some come, while the listing is under way.
    DIR* stream = ::opendir(directory.c_str());
    std::map<std::string, int> seen;
    std::string previous;
    int removed = 0;
    while (const dirent* entry = ::readdir(stream)) {
        if (entry->d_name[0] == '.') continue;
        cr_expect_eq(entry->d_type, DT_REG);
        cr_assert(previous < entry->d_name, "%s after %s", entry->d_name, previous.c_str());
        previous = entry->d_name;
        ++seen[entry->d_name];
        for (int k = 0; k < 2 && removed < kNames; ++k, removed += 3) {
            ::unlink((directory + "/" + name_of(removed)).c_str());
        }
        if (seen.size() % 100 == 0) {
            write_file(directory + "/new" + std::to_string(seen.size()), "x");
        }
    }
    ::closedir(stream);
    for (int i = 0; i < kNames; ++i) {
        if (i % 3 != 0) cr_expect_eq(seen[name_of(i)], 1, "%s", name_of(i).c_str());
    }
    for (const auto& [name, count] : seen) cr_expect_leq(count, 1);
}

namespace {

/// Of the daemon, in KiB.
long heap_now() {
    std::ifstream status("/proc/" + std::to_string(mounted->pid()) + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("RssAnon:")) return std::stol(line.substr(8));
    cr_assert_fail("the daemon is gone");
    return 0;
}

/// Makes and removes names among those of a directory until it is told to stop.
class Comers {
  public:
    Comers(std::string directory, std::function<std::string(int)> name_of)
        : directory_(std::move(directory)), name_of_(std::move(name_of)) {}
    void stop() {
        stop_ = true;
        thread_.join();
    }
    int came() const { return came_; }

  private:
    static constexpr int kAtATime = 50;
    std::string path(int i) const { return directory_ + "/" + name_of_(i * 7919) + "~"; }
    void come_and_go() {
        for (int i = 0; !stop_; ++i) {
            if (::mknod(path(i).c_str(), S_IFREG | 0600, 0) == 0) ++came_;
            if (i >= kAtATime) ::unlink(path(i - kAtATime).c_str());
        }
    }

    const std::string directory_;
    const std::function<std::string(int)> name_of_;
    std::atomic<bool> stop_ = false;
    std::atomic<int> came_ = 0;
    std::thread thread_{[this] { come_and_go(); }};
};

}  // namespace

Test(semantics_names, N6_a_hundred_thousand_names_are_listed_once_each_in_little_memory) {
    constexpr int kNames = 100'000;
    const std::string directory = mounted->path("flat");
    cr_assert_eq(::mkdir(directory.c_str(), 0755), 0);
    const auto name_of = [](int i) {
        const std::string number = std::to_string(kNames + i % kNames);
        return std::string(194, 'n') + number;  // all of them: 20 MB
    };
    for (int i = 0; i < kNames; ++i)
        cr_assert_eq(::mknod((directory + "/" + name_of(i)).c_str(), S_IFREG | 0600, 0), 0);

    Comers comers(directory, name_of);
    cr_expect(eventually([&] { return comers.came() > 100; }));
    const int before = comers.came();
    const long heap = heap_now();
    long most = heap;
    std::vector<int> seen(kNames);
    std::string previous;
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY);
    std::vector<char> buffer(1 << 16);
    for (long got = 0; (got = ::syscall(SYS_getdents64, fd, buffer.data(), buffer.size())) > 0;) {
        most = std::max(most, heap_now());
        for (long at = 0; at < got;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
            at += entry->d_reclen;
            const std::string name = entry->d_name;
            if (name.front() == '.') continue;
            cr_expect(previous < name, "%s after %s", name.c_str(), previous.c_str());
            previous = name;
            if (name.back() != '~') ++seen[std::stoi(name.substr(194)) - kNames];
        }
    }
    ::close(fd);
    const int during = comers.came() - before;
    comers.stop();

    cr_expect_eq(std::count(seen.begin(), seen.end(), 1), kNames);
    cr_expect_gt(during, 0);
#if !defined(__SANITIZE_ADDRESS__)  // which keeps what was freed
    cr_expect_lt(most - heap, 8 << 10, "%ld KiB more while it listed", most - heap);
#endif
}

Test(semantics_names, N7_seekdir_goes_back_to_where_telldir_was) {
    const std::string directory = mounted->path("seek");
    cr_assert_eq(::mkdir(directory.c_str(), 0755), 0);
    for (int i = 0; i < 3000; ++i) write_file(directory + "/n" + std::to_string(10'000 + i), "");
    DIR* stream = ::opendir(directory.c_str());
    std::vector<std::pair<long, std::string>> entries;  // position before, name
    for (;;) {
        const long position = ::telldir(stream);
        const dirent* entry = ::readdir(stream);
        if (entry == nullptr) break;
        entries.emplace_back(position, entry->d_name);
    }
    cr_assert_eq(entries.size(), 3002);
    for (const std::size_t at : {2500U, 3001U, 0U, 1U, 2U, 1234U, 17U, 2999U}) {
        ::seekdir(stream, entries[at].first);
        for (std::size_t i = at; i < std::min(at + 3, entries.size()); ++i) {
            const dirent* entry = ::readdir(stream);
            cr_assert(entry != nullptr);
            cr_expect_eq(std::string(entry->d_name), entries[i].second, "at %zu", i);
        }
    }
    ::rewinddir(stream);
    std::set<std::string> again;
    while (const dirent* entry = ::readdir(stream)) again.insert(entry->d_name);
    cr_expect_eq(again.size(), 3002);
    ::closedir(stream);
}

Test(semantics_names, N8_names_are_bytes) {
    for (const std::string& name : {std::string(255, 'n'), std::string("\xff\xfe\x01 \n\\\"'"),
                                    std::string("käse"), std::string("a@b|c:d*?")}) {
        write_file(mounted->path(name), name);
        cr_expect_eq(read_file(mounted->path(name)), name);
        const auto names = list_names(mounted->path());
        cr_expect(std::find(names.begin(), names.end(), name) != names.end());
    }
    cr_expect_lt(::open(mounted->path(std::string(256, 'n')).c_str(), O_CREAT | O_WRONLY, 0644), 0);
    cr_expect_eq(errno, ENAMETOOLONG);
}

Test(semantics_names, N9_directories_are_removed_when_empty) {
    cr_assert_eq(::mkdir(mounted->path("d").c_str(), 0755), 0);
    write_file(mounted->path("d/f"), "x");
    cr_expect_eq(::rmdir(mounted->path("d").c_str()), -1);
    cr_expect_eq(errno, ENOTEMPTY);
    cr_assert_eq(::chdir(mounted->path("d").c_str()), 0);
    cr_assert_eq(::unlink("f"), 0);
    cr_expect_eq(::rmdir(mounted->path("d").c_str()), 0);

    cr_expect_lt(::open("g", O_CREAT | O_WRONLY, 0644), 0);
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(::mkdir("h", 0755), -1);
    cr_expect_eq(errno, ENOENT);
    DIR* stream = ::opendir(".");
    if (stream != nullptr) {
        cr_expect_null(::readdir(stream));
        ::closedir(stream);
    }
    cr_assert_eq(::chdir("/"), 0);
    cr_expect_eq(::rmdir(mounted->path("none").c_str()), -1);
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(::unlink(mounted->path().c_str()), -1);
}

static void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "32MiB"}); }

Test(semantics_names, N10_directories_outlive_what_was_in_them, .init = mount_small) {
    cr_assert_eq(::mkdir(mounted->path("cold").c_str(), 0755), 0);
    write_file(mounted->path("cold/a"), pattern(1 << 20, 1));
    for (int i = 0; i < 60; ++i) {
        write_file(mounted->path("hot" + std::to_string(i)), pattern(1 << 20, 100 + i));
    }
    cr_expect(eventually([&] { return !exists(mounted->path("cold/a")); }));
    cr_expect(exists(mounted->path("cold")));
    cr_expect_eq(list_names(mounted->path("cold")).size(), 0);
    cr_expect_eq(::rmdir(mounted->path("cold").c_str()), 0);
}

Test(semantics_names, N11_symbolic_links) {
    write_file(mounted->path("target"), "through a link");
    cr_assert_eq(::symlink("target", mounted->path("link").c_str()), 0);
    cr_expect_eq(read_file(mounted->path("link")), "through a link");
    std::string target(100, '\0');
    cr_expect_eq(::readlink(mounted->path("link").c_str(), target.data(), target.size()), 6);
    struct stat st {};
    cr_expect_eq(::lstat(mounted->path("link").c_str(), &st), 0);
    cr_expect(S_ISLNK(st.st_mode));
    cr_expect_eq(st.st_size, 6);
    cr_expect_eq(::symlink("/nowhere/at/all", mounted->path("dangling").c_str()), 0);
    cr_expect_lt(::open(mounted->path("dangling").c_str(), O_RDONLY), 0);
    cr_expect_eq(errno, ENOENT);
    cr_expect_eq(::unlink(mounted->path("link").c_str()), 0);
    cr_expect_eq(read_file(mounted->path("target")), "through a link");
}

Test(semantics_names, N12_inode_numbers_are_never_used_again) {
    std::set<std::uint64_t> numbers;
    for (int i = 0; i < 20; ++i) {
        write_file(mounted->path("x"), "x");
        cr_expect(numbers.insert(inode_of(mounted->path("x"))).second);
        cr_assert_eq(::unlink(mounted->path("x").c_str()), 0);
    }
    write_file(mounted->path("stays"), "x");
    const std::uint64_t before = inode_of(mounted->path("stays"));
    mounted->stop();
    mounted->start();
    cr_expect_eq(inode_of(mounted->path("stays")), before);
    write_file(mounted->path("y"), "y");
    cr_expect_gt(inode_of(mounted->path("y")), before);
}
