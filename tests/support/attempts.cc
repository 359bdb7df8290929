#include "tests/support/attempts.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

/// The directory of one attempt, below `parent`: the same each time.
std::string furnish(const std::string& parent) {
    const std::string directory = parent + "/work";
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory + "/empty");
    std::filesystem::create_directories(directory + "/full");
    write_file(directory + "/file", "content");
    write_file(directory + "/full/entry", "x");
    for (const auto& [target, link] :
         {std::pair{"file", "/link"}, {"loop", "/loop"}, {"nowhere", "/dangling"}})
        cr_assert_eq(::symlink(target, (directory + link).c_str()), 0);
    return directory + "/";
}

std::string told(Outcome outcome) {
    return outcome < 0 ? std::strerror(static_cast<int>(-outcome)) : std::to_string(outcome);
}

std::string semantics() {
    std::ifstream file("SEMANTICS.md");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace

void expect_alike(const std::vector<Attempt>& attempts) {
    const std::string text = semantics();
    for (const Attempt& one : attempts) {
        const Outcome disk = one.run(furnish(mounted->scrap()));
        const Outcome mount = one.run(furnish(mounted->path()));
        const Outcome expected = one.on_mount.value_or(disk);
        cr_expect(mount == expected, "%s: %s; to be: %s; on the disk: %s", one.what,
                  told(mount).c_str(), told(expected).c_str(), told(disk).c_str());
        if (!one.on_mount) continue;
        cr_expect(disk != *one.on_mount, "%s: the disk answers so, too", one.what);
        cr_expect(text.find("**" + std::string(one.claim) + "**") != text.npos,
                  "%s: SEMANTICS.md has no %s", one.what, one.claim);
    }
}

Outcome outcome(long result) { return result < 0 ? -errno : result; }

Outcome opened(int fd) {
    if (fd < 0) return -errno;
    ::close(fd);
    return 0;
}

}  // namespace kvfs::tests
