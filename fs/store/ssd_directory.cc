#include "fs/store/ssd_directory.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>

#include "fs/base/mapping.h"

namespace kvfs {
namespace {

namespace filesystem = std::filesystem;
using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kBlockBytes = 4096;

/// `code` as a sentence about the directory, with the way out where one is known.
Error directory_error(int code, const std::string& directory, const std::string& what) {
    switch (code) {
        case EACCES:
        case EPERM:
            return {EACCES, "the SSD directory " + directory +
                                " cannot be written: make the user of kvfsd its owner"};
        case EROFS:
            return {EROFS, "the SSD directory " + directory +
                               " is on a read-only file system: remount it, or choose another"};
        case ENOSPC:
        case EDQUOT:
            return {ENOSPC, "no space is left in the SSD directory " + directory +
                                ": free some, or choose another"};
        case ENOENT:
            return {ENOENT, "the SSD directory " + directory + " has no parent: create that first"};
        case ENOTDIR:
            return {ENOTDIR, "the SSD directory " + directory + " is not a directory"};
        default:
            return {code, "the SSD directory " + directory + ": " + what};
    }
}

Error no_direct_io(const std::string& directory) {
    return {ENOTSUP, "the file system of " + directory +
                         " has no O_DIRECT: choose a directory on ext4 or XFS"};
}

Status make_directory(const std::string& path, const std::string& directory) {
    if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
    return directory_error(errno, directory, "mkdir " + path);
}

Result<UniqueFd> take_lock(const std::string& directory, int flags) {
    const std::string path = directory + "/lock";
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    if (!fd) return directory_error(errno, directory, "open " + path);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno != EWOULDBLOCK) return directory_error(errno, directory, "flock " + path);
    return Error{EBUSY, "another kvfsd uses the SSD directory " + directory +
                            ": stop it, or choose another directory"};
}

Status empty_tmp(const std::string& directory) {
    std::error_code error;
    for (filesystem::directory_iterator entry(directory + "/tmp", error), end;
         !error && entry != end; entry.increment(error)) {
        std::error_code ignored;  // what cannot be removed now is tried again at the next start
        filesystem::remove_all(entry->path(), ignored);
    }
    if (error) return directory_error(error.value(), directory, "emptying tmp");
    return {};
}

/// Asks for the directories in `path` to be placed far from each other. Only ext4 can be asked;
/// where it is not done, making files is slower, and nothing else.
void spread(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int flags = 0;
    if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
    flags |= FS_TOPDIR_FL;
    ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

Status make_tmp_parts(const std::string& directory) {
    spread(directory + "/tmp");
    for (unsigned i = 0; i < kTmpParts; ++i)
        if (Status status = make_directory(tmp_part(directory, i), directory); !status)
            return status;
    return {};
}

/// Writes a block as the store will, and reads it back.
Status try_out(const std::string& directory) {
    auto block = Mapping::anonymous(2 * kBlockBytes);
    if (!block) return block.error();
    const std::string path = directory + "/tmp/probe";
    const UniqueFd fd(
        ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600));
    if (!fd && errno == EINVAL) return no_direct_io(directory);
    if (!fd) return directory_error(errno, directory, "open " + path);
    std::memset(block->data(), 'k', kBlockBytes);
    const ssize_t written = ::pwrite(fd.get(), block->data(), kBlockBytes, 0);
    if (written < 0 && errno == EINVAL) return no_direct_io(directory);
    if (written < 0) return directory_error(errno, directory, "write to " + path);
    std::byte* back = block->data() + kBlockBytes;
    const ssize_t got = ::pread(fd.get(), back, kBlockBytes, 0);
    if (got < 0 && errno == EINVAL) return no_direct_io(directory);
    if (got != written || std::memcmp(block->data(), back, kBlockBytes) != 0)
        return directory_error(EIO, directory, "a block reads back other than it was written");
    if (::fsetxattr(fd.get(), "user.kvfs", "{}", 2, 0) != 0)
        return errno == ENOTSUP
                   ? Error{ENOTSUP, "the file system of " + directory +
                                        " has no user xattrs: choose a directory on ext4 or XFS"}
                   : directory_error(errno, directory, "setxattr of " + path);
    if (::unlink(path.c_str()) != 0) return directory_error(errno, directory, "unlink " + path);
    return {};
}

/// What is free for the store, with 5 % left for the file system's own sake.
std::uint64_t share_of(std::uint64_t blocks, std::uint64_t block_bytes) {
    return blocks * block_bytes / 100 * 95;
}

Result<std::uint64_t> make_identity(const std::string& directory, std::uint64_t capacity) {
    std::uint64_t uid = 0;
    while (uid == 0)
        if (::getrandom(&uid, sizeof uid, 0) != sizeof uid) return errno_error("getrandom");
    std::array<char, 17> hex{};
    std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(uid));
    const json identity{{"format", kFormat}, {"uid", hex.data()}, {"capacity_at_first", capacity}};
    const std::string text = identity.dump() + "\n";
    const std::string temporary = directory + "/tmp/kvfs.json";
    const std::string path = directory + "/kvfs.json";
    const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return directory_error(errno, directory, "open " + temporary);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::fsync(fd.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0)
        return directory_error(errno, directory, "writing " + path);
    return uid;
}

struct Identity {
    std::uint64_t uid = 0;
    std::uint64_t capacity_at_first = 0;
};

/// Reads kvfs.json; a uid of 0: there is none yet.
Result<Identity> read_identity(const std::string& directory) {
    const std::string path = directory + "/kvfs.json";
    std::error_code error;
    if (!filesystem::exists(path, error) && !error) return Identity{};
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    const json stored = json::parse(text.str(), nullptr, false);
    if (!stored.is_object() || !stored.contains("format") || !stored["format"].is_number_integer())
        return Error{EINVAL, path + " is not what kvfsd wrote: empty " + directory +
                                 ", or choose another directory"};
    if (const int format = stored["format"].get<int>(); format != kFormat)
        return Error{EINVAL, directory + " has format " + std::to_string(format) +
                                 " and this kvfsd uses " + std::to_string(kFormat) +
                                 ": use the kvfsd that made it, or empty the directory"};
    Identity identity;
    if (const auto it = stored.find("uid"); it != stored.end() && it->is_string()) {
        const auto& hex = it->get_ref<const std::string&>();
        std::from_chars(hex.data(), hex.data() + hex.size(), identity.uid, 16);
    }
    if (identity.uid == 0)
        return Error{EINVAL, path + " has no uid: empty " + directory + ", or choose another"};
    if (const auto it = stored.find("capacity_at_first");
        it != stored.end() && it->is_number_unsigned())
        identity.capacity_at_first = it->get<std::uint64_t>();
    return identity;
}

}  // namespace

std::string tmp_part(const std::string& directory, unsigned number) {
    return directory + "/tmp/" + std::to_string(number);
}

Result<SsdDirectory> open_ssd_directory(const std::string& wanted, std::uint64_t quota_bytes) {
    if (Status status = make_directory(wanted, wanted); !status) return status.error();
    std::error_code error;
    SsdDirectory opened;
    opened.path = filesystem::canonical(wanted, error).string();  // the daemon changes to /
    if (error) return directory_error(error.value(), wanted, "realpath");
    const std::string& path = opened.path;
    auto lock = take_lock(path, O_RDWR | O_CREAT);
    if (!lock) return lock.error();
    opened.lock = std::move(*lock);
    const auto identity = read_identity(path);
    if (!identity) return identity.error();
    for (const char* part : {"/objects", "/tmp"})
        if (Status status = make_directory(path + part, path); !status) return status.error();
    if (Status status = empty_tmp(path); !status) return status.error();
    if (Status status = make_tmp_parts(path); !status) return status.error();
    if (Status status = try_out(path); !status) return status.error();

    struct statvfs fs {};
    if (::statvfs(path.c_str(), &fs) != 0) return directory_error(errno, path, "statvfs");
    const std::uint64_t free_now = share_of(fs.f_bavail, fs.f_frsize);
    opened.uid = identity->uid;
    if (opened.uid == 0) {
        auto uid = make_identity(path, free_now);
        if (!uid) return uid.error();
        opened.uid = *uid;
    }
    // What is free now leaves out what the store itself holds, and to count that would take a walk
    // over all objects: what was free at the very first start stands in for it.
    const std::uint64_t own = std::max(free_now, identity->capacity_at_first);
    opened.capacity =
        std::min(quota_bytes != 0 ? quota_bytes : own, share_of(fs.f_blocks, fs.f_frsize));
    return opened;
}

Result<SsdDirectory> open_ssd_directory_as_found(const std::string& wanted) {
    std::error_code error;
    SsdDirectory opened;
    opened.path = filesystem::canonical(wanted, error).string();
    if (error) return Error{error.value(), "the SSD directory " + wanted};
    const auto identity = read_identity(opened.path);
    if (!identity) return identity.error();
    if (identity->uid == 0)
        return Error{ENOENT, opened.path + " is no SSD directory of kvfsd: it has no kvfs.json"};
    auto lock = take_lock(opened.path, O_RDONLY);
    if (!lock) return lock.error();
    opened.lock = std::move(*lock);
    opened.uid = identity->uid;
    opened.capacity = identity->capacity_at_first;
    return opened;
}

}  // namespace kvfs
