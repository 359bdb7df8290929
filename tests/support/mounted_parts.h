#pragma once
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/files/files.h"
#include "fs/fuse/fuse_mount.h"
#include "tests/support/mounted.h"
#include "tests/support/temp_dir.h"

namespace kvfs::tests {

/// A daemon's parts in this process, mounted, with a DRAM tier of 16 MiB: for tests that act as the
/// mapper's front does, or that bring a store of their own.
struct MountedParts {
    struct Options {
        std::vector<std::string> mount_options{};
        std::chrono::milliseconds io_timeout = std::chrono::seconds(30);
    };
    /// Makes the store, below the directory it is given.
    using MakeStore = std::function<std::unique_ptr<ObjectStore>(const std::string& directory)>;

    explicit MountedParts(const MakeStore& make_store) : MountedParts(make_store, Options{}) {}
    MountedParts(const MakeStore& make_store, Options options) {
        for (const char* name : {"/mnt", "/ssd"})
            std::filesystem::create_directory(directory + name);
        auto opened = Namespace::open({.directory = directory + "/names"});
        cr_assert(opened.ok());
        names = std::move(*opened);
        std::vector<std::unique_ptr<ObjectStore>> stores;
        stores.push_back(make_store(directory + "/ssd"));
        auto arena = Arena::create({.bytes = 16 << 20});
        cr_assert(arena.ok());
        cache = std::make_unique<Cache>(std::move(*arena), std::move(stores),
                                        Cache::Options{.io_timeout = options.io_timeout});
        auto all = Files::open(*names, *cache);
        cr_assert(all.ok());
        files = std::move(*all);
        auto made = FuseMount::mount(
            *files, {.mountpoint = mountpoint, .mount_options = options.mount_options});
        cr_assert(made.ok(), "%s", made.ok() ? "" : made.error().message().c_str());
        mount = std::move(*made);
        server = std::thread([this] { outcome = mount->run(); });
    }
    ~MountedParts() {
        if (server.joinable()) {
            mount->stop();
            server.join();
        }
        mount.reset();
        files.reset();
        cache.reset();
        names.reset();
        ::umount2(mountpoint.c_str(), MNT_DETACH);
    }
    MountedParts(const MountedParts&) = delete;
    MountedParts& operator=(const MountedParts&) = delete;

    std::string path(const std::string& name) const { return mountpoint + "/" + name; }

    /// A file of 2 MiB, pattern(2 << 20, 1), that the store alone has.
    std::string make_cold_file() const {
        std::string cold = path("cold");
        write_file(cold, pattern(2 << 20, 1));
        const int fd = ::open(cold.c_str(), O_RDONLY);
        cr_assert_geq(fd, 0);
        cr_assert_eq(::fsync(fd), 0);
        ::close(fd);
        cr_assert(eventually(
            [&] { return ::setxattr(cold.c_str(), "user.kvfs.evict", "dram", 4, 0) == 0; }));
        return cold;
    }

    std::string directory = make_temp_dir();
    std::string mountpoint = directory + "/mnt";
    std::unique_ptr<Namespace> names;
    std::unique_ptr<Cache> cache;
    std::unique_ptr<Files> files;
    std::unique_ptr<FuseMount> mount;
    std::thread server;
    Status outcome;  ///< of run(), once `server` is joined
};

}  // namespace kvfs::tests
