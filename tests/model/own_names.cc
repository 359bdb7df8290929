#include "tests/model/own_names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "tests/model/fronts.h"
#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

constexpr std::size_t kNames = 6;
constexpr const char* kTag = "user.tag";

}  // namespace

OwnNames::OwnNames(std::string directory, std::size_t bytes_max)
    : directory_(std::move(directory)), bytes_max_(bytes_max) {
    ::mkdir(directory_.c_str(), 0755);
}

std::string OwnNames::any_name(std::mt19937_64& random) const {
    return "o" + std::to_string(random() % kNames);
}

std::string OwnNames::take_step(std::mt19937_64& random) {
    const std::string name = any_name(random);
    switch (random() % 14) {
        case 0:
        case 1:
        case 2:
            return save(random);
        case 3:
            return write_in_place(name, random);
        case 4:
            return append(name, random);
        case 5:
            return truncate(name, random);
        case 6:
            return rename(name, any_name(random));
        case 7:
            return random() % 2 == 0 ? remove(name) : remove_while_open(name);
        case 8:
            return tag(name, random);
        case 9:
        case 10:
            return read_part(name, random);
        default:
            return load(name);
    }
}

std::string OwnNames::save(std::mt19937_64& random) {
    const std::string name = any_name(random);
    std::string bytes = pattern(random() % bytes_max_, random());
    const std::string wrong = MountFront(directory_).save(name, bytes);
    files_[name] = {.bytes = std::move(bytes)};
    return wrong.empty() ? "" : "save " + at(name) + ": " + wrong;
}

std::string OwnNames::load(const std::string& name) {
    const int fd = ::open(at(name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno != ENOENT || files_.contains(name))) return failed("open " + at(name));
    if (fd < 0) return {};
    if (!files_.contains(name)) return at(name) + " is there, though removed";
    const std::string wrong = compare(fd, name);
    ::close(fd);
    if (xattr_of(at(name), kTag) != files_[name].tag) return at(name) + " has another xattr";
    return wrong;
}

std::string OwnNames::compare(int fd, const std::string& name) const {
    const std::string& expected = files_.at(name).bytes;
    std::string bytes(expected.size() + 10, '?');
    const long n = ::pread(fd, bytes.data(), bytes.size(), 0);
    if (n != static_cast<long>(expected.size()))
        return failed("read " + at(name) + ": " + std::to_string(n) + " of " +
                      std::to_string(expected.size()));
    bytes.resize(expected.size());
    const auto [a, b] = std::mismatch(bytes.begin(), bytes.end(), expected.begin());
    if (a == bytes.end()) return {};
    return at(name) + ": byte " + std::to_string(a - bytes.begin()) + " of " +
           std::to_string(bytes.size()) + " is another";
}

std::string OwnNames::write_in_place(const std::string& name, std::mt19937_64& random) {
    if (!files_.contains(name)) return {};
    std::string& expected = files_[name].bytes;
    const std::size_t offset = random() % bytes_max_;
    const std::string bytes = pattern(1 + random() % (bytes_max_ - offset), random());
    const int fd = ::open(at(name).c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return failed("open to write " + at(name));
    const long n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n != static_cast<long>(bytes.size())) return failed("pwrite " + at(name));
    expected.resize(std::max(expected.size(), offset + bytes.size()));
    expected.replace(offset, bytes.size(), bytes);
    const std::string wrong = compare(fd, name);
    ::close(fd);
    return wrong;
}

std::string OwnNames::append(const std::string& name, std::mt19937_64& random) {
    if (!files_.contains(name) || files_[name].bytes.size() > bytes_max_) return {};
    const std::string bytes = pattern(random() % 100'000, random());
    const int fd = ::open(at(name).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0) return failed("open to append " + at(name));
    const long n = ::write(fd, bytes.data(), bytes.size());
    if (n != static_cast<long>(bytes.size())) return failed("append " + at(name));
    ::close(fd);
    files_[name].bytes += bytes;
    return {};
}

std::string OwnNames::truncate(const std::string& name, std::mt19937_64& random) {
    const std::size_t size = random() % 3 == 0 ? 0 : random() % bytes_max_;
    const bool there = files_.contains(name);
    if ((::truncate(at(name).c_str(), static_cast<off_t>(size)) == 0) != there)
        return failed("truncate " + at(name));
    if (there) files_[name].bytes.resize(size);
    return {};
}

std::string OwnNames::rename(const std::string& from, const std::string& to) {
    const bool there = files_.contains(from);
    if ((std::rename(at(from).c_str(), at(to).c_str()) == 0) != there)
        return failed("rename " + at(from));
    if (!there || from == to) return {};
    files_[to] = std::move(files_[from]);
    files_.erase(from);
    return {};
}

std::string OwnNames::remove(const std::string& name) {
    const bool there = files_.erase(name) != 0;
    if ((::unlink(at(name).c_str()) == 0) != there) return failed("unlink " + at(name));
    return {};
}

std::string OwnNames::remove_while_open(const std::string& name) {
    const int fd = ::open(at(name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return remove(name);
    if (::unlink(at(name).c_str()) != 0) return failed("unlink while open " + at(name));
    const std::string wrong = compare(fd, name);
    ::close(fd);
    files_.erase(name);
    return wrong;
}

std::string OwnNames::read_part(const std::string& name, std::mt19937_64& random) {
    if (!files_.contains(name)) return {};
    const std::string& expected = files_[name].bytes;
    const std::size_t offset = random() % bytes_max_;
    std::string bytes(1 + random() % 200'000, '?');
    const int fd =
        ::open(at(name).c_str(), O_RDONLY | O_CLOEXEC | (random() % 2 == 0 ? O_DIRECT : 0));
    if (fd < 0) return failed("open to read " + at(name));
    const long n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    ::close(fd);
    if (n < 0) return failed("pread " + at(name));
    bytes.resize(static_cast<std::size_t>(n));
    const std::string wanted = offset < expected.size()
                                   ? expected.substr(offset, std::max(bytes.size(), std::size_t{1}))
                                   : "";
    if (bytes == wanted) return {};
    return "pread " + at(name) + " at " + std::to_string(offset) + ": " + std::to_string(n) +
           " bytes, others than were written";
}

std::string OwnNames::tag(const std::string& name, std::mt19937_64& random) {
    const std::string value = pattern(1 + random() % 50, random());
    const bool there = files_.contains(name);
    if ((::setxattr(at(name).c_str(), kTag, value.data(), value.size(), 0) == 0) != there)
        return failed("setxattr " + at(name));
    if (there) files_[name].tag = value;
    return {};
}

std::string OwnNames::compare_all() {
    for (std::size_t i = 0; i < kNames; ++i) {
        const std::string wrong = load("o" + std::to_string(i));
        if (!wrong.empty()) return wrong;
    }
    std::vector<std::string> names = list_names(directory_);
    std::sort(names.begin(), names.end());
    if (!std::equal(names.begin(), names.end(), files_.begin(), files_.end(),
                    [](const auto& name, const auto& file) { return name == file.first; }))
        return directory_ + " lists other names";
    return {};
}

}  // namespace kvfs::tests
