#pragma once
#include <criterion/criterion.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace kvfs::tests {

/// Makes an empty directory that goes with the process: a failed assertion runs no destructors.
inline std::string make_temp_dir() {
    static std::vector<std::string>& made = *new std::vector<std::string>;
    if (made.empty())
        std::atexit([] {
            std::error_code ignored;
            for (const std::string& directory : made)
                std::filesystem::remove_all(directory, ignored);
        });
    std::string path = std::filesystem::temp_directory_path() / "kvfs-test-XXXXXX";
    cr_assert_not_null(::mkdtemp(path.data()));
    made.push_back(path);
    return path;
}

}  // namespace kvfs::tests
