#include "tests/model/side.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

namespace kvfs::tests {

Outcome outcome_of(long result, std::string data) {
    if (result < 0) return {-1, errno, {}};
    return {result, 0, std::move(data)};
}

std::size_t Map::in_file() const {
    struct stat st {};
    if (memory == nullptr || ::fstat(fd, &st) != 0) return 0;
    const auto end = static_cast<std::size_t>(st.st_size);
    return end <= offset ? 0 : std::min(length, end - offset);
}

void Map::unmap() {
    if (memory != nullptr) ::munmap(memory, length);
    if (fd >= 0) ::close(fd);
    *this = {};
}

void Side::close_slot(std::size_t slot) {
    if (fds[slot] >= 0) ::close(std::exchange(fds[slot], -1));
}

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

std::string sorted_xattrs(const std::string& names) {
    std::vector<std::string> sorted;
    for (std::size_t at = 0; at < names.size();) {
        const std::string name = names.c_str() + at;
        at += name.size() + 1;
        if (name.starts_with("user.")) sorted.push_back(name);
    }
    std::sort(sorted.begin(), sorted.end());
    std::string all;
    for (const auto& name : sorted) all += name + " ";
    return all;
}

Outcome xattrs_of(const std::string& path) {
    std::string names(4096, '\0');
    const long n = ::llistxattr(path.c_str(), names.data(), names.size());
    if (n < 0) return {-1, errno, {}};
    names.resize(static_cast<std::size_t>(n));
    std::string all = sorted_xattrs(names);
    for (std::size_t at = 0; at < all.size();) {
        const std::size_t end = all.find(' ', at);
        std::string value(4096, '\0');
        const long size =
            ::lgetxattr(path.c_str(), all.substr(at, end - at).c_str(), value.data(), value.size());
        if (size < 0) return {-1, errno, {}};
        value.resize(static_cast<std::size_t>(size));
        all.insert(end, "=" + value);
        at = end + value.size() + 2;
    }
    return {0, 0, all};
}

}  // namespace kvfs::tests
