#pragma once
#include <criterion/criterion.h>

#include <sstream>
#include <string>
#include <vector>

#include "tools/program.h"

namespace kvfs::tests {

/// What a run of the program kvfs has come to.
struct Outcome {
    int code = 0;
    std::string out;
    std::string err;
};

/// `kvfs WORDS...` in this process.
inline Outcome kvfs_tool(const std::vector<std::string>& words, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out, err;
    const int code = run_kvfs(words, {in, out, err});
    return {code, out.str(), err.str()};
}

/// The same; what it said, with its exit code.
inline std::string kvfs_says(const std::vector<std::string>& words, int expected_code) {
    const Outcome outcome = kvfs_tool(words);
    cr_expect_eq(outcome.code, expected_code, "%s", outcome.err.c_str());
    return outcome.out + outcome.err;
}

}  // namespace kvfs::tests
