#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "tests/model/fronts.h"

namespace kvfs::tests {

/// Names that all threads save, load and remove. Each file tells its name and version, and so all
/// its bytes. The savers of one name take turns, so its versions are in order: a load gives a whole
/// version, no older than the last that was there before the load began.
///
/// The functions give "", or what was wrong.
class SharedNames {
  public:
    static constexpr std::size_t kNames = 16;

    /// The last version that one thread has seen of each name, by one front.
    using Seen = std::array<long, kNames>;

    std::string save(Front& front, MountFront& mount, std::mt19937_64& random);
    std::string load(Front& front, Seen& seen, std::mt19937_64& random);
    std::string look(Front& front, std::mt19937_64& random);
    std::string remove(const std::string& directory, std::mt19937_64& random);
    /// When nobody saves any more: each name has the version it must have, or is not there.
    std::string compare_all(Front& front, std::mt19937_64& random);

  private:
    struct Name {
        std::mutex saving;
        std::atomic<long> begun = 0;  ///< the newest version that a saver has begun
        std::atomic<long> least = 0;  ///< the oldest version that a load may give from now on
        std::atomic<bool> there = false;
        std::atomic<long> removals = 0;  ///< raised before the call is made
        std::atomic<long> changes = 0;   ///< raised before a call and after: odd while one is made
    };

    std::string compare(Front& front, std::size_t which, Seen& seen, std::mt19937_64& random);

    std::array<Name, kNames> names_;
};

}  // namespace kvfs::tests
