#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// Names and labels of the objects in an SSD store's directory. Every call blocks on the file
/// system.
///
/// A label that does not fit an xattr (ext4: 4 KiB for all of a file's) lies beside its object, as
/// <id>.<CRC32C of that label>, and the xattr names it: what the xattr says is always the label,
/// and one system call changes it. Label files that no xattr names are remains of a crash.
/// Thread-safe.
class ObjectFiles {
  public:
    explicit ObjectFiles(std::string directory) : directory_(std::move(directory)) {}

    std::string path_of(ObjectId id) const;
    /// A name in tmp/ that was not given before.
    std::string temporary_path(ObjectId id);
    Status make_directories(ObjectId id) const;

    /// Makes the file at `temporary` the object `id`.
    Status publish(const std::string& temporary, ObjectId id, const ObjectLabel& label);
    Status relabel(ObjectId id, const ObjectLabel& label);
    /// The object is gone; its file is now in tmp/ under the name that is returned, to be unlinked.
    /// Empty: there is nothing left to unlink.
    Result<std::string> take_away(ObjectId id);
    Status scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) const;
    /// What lies in objects/ and tmp/ and is neither an object nor a label file that one names.
    Result<std::vector<std::string>> leftovers() const;

  private:
    Mutex& mutex_of(ObjectId id) { return mutexes_[id % mutexes_.size()]; }
    std::string path_beside(ObjectId id, const std::string& name) const;
    Result<std::string> set_label(const std::string& path, ObjectId id, const ObjectLabel& label);
    Result<std::string> write_label_file(ObjectId id, const std::string& text);
    void drop_label_file(ObjectId id, const std::string& name);
    ObjectLabel label_of(ObjectId id) const;
    bool is_label_file(const std::string& path, const std::string& name) const;

    const std::string directory_;
    std::atomic<std::uint64_t> temporaries_ = 0;
    /// Held, by id, over every step that changes a name or a label. Never two at a time.
    std::array<Mutex, 64> mutexes_;
};

}  // namespace kvfs
