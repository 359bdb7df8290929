#pragma once
#include <criterion/criterion.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/names/namespace.h"

// A namespace in a directory of its own, for the tests of fs/names. Criterion runs each test in a
// process of its own and leaves a test that fails by longjmp, so both are globals that .fini
// removes.

namespace namespace_fixture {

using kvfs::Ino;
using kvfs::Inode;
using kvfs::kRootIno;
using kvfs::Namespace;
using kvfs::Placement;
using kvfs::Result;
using kvfs::Status;

inline std::string directory;
inline std::unique_ptr<Namespace> names;

constexpr const char* kThisBoot = "boot-a";
constexpr const char* kNextBoot = "boot-b";

inline Result<std::unique_ptr<Namespace>> try_open(const std::string& boot = kThisBoot,
                                                   std::uint64_t map_bytes = 4ULL << 30) {
    return Namespace::open({.directory = directory, .map_bytes = map_bytes, .boot_id = boot});
}

/// Opens it again, as after the daemon died (unless it was closed clean).
inline void reopen(const std::string& boot = kThisBoot) {
    names.reset();
    auto opened = try_open(boot);
    cr_assert(opened.ok(), "%s", opened.ok() ? "" : opened.error().message().c_str());
    names = std::move(*opened);
}

inline void set_up() {
    std::string path = std::filesystem::temp_directory_path() / "kvfs-names-XXXXXX";
    cr_assert_not_null(::mkdtemp(path.data()));
    directory = path;
    reopen();
}

inline void tear_down() {
    names.reset();
    std::error_code ignored;
    if (!directory.empty()) std::filesystem::remove_all(directory, ignored);
}

inline Namespace::NewInode file() { return {.mode = S_IFREG | 0644, .uid = 1000, .gid = 100}; }
inline Namespace::NewInode folder() { return {.mode = S_IFDIR | 0755, .uid = 1000, .gid = 100}; }
inline Namespace::NewInode symlink_to(std::string target) {
    return {.mode = S_IFLNK | 0777, .uid = 1000, .gid = 100, .symlink_target = std::move(target)};
}

inline Ino make(Ino parent, const std::string& name, const Namespace::NewInode& what) {
    const auto made = names->create(parent, name, what);
    cr_assert(made.ok(), "create %s: %s", name.c_str(),
              made.ok() ? "" : made.error().message().c_str());
    return made->ino;
}
inline Ino make_file(Ino parent, const std::string& name) { return make(parent, name, file()); }
inline Ino make_folder(Ino parent, const std::string& name) { return make(parent, name, folder()); }

inline Inode get(Ino ino) {
    const auto got = names->get(ino);
    cr_assert(got.ok(), "get %lu: %s", static_cast<unsigned long>(ino),
              got.ok() ? "" : got.error().message().c_str());
    return *got;
}

/// 0 when it succeeded, else its errno.
template <typename T>
int code(const Result<T>& result) {
    return result.ok() ? 0 : result.error().code;
}

inline std::vector<std::string> listing(Ino parent, const std::string& after = "") {
    std::vector<std::string> found;
    const Status listed = names->list(parent, after, [&](const Namespace::Entry& entry) {
        found.emplace_back(entry.name);
        return true;
    });
    cr_assert(listed.ok());
    return found;
}

inline bool same_names(const std::vector<std::string>& a, const std::vector<std::string>& b) {
    return a == b;
}

}  // namespace namespace_fixture
