#include "fs/fuse/backing_files.h"

#include <sys/ioctl.h>

#include <cerrno>

#include "fs/base/log.h"

namespace kvfs::fuse {
namespace {

/// As in the kernel's <linux/fuse.h> since 6.9, which may be newer than the one here.
struct BackingMap {
    std::int32_t fd;
    std::uint32_t flags;
    std::uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, std::uint32_t);

}  // namespace

int BackingFiles::add(Ino ino, int fd) {
    const MutexLock lock(mutex_);
    Registered& file = registered_[ino];
    if (file.handles == 0) {
        const BackingMap map{fd, 0, 0};
        file.id = ::ioctl(device_, kBackingOpen, &map);
        if (file.id <= 0) {
            if (device_.exchange(-1) >= 0)
                spdlog::info(
                    "the kernel does not serve scratch files by itself: {}; kvfsd does (see "
                    "SCRATCH FILES in kvfsd(8))",
                    Error{errno}.message());
            registered_.erase(ino);
            return 0;
        }
    }
    ++file.handles;
    return file.id;
}

void BackingFiles::remove(Ino ino) {
    const MutexLock lock(mutex_);
    const auto file = registered_.find(ino);
    if (file == registered_.end() || --file->second.handles > 0) return;
    const auto id = static_cast<std::uint32_t>(file->second.id);
    ::ioctl(device_, kBackingClose, &id);
    registered_.erase(file);
}

}  // namespace kvfs::fuse
