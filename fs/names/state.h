#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "fs/base/result.h"
#include "fs/names/inode.h"

namespace kvfs {

/// What must be known before the database may be opened: whether its pages can be trusted.
/// Therefore not in the database but in a file `state` beside it: text, replaced atomically and
/// synced.
///
/// The kernel writes the database's pages in any order. While they are the page cache of the boot
/// that wrote them they are whole; after that only if they were all synced before it ended.
struct State {
    std::string boot_id;   ///< of the boot that last had the database open
    bool clean = false;    ///< synced as a whole, and not changed since
    bool rebuild = false;  ///< started empty, and the rebuild has not been finished
    Ino inodes_below = 0;  ///< every inode number handed out is below
};

/// nullopt: no such file, or not one of ours.
std::optional<State> read_state(const std::string& directory);
/// Blocks on the disk.
Status write_state(const std::string& directory, const State& state);

/// Of the running kernel; "unknown" where it does not tell.
std::string current_boot_id();

}  // namespace kvfs
