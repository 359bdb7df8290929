#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// A name in a kvfs, in KV terms.
struct CacheFile {
    enum class Kind { kFile, kDirectory, kSymlink, kOther };

    std::string path;
    std::string name;  ///< last component
    Kind kind = Kind::kFile;
    std::uint64_t size = 0;          ///< bytes
    std::vector<std::string> tiers;  ///< that hold it: "dram", "ssd", ...; of files only
    std::uint64_t dram_bytes = 0;
    std::uint64_t hits = 0;
    bool pinned = false;
    double accessed_s = 0;  ///< since the epoch: last use
    double modified_s = 0;  ///< since the epoch: written

    bool is_directory() const { return kind == Kind::kDirectory; }
    /// Bytes per tier: what is in DRAM, and the whole file in each tier below that holds it.
    std::map<std::string, std::uint64_t> bytes_by_tier() const;
};

const char* kind_name(CacheFile::Kind kind);

/// Looks at `path`, not following a symlink. Errors: ENOENT - gone, evicted perhaps while we look;
/// what lstat says.
Result<CacheFile> look_at(const std::string& path);

/// The names in directory `path`, sorted, without "." and "..". Errors: what opendir says.
Result<std::vector<std::string>> list_directory(const std::string& path);

/// `directory`/`name`, with one slash.
std::string join(const std::string& directory, const std::string& name);

}  // namespace kvfs
