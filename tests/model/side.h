#pragma once
#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <string>

namespace kvfs::tests {

inline constexpr std::size_t kSlotsMax = 8;
inline constexpr std::size_t kMapsMax = 4;

/// What a call did, as far as the mount and a plain directory must agree.
struct Outcome {
    long result = 0;
    int error = 0;
    std::string data{};
    bool operator==(const Outcome&) const = default;
};
/// With errno when `result` is negative.
Outcome outcome_of(long result, std::string data = {});

/// A shared mapping, and a descriptor that tells how long its file is by now.
struct Map {
    char* memory = nullptr;
    std::size_t length = 0;
    std::size_t offset = 0;
    int fd = -1;

    /// Bytes from the start of the map that lie in the file: behind them is SIGBUS.
    std::size_t in_file() const;
    void unmap();
};

/// One of the two directories, with what the model has open there.
struct Side {
    std::string root;
    bool is_mount;
    std::array<int, kSlotsMax> fds{-1, -1, -1, -1, -1, -1, -1, -1};
    std::array<Map, kMapsMax> maps{};

    std::string at(const std::string& name) const { return root + "/" + name; }
    void close_slot(std::size_t slot);
};

Outcome stat_outcome(int result, const struct stat& st);
Outcome list(const std::string& directory);
/// All bytes, by one read that asks for more than there are.
Outcome load(const std::string& path);
/// Names and values of the user's xattrs.
Outcome xattrs_of(const std::string& path);
/// What a list of xattrs, as listxattr gives it, has of the user's, in order.
std::string sorted_xattrs(const std::string& names);

}  // namespace kvfs::tests
