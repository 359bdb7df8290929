#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/files/files.h"

namespace kvfs::fuse {

/// What has lost its name while the kernel still knows it, kept until the kernel forgets it.
///
/// A file that was renamed over stays open: a program that walked to it just before must get the
/// old file, not ESTALE (the kernel looks the name up again once, but a busy name is replaced again
/// meanwhile). A removed directory keeps its attributes: it may be somebody's working directory.
/// Thread-safe.
class Lingering {
  public:
    explicit Lingering(Files& files) : files_(files) {}

    void keep_file(std::unique_ptr<Handle> handle);
    void keep_directory(Attributes attributes);
    /// Of a directory that was removed and not forgotten.
    std::optional<Attributes> directory(Ino ino) const;
    void forget(Ino ino);
    /// At the end: nobody will forget any more.
    void release_all();

  private:
    /// The kernel forgets a replaced file at once, unless it never knew it or it is open (then it
    /// needs nothing from us): no file stays for longer.
    static constexpr std::chrono::seconds kFileStays{1};
    static constexpr std::size_t kDirectoriesMax = 4096;

    std::vector<std::unique_ptr<Handle>> take_old(Deadline now);
    void release(std::vector<std::unique_ptr<Handle>> handles);

    Files& files_;
    std::atomic<std::size_t> count_ = 0;  ///< so that most forgets need no lock
    mutable Mutex mutex_;
    std::unordered_map<Ino, std::unique_ptr<Handle>> handles_ GUARDED_BY(mutex_);
    std::deque<std::pair<Deadline, Ino>> handles_by_age_ GUARDED_BY(mutex_);
    std::unordered_map<Ino, Attributes> directories_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::fuse
