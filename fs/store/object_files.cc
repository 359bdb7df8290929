#include "fs/store/object_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "fs/base/crc32c.h"
#include "fs/base/fd.h"
#include "fs/store/label.h"
#include "fs/store/ssd_directory.h"

namespace kvfs {
namespace {

namespace filesystem = std::filesystem;

constexpr const char* kXattr = "user.kvfs";
constexpr std::size_t kXattrBytesMax = 65'536;  // XATTR_SIZE_MAX
constexpr std::size_t kIdDigits = 16;
constexpr std::string_view kPointerStart = R"({"label_file":")";
constexpr std::string_view kPointerEnd = R"("})";

std::string hex(std::uint64_t number, int digits) {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%0*llx", digits,
                  static_cast<unsigned long long>(number));
    return text.data();
}

std::optional<ObjectId> parse_id(std::string_view name) {
    ObjectId id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id, 16);
    if (name.size() != kIdDigits || error != std::errc{} || end != name.data() + name.size())
        return std::nullopt;
    return id;
}

std::uint32_t crc_of(std::string_view text) {
    return crc32c(std::as_bytes(std::span(text.data(), text.size())));
}

/// The name of the label file that an xattr's text points to; empty when it is the label itself.
std::string pointed_to(std::string_view text) {
    if (!text.starts_with(kPointerStart) || !text.ends_with(kPointerEnd)) return {};
    text.remove_prefix(kPointerStart.size());
    text.remove_suffix(kPointerEnd.size());
    return std::string(text);
}

/// Errors: ENOENT - no such file; ENODATA - it has no label.
Result<std::string> read_xattr(const std::string& path) {
    std::string text(4096, '\0');
    ssize_t length = ::getxattr(path.c_str(), kXattr, text.data(), text.size());
    if (length < 0 && errno == ERANGE) {
        text.resize(kXattrBytesMax);
        length = ::getxattr(path.c_str(), kXattr, text.data(), text.size());
    }
    if (length < 0) return Error{errno, {}};
    text.resize(static_cast<std::size_t>(length));
    return text;
}

/// The label file that belongs to the object at `path`; empty when none does.
std::string label_file_of(const std::string& path) {
    const auto text = read_xattr(path);
    return text ? pointed_to(*text) : std::string{};
}

}  // namespace

std::string ObjectFiles::path_of(ObjectId id) const { return path_beside(id, hex(id, kIdDigits)); }

std::string ObjectFiles::path_beside(ObjectId id, const std::string& name) const {
    return directory_ + "/objects/" + hex(id >> 16 & 0xff, 2) + "/" + hex(id >> 8 & 0xff, 2) + "/" +
           name;
}

std::string ObjectFiles::temporary_path(ObjectId id) {
    const std::uint64_t number = temporaries_++;
    return tmp_part(directory_, number % kTmpParts) + "/" + hex(id, kIdDigits) + "." +
           std::to_string(number);
}

Status ObjectFiles::make_directories(ObjectId id) const {
    const std::string lower = path_beside(id, "");
    if (::mkdir(lower.c_str(), 0700) == 0 || errno == EEXIST) return {};
    const std::string upper = directory_ + "/objects/" + hex(id >> 16 & 0xff, 2);
    if (::mkdir(upper.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("mkdir " + upper);
    if (::mkdir(lower.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("mkdir " + lower);
    return {};
}

Result<std::string> ObjectFiles::write_label_file(ObjectId id, const std::string& text) {
    if (Status status = make_directories(id); !status) return status.error();
    const std::string name = hex(id, kIdDigits) + "." + hex(crc_of(text), 8);
    const std::string temporary = temporary_path(id);
    const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return errno_error("open " + temporary);
    const ssize_t written = ::write(fd.get(), text.data(), text.size());
    if (written == static_cast<ssize_t>(text.size()) &&
        ::rename(temporary.c_str(), path_beside(id, name).c_str()) == 0)
        return name;
    const Error error = written < 0 || written == static_cast<ssize_t>(text.size())
                            ? errno_error("writing " + temporary)
                            : Error{ENOSPC, "writing " + temporary};
    ::unlink(temporary.c_str());
    return error;
}

void ObjectFiles::drop_label_file(ObjectId id, const std::string& name) {
    // A failure leaves an orphan, which scan removes.
    if (!name.empty()) ::unlink(path_beside(id, name).c_str());
}

/// Gives the name of the label file that the label now lies in; empty when it fits the xattr.
Result<std::string> ObjectFiles::set_label(const std::string& path, ObjectId id,
                                           const ObjectLabel& label) {
    const std::string text = encode_label(label);
    if (::setxattr(path.c_str(), kXattr, text.data(), text.size(), 0) == 0) return std::string{};
    // ENOSPC is what ext4 says of too long an xattr. Were the disk full, the file would say it
    // again.
    if (errno != ENOSPC && errno != E2BIG && errno != ERANGE)
        return errno_error("setxattr " + path);
    auto name = write_label_file(id, text);
    if (!name) return name;
    const std::string pointer = std::string(kPointerStart) + *name + std::string(kPointerEnd);
    if (::setxattr(path.c_str(), kXattr, pointer.data(), pointer.size(), 0) == 0) return name;
    const Error error = errno_error("setxattr " + path);
    if (label_file_of(path) != *name) drop_label_file(id, *name);
    return error;
}

Status ObjectFiles::publish(const std::string& temporary, ObjectId id, const ObjectLabel& label) {
    const std::string path = path_of(id);
    MutexLock lock(mutex_of(id));
    const std::string old_file = label_file_of(path);
    const auto new_file = set_label(temporary, id, label);
    if (!new_file) return new_file.error();
    int renamed = ::rename(temporary.c_str(), path.c_str());
    if (renamed != 0 && errno == ENOENT) {
        if (Status status = make_directories(id); !status) return status;
        renamed = ::rename(temporary.c_str(), path.c_str());
    }
    if (renamed != 0) {
        const Error error = errno_error("rename to " + path);
        if (*new_file != old_file) drop_label_file(id, *new_file);
        return error;
    }
    if (old_file != *new_file) drop_label_file(id, old_file);
    return {};
}

Status ObjectFiles::relabel(ObjectId id, const ObjectLabel& label) {
    const std::string path = path_of(id);
    MutexLock lock(mutex_of(id));
    if (::access(path.c_str(), F_OK) != 0) return Error{errno, {}};
    const std::string old_file = label_file_of(path);
    const auto new_file = set_label(path, id, label);
    if (!new_file) return new_file.error();
    if (old_file != *new_file) drop_label_file(id, old_file);
    return {};
}

Result<std::string> ObjectFiles::take_away(ObjectId id) {
    const std::string path = path_of(id);
    std::string temporary = temporary_path(id);
    MutexLock lock(mutex_of(id));
    const std::string label_file = label_file_of(path);
    if (::rename(path.c_str(), temporary.c_str()) != 0) {
        // There was none, or somebody has removed that part of tmp/: then it goes from here.
        if (errno != ENOENT || (::unlink(path.c_str()) != 0 && errno != ENOENT))
            return errno_error("removing " + path);
        temporary.clear();
    }
    drop_label_file(id, label_file);
    return temporary;
}

ObjectLabel ObjectFiles::label_of(ObjectId id) const {
    auto text = read_xattr(path_of(id));
    if (!text) return {};
    if (const std::string name = pointed_to(*text); !name.empty()) {
        if (name.find('/') != std::string::npos) return {};
        std::ifstream file(path_beside(id, name));
        std::stringstream content;
        content << file.rdbuf();
        *text = content.str();
        if (name != hex(id, kIdDigits) + "." + hex(crc_of(*text), 8)) return {};
    }
    auto label = decode_label(*text);
    return label ? std::move(*label) : ObjectLabel{};
}

/// Whether the label file `name`, at `path`, is one that an object names.
bool ObjectFiles::is_label_file(const std::string& path, const std::string& name) const {
    const auto id = parse_id(std::string_view(name).substr(0, kIdDigits));
    return id && path == path_beside(*id, name) && label_file_of(path_of(*id)) == name;
}

Status ObjectFiles::scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) const {
    std::error_code error;
    filesystem::recursive_directory_iterator entry(directory_ + "/objects", error);
    for (const filesystem::recursive_directory_iterator end; !error && entry != end;
         entry.increment(error)) {
        const auto id =
            entry.depth() == 2 ? parse_id(entry->path().filename().string()) : std::nullopt;
        if (id && entry->path() == path_of(*id) && !visit(*id, label_of(*id))) return {};
    }
    if (error) return Error{error.value(), "reading " + directory_ + "/objects"};
    return {};
}

Result<std::vector<std::string>> ObjectFiles::leftovers() const {
    std::vector<std::string> found;
    for (const char* part : {"/objects", "/tmp"}) {
        std::error_code error;
        filesystem::recursive_directory_iterator entry(directory_ + part, error);
        for (const filesystem::recursive_directory_iterator end; !error && entry != end;
             entry.increment(error)) {
            const std::string path = entry->path().string();
            const std::string name = entry->path().filename().string();
            const auto id = parse_id(name);
            if (entry->is_directory(error) || (id && path == path_of(*id)) ||
                is_label_file(path, name))
                continue;
            found.push_back(path);
        }
        if (error) return Error{error.value(), "reading " + directory_ + part};
    }
    return found;
}

}  // namespace kvfs
