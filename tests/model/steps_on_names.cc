#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "tests/model/model.h"

namespace kvfs::tests {

void Model::step_on_names() {
    const std::string name = any_name();
    const std::uint64_t choice = any(20);
    if (choice < 4) {
        both("mkdir " + name,
             [&](Side& s) { return outcome_of(::mkdir(s.at(name).c_str(), 0750)); });
    } else if (choice < 5) {
        both("rmdir " + name, [&](Side& s) { return outcome_of(::rmdir(s.at(name).c_str())); });
    } else if (choice < 9) {
        const std::string victim = any(3) == 0 ? any_key() : name;
        both("unlink " + victim,
             [&](Side& s) { return outcome_of(::unlink(s.at(victim).c_str())); });
    } else if (choice < 15) {
        rename_one();
    } else if (choice < 16) {
        both("symlink " + name,
             [&](Side& s) { return outcome_of(::symlink("x", s.at(name).c_str())); });
    } else if (choice < 17) {
        both("readlink " + name, [&](Side& s) {
            std::array<char, 100> target{};
            const long n = ::readlink(s.at(name).c_str(), target.data(), target.size());
            return outcome_of(n, target.data());
        });
    } else {
        const std::string directory = any_of(std::array<const char*, 4>{"", "a", "b", "a/c"});
        both("list " + directory, [&](Side& s) { return list(s.at(directory)); });
    }
}

void Model::rename_one() {
    const std::string from = any(4) == 0 ? any_key() : any_name();
    const std::string to = any(4) == 0 ? any_key() : any_name();
    const unsigned flags = any_of(std::array<unsigned, 4>{0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE});
    both("rename " + from + " " + to + " " + std::to_string(flags), [&](Side& s) {
        return outcome_of(
            ::renameat2(AT_FDCWD, s.at(from).c_str(), AT_FDCWD, s.at(to).c_str(), flags));
    });
}

}  // namespace kvfs::tests
