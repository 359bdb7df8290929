#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/names/namespace.h"

namespace kvfs::fuse {

/// One open directory. Gives its entries positions: 1 is behind ".", 2 behind "..", 3 behind the
/// first name, and so on in name order. A directory of 10^7 names is listed without being held in
/// memory: exact names are kept for the last batch, and one name for each batch before it.
///
/// A name that exists during the whole listing is listed exactly once. After seekdir to a position
/// of an earlier batch that holds as long as nothing before that position in its batch was removed
/// since. Thread-safe.
class Listing {
  public:
    explicit Listing(Ino ino) : ino_(ino) {}

    struct Entry {
        std::string name;
        Ino ino = 0;
        std::uint32_t type = 0;      ///< S_IFMT bits
        std::uint64_t position = 0;  ///< behind the entry
    };
    /// The entries behind `position`, at most `count`, at least one if there is one. 0 starts anew.
    /// Errors: ENOENT - the directory is gone; EIO.
    Result<std::vector<Entry>> next(const Namespace& names, std::uint64_t position,
                                    std::size_t count);

  private:
    static constexpr std::uint64_t kDots = 2;

    /// Name order position of an entry: goes on behind `after`, leaving out `skip` more.
    struct Place {
        std::string after;
        std::uint64_t skip = 0;
    };
    Place place_of(std::uint64_t position) const REQUIRES(mutex_);

    const Ino ino_;
    Mutex mutex_;
    std::vector<Entry> batch_ GUARDED_BY(mutex_);  ///< the last one, without "." and ".."
    /// The last entry of each batch so far, by position.
    std::vector<std::pair<std::uint64_t, std::string>> marks_ GUARDED_BY(mutex_);
};

}  // namespace kvfs::fuse
