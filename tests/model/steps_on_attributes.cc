#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>

#include "tests/model/model.h"
#include "tests/support/mounted.h"

namespace kvfs::tests {

std::string Model::any_xattr() {
    return any_of(std::array<const char*, 3>{"user.a", "user.b", "user.crc"});
}

void Model::step_on_attributes() {
    const std::string name = any_name();
    const std::string xattr = any_xattr();
    const std::size_t slot = any(kSlotsMax);
    const bool by_path = any(2) == 0;
    const std::string what = by_path ? name : std::to_string(slot);
    const std::uint64_t choice = any(20);
    if (choice < 4) {
        both("stat " + what, [&](Side& s) {
            struct stat st {};
            const int result =
                by_path ? ::lstat(s.at(name).c_str(), &st) : ::fstat(s.fds[slot], &st);
            return stat_outcome(result, st);
        });
    } else if (choice < 9) {
        set_xattr();
    } else if (choice < 12) {
        get_xattr();
    } else if (choice < 14) {
        both("listxattr " + what, [&](Side& s) {
            std::string names(1000, '\0');
            const long n = by_path ? ::listxattr(s.at(name).c_str(), names.data(), names.size())
                                   : ::flistxattr(s.fds[slot], names.data(), names.size());
            if (n < 0) return outcome_of(n);
            names.resize(static_cast<std::size_t>(n));
            return outcome_of(0, sorted_xattrs(names));
        });
    } else if (choice < 16) {
        both("removexattr " + what + " " + xattr, [&](Side& s) {
            return outcome_of(by_path ? ::removexattr(s.at(name).c_str(), xattr.c_str())
                                      : ::fremovexattr(s.fds[slot], xattr.c_str()));
        });
    } else if (choice < 18) {
        const mode_t mode = 0600 | static_cast<mode_t>(any(0200));
        both("chmod " + what, [&](Side& s) {
            return outcome_of(by_path ? ::chmod(s.at(name).c_str(), mode)
                                      : ::fchmod(s.fds[slot], mode));
        });
    } else {
        set_times();
    }
}

void Model::set_xattr() {
    const std::string name = any_name();
    const std::string xattr = any_xattr();
    const std::size_t slot = any(kSlotsMax);
    const bool by_path = any(2) == 0;
    const std::string value = pattern(any(300), random_());
    const int flags = any_of(std::array<int, 4>{0, 0, XATTR_CREATE, XATTR_REPLACE});
    both("setxattr " + (by_path ? name : std::to_string(slot)) + " " + xattr + " " +
             std::to_string(flags),
         [&](Side& s) {
             return outcome_of(by_path ? ::setxattr(s.at(name).c_str(), xattr.c_str(), value.data(),
                                                    value.size(), flags)
                                       : ::fsetxattr(s.fds[slot], xattr.c_str(), value.data(),
                                                     value.size(), flags));
         });
}

void Model::get_xattr() {
    const std::string name = any_name();
    const std::string xattr = any_xattr();
    const std::size_t slot = any(kSlotsMax);
    const bool by_path = any(2) == 0;
    // 0 asks for the size; a short buffer is refused.
    const std::size_t room = any_of(std::array<std::size_t, 4>{0, 20, 400, 400});
    both("getxattr " + (by_path ? name : std::to_string(slot)) + " " + xattr + " into " +
             std::to_string(room),
         [&](Side& s) {
             std::string value(room, '\0');
             const long n = by_path
                                ? ::getxattr(s.at(name).c_str(), xattr.c_str(), value.data(), room)
                                : ::fgetxattr(s.fds[slot], xattr.c_str(), value.data(), room);
             return outcome_of(n, value);
         });
}

void Model::set_times() {
    const std::string name = any_name();
    const std::size_t slot = any(kSlotsMax);
    const bool by_path = any(2) == 0;
    const auto sec = static_cast<time_t>(any(2'000'000'000));
    both("utimens " + (by_path ? name : std::to_string(slot)), [&](Side& s) {
        const timespec times[2] = {{sec + 1, 5}, {sec, 123'456'789}};
        struct stat st {};
        const bool set = by_path ? ::utimensat(AT_FDCWD, s.at(name).c_str(), times, 0) == 0
                                 : ::futimens(s.fds[slot], times) == 0;
        if (!set) return outcome_of(-1);
        const int result = by_path ? ::stat(s.at(name).c_str(), &st) : ::fstat(s.fds[slot], &st);
        return outcome_of(result, std::to_string(st.st_mtim.tv_sec) + "." +
                                      std::to_string(st.st_mtim.tv_nsec) + " " +
                                      std::to_string(st.st_atim.tv_sec));
    });
}

}  // namespace kvfs::tests
