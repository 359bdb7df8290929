#pragma once
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace kvfs::tests {

/// Path of another SSD directory for the test's daemon: on the same file system as its own, with a
/// name by which what killed tests leave is found.
inline std::string second_ssd() {
    const char* wanted = std::getenv("KVFS_TEST_DIR");
    return std::string(wanted != nullptr ? wanted : "/var/tmp") + "/kvfs-test." +
           std::to_string(::getpid()) + ".ssd2";
}

inline void remove_second_ssd() {
    std::error_code ignored;
    std::filesystem::remove_all(second_ssd(), ignored);
}

}  // namespace kvfs::tests
