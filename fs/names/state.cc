#include "fs/names/state.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "fs/base/fd.h"

namespace kvfs {
namespace {

constexpr const char* kMagic = "kvfs-names";
constexpr int kVersion = 1;

Status write_file(const std::string& path, const std::string& text) {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return errno_error(path);
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0) return errno_error(path);
    if (static_cast<std::size_t>(written) != text.size()) return Error{ENOSPC, path};
    if (::fsync(file.get()) != 0) return errno_error(path);
    return {};
}

}  // namespace

std::optional<State> read_state(const std::string& directory) {
    std::ifstream file(directory + "/state");
    std::string magic, boot, clean, rebuild, inodes;
    int version = 0;
    State state;
    file >> magic >> version;
    if (magic != kMagic || version != kVersion) return std::nullopt;
    file >> boot >> state.boot_id >> clean >> state.clean >> rebuild >> state.rebuild >> inodes >>
        state.inodes_below;
    if (!file || boot != "boot" || clean != "clean" || rebuild != "rebuild" ||
        inodes != "inodes_below") {
        return std::nullopt;
    }
    return state;
}

Status write_state(const std::string& directory, const State& state) {
    std::ostringstream text;
    text << kMagic << ' ' << kVersion << "\nboot " << state.boot_id << "\nclean " << state.clean
         << "\nrebuild " << state.rebuild << "\ninodes_below " << state.inodes_below << '\n';
    const std::string path = directory + "/state";
    if (Status written = write_file(path + ".new", text.str()); !written) return written;
    if (::rename((path + ".new").c_str(), path.c_str()) != 0) return errno_error(path);
    const UniqueFd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) != 0) return errno_error(directory);
    return {};
}

std::string current_boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    file >> id;
    return id.empty() ? "unknown" : id;
}

}  // namespace kvfs
