// What is wrong or odd about names, asked of the mount and of an ordinary disk.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "tests/support/attempts.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

Outcome rename_as(const std::string& from, const std::string& to, unsigned flags = 0) {
    return outcome(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

Outcome make_name(const std::string& path) { return opened(::creat(path.c_str(), 0644)); }

/// A path of `file` that is `length` bytes long.
std::string long_path(const std::string& in, std::size_t length) {
    return in + std::string(length - in.size() - 4, '/') + "file";
}

}  // namespace

TestSuite(errnos, .init = mount_up, .fini = mount_down, .timeout = 60);

Test(errnos, names_and_paths_have_the_same_limits) {
    expect_alike({
        {"name of 255 bytes", [](In in) { return make_name(in + std::string(255, 'n')); }},
        {"name of 256 bytes", [](In in) { return make_name(in + std::string(256, 'n')); }},
        {"name of 255 bytes that are no UTF-8",
         [](In in) { return make_name(in + std::string(255, '\xff')); }},
        {"name of 256 bytes that are no UTF-8",
         [](In in) { return make_name(in + std::string(256, '\xff')); }},
        {"cut UTF-8", [](In in) { return make_name(in + "\xc3"); }},
        {"directory name of 256 bytes",
         [](In in) { return outcome(::mkdir((in + std::string(256, 'n')).c_str(), 0755)); }},
        {"lookup of a name of 256 bytes",
         [](In in) { return outcome(::access((in + std::string(256, 'n')).c_str(), F_OK)); }},
        {"rename to a name of 256 bytes",
         [](In in) { return rename_as(in + "file", in + std::string(256, 'n')); }},
        {"symbolic link named with 256 bytes",
         [](In in) { return outcome(::symlink("file", (in + std::string(256, 'n')).c_str())); }},
        {"path of PATH_MAX - 1 bytes",
         [](In in) { return opened(::open(long_path(in, PATH_MAX - 1).c_str(), O_RDONLY)); }},
        {"path of PATH_MAX bytes",
         [](In in) { return opened(::open(long_path(in, PATH_MAX).c_str(), O_RDONLY)); }},
        {"symbolic link to PATH_MAX - 1 bytes",
         [](In in) {
             return outcome(
                 ::symlink(std::string(PATH_MAX - 1, 't').c_str(), (in + "long").c_str()));
         }},
        {"symbolic link to PATH_MAX bytes",
         [](In in) {
             return outcome(::symlink(std::string(PATH_MAX, 't').c_str(), (in + "long").c_str()));
         }},
        {"symbolic link to nothing",
         [](In in) { return outcome(::symlink("", (in + "to nothing").c_str())); }},
    });
}

Test(errnos, opening_is_refused_for_the_same_reasons) {
    expect_alike({
        {"a directory to write",
         [](In in) { return opened(::open((in + "empty").c_str(), O_RDWR)); }},
        {"a directory to create",
         [](In in) { return opened(::open((in + "empty").c_str(), O_RDONLY | O_CREAT, 0644)); }},
        {"a directory to empty",
         [](In in) { return opened(::open((in + "empty").c_str(), O_WRONLY | O_TRUNC)); }},
        {"O_DIRECTORY on a file",
         [](In in) { return opened(::open((in + "file").c_str(), O_DIRECTORY)); }},
        {"O_DIRECTORY on a link to a file",
         [](In in) { return opened(::open((in + "link").c_str(), O_DIRECTORY)); }},
        {"O_NOFOLLOW on a link",
         [](In in) { return opened(::open((in + "link").c_str(), O_NOFOLLOW)); }},
        {"a loop", [](In in) { return opened(::open((in + "loop").c_str(), O_RDONLY)); }},
        {"a way through a loop",
         [](In in) { return opened(::open((in + "loop/file").c_str(), O_RDONLY)); }},
        {"creation of a loop",
         [](In in) { return opened(::open((in + "loop").c_str(), O_CREAT | O_WRONLY, 0644)); }},
        {"a dangling link",
         [](In in) { return opened(::open((in + "dangling").c_str(), O_RDONLY)); }},
        {"creation through a dangling link", [](In in) { return make_name(in + "dangling"); }},
        {"exclusive creation of a dangling link",
         [](In in) {
             return opened(::open((in + "dangling").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
         }},
        {"exclusive creation of what is there",
         [](In in) {
             return opened(::open((in + "file").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
         }},
        {"a file with a slash", [](In in) { return opened(::open((in + "file/").c_str(), 0)); }},
        {"creation with a slash", [](In in) { return make_name(in + "new/"); }},
        {"a file as directory", [](In in) { return opened(::open((in + "file/x").c_str(), 0)); }},
        {"creation below a file", [](In in) { return make_name(in + "file/x"); }},
        {"creation below nothing", [](In in) { return make_name(in + "nothing/x"); }},
        {"O_TMPFILE",
         [](In in) { return opened(::open((in + "empty").c_str(), O_TMPFILE | O_RDWR, 0644)); },
         -EOPNOTSUPP, "U1"},
        {"O_TMPFILE to read",
         [](In in) { return opened(::open((in + "empty").c_str(), O_TMPFILE | O_RDONLY, 0644)); }},
        {"O_TMPFILE in a file",
         [](In in) { return opened(::open((in + "file").c_str(), O_TMPFILE | O_RDWR, 0644)); }},
    });
}

Test(errnos, names_are_made_and_removed_by_the_same_rules) {
    expect_alike({
        {"mkdir over a file", [](In in) { return outcome(::mkdir((in + "file").c_str(), 0755)); }},
        {"mkdir over a directory",
         [](In in) { return outcome(::mkdir((in + "empty").c_str(), 0755)); }},
        {"mkdir over a link",
         [](In in) { return outcome(::mkdir((in + "dangling").c_str(), 0755)); }},
        {"mkdir of .", [](In in) { return outcome(::mkdir((in + ".").c_str(), 0755)); }},
        {"mkdir of ..", [](In in) { return outcome(::mkdir((in + "..").c_str(), 0755)); }},
        {"mkdir with a slash", [](In in) { return outcome(::mkdir((in + "new/").c_str(), 0755)); }},
        {"mkdir below a file",
         [](In in) { return outcome(::mkdir((in + "file/d").c_str(), 0755)); }},
        {"rmdir of a full directory",
         [](In in) { return outcome(::rmdir((in + "full").c_str())); }},
        {"rmdir of a file", [](In in) { return outcome(::rmdir((in + "file").c_str())); }},
        {"rmdir of a link", [](In in) { return outcome(::rmdir((in + "link").c_str())); }},
        {"rmdir of .", [](In in) { return outcome(::rmdir((in + "empty/.").c_str())); }},
        {"rmdir of ..", [](In in) { return outcome(::rmdir((in + "empty/..").c_str())); }},
        {"rmdir with a slash", [](In in) { return outcome(::rmdir((in + "empty/").c_str())); }},
        {"rmdir of nothing", [](In in) { return outcome(::rmdir((in + "nothing").c_str())); }},
        {"unlink of a directory", [](In in) { return outcome(::unlink((in + "empty").c_str())); }},
        {"unlink with a slash", [](In in) { return outcome(::unlink((in + "file/").c_str())); }},
        {"unlink of a directory with a slash",
         [](In in) { return outcome(::unlink((in + "empty/").c_str())); }},
        {"unlink of a loop", [](In in) { return outcome(::unlink((in + "loop").c_str())); }},
        {"unlink of nothing", [](In in) { return outcome(::unlink((in + "nothing").c_str())); }},
        {"readlink of a file",
         [](In in) {
             char target[8];
             return outcome(::readlink((in + "file").c_str(), target, sizeof target));
         }},
        {"symlink over a file",
         [](In in) { return outcome(::symlink("x", (in + "file").c_str())); }},
        {"link", [](In in) { return outcome(::link((in + "file").c_str(), (in + "new").c_str())); },
         -EPERM, "U1"},
        {"link of a directory",
         [](In in) { return outcome(::link((in + "empty").c_str(), (in + "new").c_str())); }},
        {"link over a file",
         [](In in) { return outcome(::link((in + "file").c_str(), (in + "link").c_str())); }},
        {"link of nothing",
         [](In in) { return outcome(::link((in + "nothing").c_str(), (in + "new").c_str())); }},
    });
}

Test(errnos, special_files_are_refused_as_is_said) {
    expect_alike({
        {"mkfifo", [](In in) { return outcome(::mkfifo((in + "new").c_str(), 0644)); }, -EPERM,
         "U1"},
        {"mkfifo over a file",
         [](In in) { return outcome(::mkfifo((in + "file").c_str(), 0644)); }},
        {"mknod of a socket",
         [](In in) { return outcome(::mknod((in + "new").c_str(), S_IFSOCK | 0644, 0)); }, -EPERM,
         "U1"},
        {"mknod of a file",
         [](In in) { return outcome(::mknod((in + "new").c_str(), S_IFREG | 0644, 0)); }},
        {"mknod of a directory",
         [](In in) { return outcome(::mknod((in + "new").c_str(), S_IFDIR | 0755, 0)); }},
        {"mknod of a link",
         [](In in) { return outcome(::mknod((in + "new").c_str(), S_IFLNK | 0777, 0)); }},
    });
}

Test(errnos, renaming_follows_the_same_rules) {
    expect_alike({
        {"a file onto a directory", [](In in) { return rename_as(in + "file", in + "empty"); }},
        {"a directory onto a file", [](In in) { return rename_as(in + "empty", in + "file"); }},
        {"a directory into itself",
         [](In in) { return rename_as(in + "empty", in + "empty/below"); }},
        {"a directory onto a full one", [](In in) { return rename_as(in + "empty", in + "full"); }},
        {"a full directory onto an empty one",
         [](In in) { return rename_as(in + "full", in + "empty"); }},
        {"a directory onto what is in it",
         [](In in) {
             ::mkdir((in + "full/below").c_str(), 0755);
             return rename_as(in + "full", in + "full/below");
         }},
        {"onto the directory that it is in",
         [](In in) { return rename_as(in + "full/entry", in + "full"); }},
        {"onto itself", [](In in) { return rename_as(in + "file", in + "file"); }},
        {"nothing", [](In in) { return rename_as(in + "nothing", in + "new"); }},
        {"into nothing", [](In in) { return rename_as(in + "file", in + "nothing/new"); }},
        {"into a file", [](In in) { return rename_as(in + "empty", in + "file/new"); }},
        {"a file, with a slash", [](In in) { return rename_as(in + "file/", in + "new"); }},
        {"a file, to a slash", [](In in) { return rename_as(in + "file", in + "new/"); }},
        {"a directory, with slashes", [](In in) { return rename_as(in + "empty/", in + "new/"); }},
        {".", [](In in) { return rename_as(in + "empty/.", in + "new"); }},
        {"onto ..", [](In in) { return rename_as(in + "file", in + "empty/.."); }},
        {"a loop", [](In in) { return rename_as(in + "loop", in + "new"); }},
        {"through a loop", [](In in) { return rename_as(in + "file", in + "loop/new"); }},
        {"NOREPLACE over a file",
         [](In in) { return rename_as(in + "full/entry", in + "file", RENAME_NOREPLACE); }},
        {"NOREPLACE onto itself",
         [](In in) { return rename_as(in + "file", in + "file", RENAME_NOREPLACE); }},
        {"EXCHANGE with nothing",
         [](In in) { return rename_as(in + "file", in + "new", RENAME_EXCHANGE); }},
        {"EXCHANGE with a directory",
         [](In in) { return rename_as(in + "file", in + "full", RENAME_EXCHANGE); }},
        {"EXCHANGE with what is in it",
         [](In in) { return rename_as(in + "full", in + "full/entry", RENAME_EXCHANGE); }},
        {"EXCHANGE and NOREPLACE",
         [](In in) {
             return rename_as(in + "file", in + "full", RENAME_EXCHANGE | RENAME_NOREPLACE);
         }},
        {"an unknown flag", [](In in) { return rename_as(in + "file", in + "new", 1u << 20); }},
        {"WHITEOUT", [](In in) { return rename_as(in + "file", in + "new", RENAME_WHITEOUT); },
         -EINVAL, "U1"},
    });
}
