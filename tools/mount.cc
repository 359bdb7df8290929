#include "tools/mount.h"

#include <gpumap.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <array>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <utility>

#include "fs/base/dead_mount.h"

namespace kvfs {
namespace {

constexpr const char* kStatistics = "user.kvfs.stats";

/// One line of /proc/self/mountinfo, as far as it matters here (proc_pid_mountinfo(5)).
struct MountLine {
    dev_t device = 0;
    std::string root;  ///< which directory of the file system is mounted
    std::string path;
    std::string type;
};

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
std::string unescape(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            plain.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)));
            i += 3;
        } else {
            plain.push_back(text[i]);
        }
    }
    return plain;
}

std::optional<MountLine> parse_mount_line(const std::string& text) {
    std::istringstream fields(text);
    std::string id, parent, device, root, path, word;
    if (!(fields >> id >> parent >> device >> root >> path)) return std::nullopt;
    while (fields >> word && word != "-") {
    }
    MountLine line;
    if (!(fields >> line.type)) return std::nullopt;
    unsigned major_number = 0, minor_number = 0;
    char colon = 0;
    std::istringstream(device) >> major_number >> colon >> minor_number;
    line.device = makedev(major_number, minor_number);
    line.root = unescape(root);
    line.path = unescape(path);
    return line;
}

}  // namespace

Result<std::string> read_xattr(const std::string& path, const char* name) {
    // Statistics grow between the two calls: ask again until they fit.
    std::string value(4096, '\0');
    for (;;) {
        const ssize_t length = ::lgetxattr(path.c_str(), name, value.data(), value.size());
        if (length >= 0) {
            value.resize(static_cast<std::size_t>(length));
            return value;
        }
        if (errno != ERANGE || value.size() > XATTR_SIZE_MAX) return errno_error(path);
        value.resize(value.size() * 2);
    }
}

Result<Mount> find_mount(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
        if (tells_of_death(errno))
            return no_daemon(
                path + ": mounted, but no daemon serves it (`umount -l` frees the directory)");
        return errno_error(path);
    }
    std::ifstream table("/proc/self/mountinfo");
    std::optional<Mount> found;
    for (std::string text; std::getline(table, text);) {
        const std::optional<MountLine> line = parse_mount_line(text);
        if (!line || line->device != status.st_dev || line->type != "fuse.kvfs") continue;
        if (line->root == "/") return Mount{line->path};
        found = Mount{};
    }
    if (found) return *found;
    return not_kvfs(path);
}

Result<Json> mount_statistics(const std::string& path) {
    const Result<Mount> mount = find_mount(path);
    if (!mount) return mount.error();
    if (mount->path.empty())
        return Error{ENOTTY, path +
                                 ": only a part of the kvfs is mounted here; its root has the "
                                 "statistics (or use --socket)"};
    const Result<std::string> text = read_xattr(mount->path, kStatistics);
    if (!text) return text.error().code == ENODATA ? not_kvfs(path) : text.error();
    Json document = Json::parse(*text, nullptr, false);
    if (document.is_discarded()) return Error{EBADMSG, mount->path + ": statistics"};
    document["mount"] = mount->path;
    return document;
}

namespace {

using Client = std::unique_ptr<gm_ctx, void (*)(gm_ctx*)>;

Result<Client> connect(const std::string& socket_path) {
    gm_config config{};
    config.size = sizeof config;
    config.backend = GM_BACKEND_HOST;
    config.socket_path = socket_path.c_str();
    gm_ctx* opened = nullptr;
    if (gm_open(&config, &opened) != GM_OK) return no_daemon(gm_message());
    return Client(opened, gm_close);
}

}  // namespace

Result<Json> socket_statistics(const std::string& socket_path) {
    const Result<Client> client = connect(socket_path);
    if (!client) return client.error();
    std::string text(16 << 10, '\0');
    for (int attempt = 0; attempt < 4; ++attempt) {
        std::size_t length = text.size();
        const gm_status status = gm_stats_json(client->get(), text.data(), &length);
        if (status == GM_OK) {
            Json document = Json::parse(text.c_str(), nullptr, false);
            if (document.is_discarded()) return Error{EBADMSG, socket_path + ": statistics"};
            return document;
        }
        if (status != GM_ESHORT) return Error{EIO, socket_path + ": " + gm_message()};
        text.resize(length);
    }
    return Error{EMSGSIZE, socket_path + ": statistics"};
}

Result<Daemon> Daemon::at_mount(const std::string& path) {
    const Result<Mount> mount = find_mount(path);
    if (!mount) return mount.error();
    if (mount->path.empty())
        return Error{ENOTTY, path + ": only a part of the kvfs is mounted here (use --socket)"};
    return Daemon(mount->path, "");
}

Result<Json> Daemon::statistics() const {
    return socket_.empty() ? mount_statistics(mount_) : socket_statistics(socket_);
}

Status Daemon::set(const std::string& key, const std::string& value) const {
    Status done;
    if (socket_.empty()) {
        const std::string name = "user.kvfs." + key;
        if (::setxattr(mount_.c_str(), name.c_str(), value.data(), value.size(), 0) == 0) return {};
        done = errno_error(mount_);
    } else {
        const Result<Client> client = connect(socket_);
        if (!client) return client.error();
        const gm_status status = gm_set(client->get(), "/", key.c_str(), value.c_str());
        if (status == GM_OK) return {};
        done = Error{status == GM_EACCES ? EACCES : EIO, socket_ + ": " + gm_message()};
    }
    if (const Result<Json> now = statistics(); now && now->contains("refused")) {
        const Json& refused = (*now)["refused"];
        if (refused.value("key", "") == key && refused.value("value", "") == value)
            return Error{ENOTCONN, refused.value("why", "")};
    }
    if (const int code = done.error().code; code == EPERM || code == EACCES)
        return Error{ENOTCONN, "only root and the user of the daemon may do that"};
    return done;
}

std::uint64_t number_of(const Json& document, std::string_view key) {
    const auto found = document.find(key);
    if (found == document.end() || !found->is_number()) return 0;
    return found->get<std::uint64_t>();
}

}  // namespace kvfs
