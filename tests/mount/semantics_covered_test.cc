// Holds SEMANTICS.md and its tests together: no claim without a test, no test of a claim that is
// gone.
#include <criterion/criterion.h>
#include <regex.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace {

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// What the first group of the POSIX extended `expression` matches, wherever it does. (With
/// std::regex g++ 12 finds faults in the library when it builds for AddressSanitizer.)
std::set<std::string> all_matches(const std::string& text, const char* expression) {
    std::set<std::string> found;
    regex_t pattern;
    cr_assert_eq(::regcomp(&pattern, expression, REG_EXTENDED), 0);
    std::array<regmatch_t, 2> match{};
    for (const char* at = text.c_str(); ::regexec(&pattern, at, match.size(), match.data(), 0) == 0;
         at += match[0].rm_eo) {
        found.emplace(at + match[1].rm_so, at + match[1].rm_eo);
    }
    ::regfree(&pattern);
    return found;
}

}  // namespace

TestSuite(semantics_covered, .timeout = 20);

Test(semantics_covered, every_claim_has_a_test_and_every_test_a_claim) {
    const auto claims = all_matches(text_of("SEMANTICS.md"), R"(\*\*([A-Z][0-9]+)\*\*)");
    cr_assert_gt(claims.size(), 40, "run the tests from the root of the repository");
    std::set<std::string> tested;
    for (const auto& entry : std::filesystem::directory_iterator("tests/mount")) {
        std::string tests = text_of(entry.path());
        for (const auto& title :
             all_matches(tests, "\nTest\\(semantics_[a-z_]+, (([A-Z][0-9]+_)+)")) {
            for (const auto& claim : all_matches(title, R"(([A-Z][0-9]+)_)")) tested.insert(claim);
        }
    }
    for (const auto& claim : claims)
        cr_expect(tested.contains(claim), "%s has no test", claim.c_str());
    for (const auto& claim : tested)
        cr_expect(claims.contains(claim), "%s is no claim", claim.c_str());
}
