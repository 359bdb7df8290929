#include "tools/cache_file.h"

#include <dirent.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <sstream>

#include "tools/mount.h"

namespace kvfs {
namespace {

CacheFile::Kind kind_of(mode_t mode) {
    if (S_ISREG(mode)) return CacheFile::Kind::kFile;
    if (S_ISDIR(mode)) return CacheFile::Kind::kDirectory;
    if (S_ISLNK(mode)) return CacheFile::Kind::kSymlink;
    return CacheFile::Kind::kOther;
}

double seconds_of(const timespec& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

std::uint64_t number_xattr(const std::string& path, const char* name) {
    const Result<std::string> text = read_xattr(path, name);
    std::uint64_t number = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), number);
    return number;
}

std::vector<std::string> split_tiers(const std::string& text) {
    std::vector<std::string> tiers;
    std::istringstream parts(text);
    for (std::string tier; std::getline(parts, tier, ',');)
        if (!tier.empty() && tier != "none") tiers.push_back(tier);
    return tiers;
}

std::string last_component(const std::string& path) {
    const auto end = path.find_last_not_of('/');
    if (end == std::string::npos) return path;
    const auto slash = path.find_last_of('/', end);
    const auto begin = slash == std::string::npos ? 0 : slash + 1;
    return path.substr(begin, end + 1 - begin);
}

}  // namespace

std::map<std::string, std::uint64_t> CacheFile::bytes_by_tier() const {
    std::map<std::string, std::uint64_t> bytes;
    if (dram_bytes > 0) bytes["dram"] = dram_bytes;
    for (const std::string& tier : tiers)
        if (tier != "dram") bytes[tier] += size;
    return bytes;
}

const char* kind_name(CacheFile::Kind kind) {
    switch (kind) {
        case CacheFile::Kind::kFile:
            return "file";
        case CacheFile::Kind::kDirectory:
            return "directory";
        case CacheFile::Kind::kSymlink:
            return "symlink";
        case CacheFile::Kind::kOther:
            break;
    }
    return "other";
}

Result<CacheFile> look_at(const std::string& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return errno_error(path);
    CacheFile file;
    file.path = path;
    file.name = last_component(path);
    file.kind = kind_of(status.st_mode);
    file.accessed_s = seconds_of(status.st_atim);
    file.modified_s = seconds_of(status.st_mtim);
    if (file.kind != CacheFile::Kind::kFile) return file;
    file.size = static_cast<std::uint64_t>(status.st_size);
    const Result<std::string> tiers = read_xattr(path, "user.kvfs.tier");
    // Evicted since lstat: as if it had been before.
    if (!tiers && (tiers.error().code == ENOENT || tiers.error().code == ESTALE))
        return Error{ENOENT, path};
    if (tiers) file.tiers = split_tiers(*tiers);
    file.dram_bytes = number_xattr(path, "user.kvfs.resident");
    file.hits = number_xattr(path, "user.kvfs.hits");
    file.pinned = number_xattr(path, "user.kvfs.pin") != 0;
    return file;
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
    if (!directory) return errno_error(path);
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(directory.get());
        if (entry == nullptr) break;
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) return errno_error(path);
    std::sort(names.begin(), names.end());
    return names;
}

std::string join(const std::string& directory, const std::string& name) {
    return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

}  // namespace kvfs
