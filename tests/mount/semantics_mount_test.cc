// The mount over a Files of the test's own: what the kernel must be told when names change behind
// its back, as they do when a mapper client saves a file or one is evicted.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "fs/files/files.h"
#include "fs/fuse/fuse_mount.h"
#include "fs/store/ssd_store.h"
#include "tests/support/mounted.h"
#include "tests/support/mounted_parts.h"

using namespace kvfs;
using kvfs::tests::eventually;

namespace {

tests::MountedParts* parts = nullptr;

void set_up() {
    auto store = [](const std::string& directory) -> std::unique_ptr<ObjectStore> {
        auto made = SsdStore::open({.directory = directory, .quota_bytes = 64 << 20});
        cr_assert(made.ok(), "%s", made.ok() ? "" : made.error().message().c_str());
        return std::move(*made);
    };
    parts = new tests::MountedParts(store);
}

void tear_down() { delete parts; }

/// As a mapper client that saves a file.
void publish(const std::string& path, const std::string& bytes) {
    auto draft = parts->files->draft(path, bytes.size(), 0644, {});
    cr_assert(draft.ok(), "%s", draft.ok() ? "" : draft.error().message().c_str());
    std::size_t done = 0;
    for (const auto& span : draft->content->spans(0, bytes.size())) {
        std::memcpy(span.data(), bytes.data() + done, span.size());
        done += span.size();
    }
    cr_assert(parts->files->publish(std::move(*draft)).ok());
}

bool exists(const std::string& name) {
    struct stat st {};
    return ::stat(parts->path(name).c_str(), &st) == 0;
}

}  // namespace

TestSuite(semantics_mount, .init = set_up, .fini = tear_down, .timeout = 60);

Test(semantics_mount, N13_a_name_that_was_looked_for_shows_once_it_is_published) {
    cr_expect(!exists("block"));  // the kernel remembers the miss for a minute
    cr_expect(!exists("block"));
    publish("block", "bytes");
    cr_expect(eventually([] { return exists("block"); }));
    cr_expect_eq(tests::read_file(parts->path("block")), "bytes");
}

Test(semantics_mount, N13_a_name_that_is_published_anew_shows_the_new_file) {
    publish("block", "old bytes");
    cr_expect_eq(tests::read_file(parts->path("block")), "old bytes");
    const int fd = ::open(parts->path("block").c_str(), O_RDONLY);
    publish("block", "new");
    cr_expect(eventually([] { return tests::read_file(parts->path("block")) == "new"; }));
    char bytes[20];
    cr_expect_eq(::read(fd, bytes, sizeof bytes), 9, "who has the old one open keeps it");
    ::close(fd);
}

Test(semantics_mount, N15_a_listing_shows_what_was_published_and_dropped_since_the_last_one) {
    const auto listed = [](const std::string& name) {
        const auto names = tests::list_names(parts->mountpoint);
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    publish("a", "bytes");
    cr_expect(eventually([&] { return listed("a"); }));
    publish("b", "bytes");  // nobody has asked for this name: only the listing knows of it
    cr_expect(eventually([&] { return listed("b"); }));
    for (int i = 0; parts->files->lookup(kRootIno, "b").ok(); ++i) {
        cr_assert_lt(i, 200, "b is not dropped");
        publish("more" + std::to_string(i), std::string(1 << 20, 'm'));
        listed("a");
    }
    cr_expect(eventually([&] { return !listed("b"); }));
    tests::write_file(parts->path("c"), "bytes");
    cr_expect(listed("c"), "what a program makes shows at once");
}

Test(semantics_mount, M3_reading_through_the_mapper_sets_the_access_time) {
    publish("block", "bytes");
    const std::string path = parts->path("block");
    const timespec old[2] = {{1'000'000'000, 0}, {0, UTIME_OMIT}};
    cr_assert_eq(::utimensat(AT_FDCWD, path.c_str(), old, 0), 0);
    const auto accessed = [&] {
        struct stat st {};
        cr_assert_eq(::stat(path.c_str(), &st), 0);
        return st.st_atim.tv_sec;
    };
    cr_expect_eq(accessed(), 1'000'000'000);
    const auto found = parts->files->lookup(kRootIno, "block");
    cr_assert(found.ok() && parts->files->lease(found->inode.ino).ok());
    cr_expect_eq(accessed(), 1'000'000'000, "the kernel was not told yet");
    parts->cache->flush_uses();
    cr_expect(eventually([&] { return accessed() > 1'600'000'000; }));
}

Test(semantics_mount, T2_a_name_that_goes_is_gone_at_once) {
    publish("block", "bytes");
    cr_assert(exists("block"));  // the kernel remembers name and attributes
    const auto found = parts->files->lookup(kRootIno, "block");
    cr_assert(parts->files->unlink(kRootIno, "block").ok());
    const int fd = ::open(parts->path("block").c_str(), O_RDONLY);
    cr_expect_lt(fd, 0, "not told of, but asked about: a clean miss all the same");
    cr_expect_eq(errno, ENOENT);
    cr_expect(!exists("block"));
}

Test(semantics_mount, S6_the_kernel_keeps_no_second_copy_of_the_bytes) {
    constexpr std::size_t kBytes = 2 << 20;
    tests::write_file(parts->path("file"), tests::pattern(kBytes, 1));
    const int fd = ::open(parts->path("file").c_str(), O_RDONLY);
    std::string bytes(kBytes, '\0');
    cr_assert_eq(::pread(fd, bytes.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
    void* memory = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert(memory != MAP_FAILED);
    std::vector<unsigned char> resident(kBytes / 4096);
    cr_assert_eq(::mincore(memory, kBytes, resident.data()), 0);
    for (const unsigned char page : resident) cr_assert_eq(page & 1, 0);
    ::munmap(memory, kBytes);
    ::close(fd);
}

Test(semantics_mount, D1_what_was_closed_before_the_end_is_sealed) {
    // close(2) returns before the daemon hears of it: the end must wait for what is on its way.
    constexpr int kFiles = 300;
    std::vector<int> fds;
    for (int i = 0; i < kFiles; ++i) {
        fds.push_back(
            ::open(parts->path("f" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644));
        cr_assert_eq(::write(fds.back(), "x", 1), 1);
    }
    for (const int fd : fds) ::close(fd);
    parts->mount->stop();
    parts->server.join();
    cr_expect(parts->outcome.ok());
    for (int i = 0; i < kFiles; ++i) {
        const auto found = parts->files->lookup(kRootIno, "f" + std::to_string(i));
        cr_assert(found.ok());
        cr_expect(parts->files->lease(found->inode.ino).ok(), "f%d is not sealed", i);
    }
}

Test(semantics_mount, D4_what_is_open_at_the_end_is_not_sealed) {
    const int fd = ::open(parts->path("half").c_str(), O_CREAT | O_WRONLY, 0644);
    cr_assert_eq(::write(fd, "half", 4), 4);
    const auto found = parts->files->lookup(kRootIno, "half");
    cr_assert(found.ok());
    parts->mount->stop();
    parts->server.join();
    ::close(fd);
    cr_expect(!parts->files->lease(found->inode.ino).ok());
}

Test(semantics_mount, stopping_twice_and_before_serving_is_fine) {
    parts->mount->stop();
    parts->mount->stop();
    parts->server.join();
    auto again = FuseMount::mount(*parts->files, {.mountpoint = parts->mountpoint});
    cr_assert(again.ok());
    (*again)->stop();
    cr_expect((*again)->run().ok());
    auto unused = FuseMount::mount(*parts->files, {.mountpoint = parts->mountpoint});
    cr_assert(unused.ok());
    unused->reset();
    cr_expect(!exists("anything"));
    struct stat below {
    }, at{};
    cr_expect(::stat(parts->directory.c_str(), &below) == 0 &&
              ::stat(parts->mountpoint.c_str(), &at) == 0 && below.st_dev == at.st_dev);
}
