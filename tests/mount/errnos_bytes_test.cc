// What is wrong or odd about bytes, offsets and attributes, asked of the mount and of an ordinary
// disk.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "tests/support/attempts.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

/// No page is mapped there. Volatile: the compiler knows as much, and would complain.
void* volatile nowhere = reinterpret_cast<void*>(std::uintptr_t{8});

/// The outcome of `use` on the file that is opened for it.
template <typename Use>
Outcome with_file(const std::string& path, int flags, Use use) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd < 0) return -errno;
    const Outcome result = outcome(use(fd));
    ::close(fd);
    return result;
}

Outcome read_at(const std::string& in, std::size_t size, off_t offset) {
    return with_file(in + "file", O_RDONLY, [&](int fd) {
        std::string bytes(size, '\0');
        return ::pread(fd, bytes.data(), size, offset);
    });
}

Outcome write_at(const std::string& in, int flags, std::size_t size, off_t offset) {
    return with_file(in + "file", flags, [&](int fd) {
        const std::string bytes(size, 'b');
        return ::pwrite(fd, bytes.data(), size, offset);
    });
}

Outcome seek(const std::string& in, off_t offset, int whence) {
    return with_file(in + "file", O_RDONLY, [&](int fd) { return ::lseek(fd, offset, whence); });
}

Outcome allocate(const std::string& in, int mode, off_t offset, off_t length) {
    return with_file(in + "file", O_RDWR,
                     [&](int fd) { return ::fallocate(fd, mode, offset, length); });
}

Outcome set_xattr(const std::string& path, const std::string& name, std::size_t size,
                  int flags = 0) {
    const std::string value(size, 'v');
    return outcome(::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), flags));
}

Outcome get_xattr(const std::string& path, const std::string& name, std::size_t size) {
    std::string value(size, '\0');
    return outcome(::getxattr(path.c_str(), name.c_str(), value.data(), size));
}

}  // namespace

TestSuite(errnos_bytes, .init = mount_up, .fini = mount_down, .timeout = 60);

Test(errnos_bytes, offsets_have_the_same_limits) {
    expect_alike({
        {"pread at -1", [](In in) { return read_at(in, 1, -1); }},
        {"pread at INT64_MIN", [](In in) { return read_at(in, 1, INT64_MIN); }},
        {"pread at the end", [](In in) { return read_at(in, 1, 7); }},
        {"pread over the end", [](In in) { return read_at(in, 100, 4); }},
        {"pread far past the end", [](In in) { return read_at(in, 1, off_t{1} << 40); }},
        {"pread of nothing", [](In in) { return read_at(in, 0, 0); }},
        {"pread at INT64_MAX", [](In in) { return read_at(in, 1, INT64_MAX); }},
        {"pread whose end is beyond INT64_MAX",
         [](In in) { return read_at(in, 8, INT64_MAX - 3); }},
        {"pwrite at -1", [](In in) { return write_at(in, O_WRONLY, 1, -1); }},
        {"pwrite of nothing", [](In in) { return write_at(in, O_WRONLY, 0, 0); }},
        {"pwrite of nothing past the end", [](In in) { return write_at(in, O_WRONLY, 0, 100); }},
        {"pwrite at INT64_MAX", [](In in) { return write_at(in, O_WRONLY, 1, INT64_MAX); }},
        {"pwrite whose end is beyond INT64_MAX",
         [](In in) { return write_at(in, O_WRONLY, 8, INT64_MAX - 3); }},
        {"lseek to -1", [](In in) { return seek(in, -1, SEEK_SET); }},
        {"lseek before the start", [](In in) { return seek(in, -8, SEEK_END); }},
        {"lseek past the end", [](In in) { return seek(in, 100, SEEK_END); }},
        {"lseek beyond INT64_MAX", [](In in) { return seek(in, INT64_MAX, SEEK_END); }},
        {"lseek with an unknown whence", [](In in) { return seek(in, 0, 77); }},
        {"SEEK_DATA past the end", [](In in) { return seek(in, 8, SEEK_DATA); }},
        {"SEEK_DATA at the end", [](In in) { return seek(in, 7, SEEK_DATA); }},
        {"SEEK_HOLE past the end", [](In in) { return seek(in, 8, SEEK_HOLE); }},
        {"SEEK_HOLE in the middle", [](In in) { return seek(in, 3, SEEK_HOLE); }},
        {"SEEK_DATA at -1", [](In in) { return seek(in, -1, SEEK_DATA); }},
    });
}

Test(errnos_bytes, descriptors_allow_what_they_were_opened_for) {
    expect_alike({
        {"write by a reader", [](In in) { return write_at(in, O_RDONLY, 1, 0); }},
        {"ftruncate by a reader",
         [](In in) {
             return with_file(in + "file", O_RDONLY, [](int fd) { return ::ftruncate(fd, 0); });
         }},
        {"fallocate by a reader",
         [](In in) {
             return with_file(in + "file", O_RDONLY,
                              [](int fd) { return ::fallocate(fd, 0, 0, 1); });
         }},
        {"read by a writer",
         [](In in) {
             return with_file(in + "file", O_WRONLY, [](int fd) {
                 char byte;
                 return ::pread(fd, &byte, 1, 0);
             });
         }},
        {"read by O_PATH",
         [](In in) {
             return with_file(in + "file", O_PATH, [](int fd) {
                 char byte;
                 return ::pread(fd, &byte, 1, 0);
             });
         }},
        {"read of a directory",
         [](In in) {
             return with_file(in + "empty", O_RDONLY, [](int fd) {
                 char byte;
                 return ::pread(fd, &byte, 1, 0);
             });
         }},
        {"read to an address that is not there",
         [](In in) {
             return with_file(in + "file", O_RDONLY,
                              [](int fd) { return ::pread(fd, nowhere, 7, 0); });
         }},
        {"write from an address that is not there",
         [](In in) {
             return with_file(in + "file", O_WRONLY,
                              [](int fd) { return ::pwrite(fd, nowhere, 7, 0); });
         }},
        {"readv of no vectors",
         [](In in) {
             return with_file(in + "file", O_RDONLY,
                              [](int fd) { return ::readv(fd, nullptr, 0); });
         }},
        {"readv of a length below zero",
         [](In in) {
             return with_file(in + "file", O_RDONLY, [](int fd) {
                 char byte;
                 const iovec vector{&byte, SIZE_MAX};
                 return ::readv(fd, &vector, 1);
             });
         }},
    });
}

Test(errnos_bytes, sizes_have_the_same_limits) {
    expect_alike({
        {"truncate to -1", [](In in) { return outcome(::truncate((in + "file").c_str(), -1)); }},
        {"truncate of a directory",
         [](In in) { return outcome(::truncate((in + "empty").c_str(), 0)); }},
        {"truncate of a loop", [](In in) { return outcome(::truncate((in + "loop").c_str(), 0)); }},
        {"truncate of nothing",
         [](In in) { return outcome(::truncate((in + "nothing").c_str(), 0)); }},
        {"truncate to the largest size",
         [](In in) { return outcome(::truncate((in + "file").c_str(), INT64_MAX)); }},
        {"truncate to a TiB",
         [](In in) { return outcome(::truncate((in + "file").c_str(), off_t{1} << 40)); }},
        {"pwrite at 16 TiB", [](In in) { return write_at(in, O_WRONLY, 1, off_t{1} << 44); }},
        {"pwrite at 15 TiB", [](In in) { return write_at(in, O_WRONLY, 1, off_t{15} << 40); }},
        {"fallocate of nothing", [](In in) { return allocate(in, 0, 0, 0); }},
        {"fallocate of less than nothing", [](In in) { return allocate(in, 0, 0, -1); }},
        {"fallocate at -1", [](In in) { return allocate(in, 0, -1, 1); }},
        {"fallocate whose end is beyond INT64_MAX",
         [](In in) { return allocate(in, 0, INT64_MAX, 1); }},
        {"fallocate of a directory",
         [](In in) {
             return with_file(in + "empty", O_RDONLY,
                              [](int fd) { return ::fallocate(fd, 0, 0, 1); });
         }},
        {"fallocate that keeps the size",
         [](In in) { return allocate(in, FALLOC_FL_KEEP_SIZE, 0, 1 << 16); }},
        {"PUNCH_HOLE alone", [](In in) { return allocate(in, FALLOC_FL_PUNCH_HOLE, 0, 1); }},
        {"PUNCH_HOLE",
         [](In in) { return allocate(in, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096); },
         -EOPNOTSUPP, "R8"},
        {"ZERO_RANGE", [](In in) { return allocate(in, FALLOC_FL_ZERO_RANGE, 0, 4096); },
         -EOPNOTSUPP, "R8"},
        {"COLLAPSE_RANGE", [](In in) { return allocate(in, FALLOC_FL_COLLAPSE_RANGE, 0, 4096); },
         -EOPNOTSUPP, "R8"},
        {"INSERT_RANGE", [](In in) { return allocate(in, FALLOC_FL_INSERT_RANGE, 0, 4096); },
         -EOPNOTSUPP, "R8"},
        {"UNSHARE_RANGE", [](In in) { return allocate(in, FALLOC_FL_UNSHARE_RANGE, 0, 4096); }},
        {"an unknown mode", [](In in) { return allocate(in, 1 << 20, 0, 4096); }},
    });
}

Test(errnos_bytes, attributes_have_the_limits_that_are_promised) {
    expect_alike({
        {"name of 255 bytes",
         [](In in) { return set_xattr(in + "file", "user." + std::string(250, 'n'), 1); }},
        {"name of 256 bytes",
         [](In in) { return set_xattr(in + "file", "user." + std::string(251, 'n'), 1); }},
        {"name that is empty", [](In in) { return set_xattr(in + "file", "", 1); }},
        {"name that is its prefix alone", [](In in) { return set_xattr(in + "file", "user.", 1); }},
        {"name without a prefix", [](In in) { return set_xattr(in + "file", "name", 1); }},
        {"value of nothing", [](In in) { return set_xattr(in + "file", "user.a", 0); }},
        {"value of 64 KiB", [](In in) { return set_xattr(in + "file", "user.a", 1 << 16); }, 0,
         "X1"},
        {"value of 64 KiB and a byte",
         [](In in) { return set_xattr(in + "file", "user.a", (1 << 16) + 1); }},
        {"of a symbolic link",
         [](In in) { return outcome(::lsetxattr((in + "link").c_str(), "user.a", "v", 1, 0)); }},
        {"of a loop", [](In in) { return set_xattr(in + "loop", "user.a", 1); }},
        {"of nothing", [](In in) { return set_xattr(in + "nothing", "user.a", 1); }},
        {"name without a prefix, asked for",
         [](In in) { return get_xattr(in + "file", "name", 8); }},
        {"prefix alone, asked for", [](In in) { return get_xattr(in + "file", "user.", 8); }},
        {"name without a prefix, removed",
         [](In in) { return outcome(::removexattr((in + "file").c_str(), "name")); }},
        {"both flags",
         [](In in) { return set_xattr(in + "file", "user.a", 1, XATTR_CREATE | XATTR_REPLACE); },
         -EINVAL, "X2"},
        {"an unknown flag", [](In in) { return set_xattr(in + "file", "user.a", 1, 64); }},
        {"replaced when there is none",
         [](In in) { return set_xattr(in + "file", "user.a", 1, XATTR_REPLACE); }},
        {"created twice",
         [](In in) {
             set_xattr(in + "file", "user.a", 1);
             return set_xattr(in + "file", "user.a", 1, XATTR_CREATE);
         }},
        {"asked for when there is none", [](In in) { return get_xattr(in + "file", "user.a", 8); }},
        {"asked for with a name of 256 bytes",
         [](In in) { return get_xattr(in + "file", "user." + std::string(251, 'n'), 8); }},
        {"asked for into too little",
         [](In in) {
             set_xattr(in + "file", "user.a", 9);
             return get_xattr(in + "file", "user.a", 8);
         }},
        {"asked for its size",
         [](In in) {
             set_xattr(in + "file", "user.a", 9);
             return get_xattr(in + "file", "user.a", 0);
         }},
        {"listed into too little",
         [](In in) {
             set_xattr(in + "file", "user.a", 9);
             std::array<char, 3> names{};
             return outcome(::listxattr((in + "file").c_str(), names.data(), names.size()));
         }},
        {"removed when there is none",
         [](In in) { return outcome(::removexattr((in + "file").c_str(), "user.a")); }},
        {"of kvfs, set", [](In in) { return set_xattr(in + "file", "user.kvfs.tier", 1); }, -EPERM,
         "X3"},
        {"of kvfs, unknown, asked for",
         [](In in) { return get_xattr(in + "file", "user.kvfs.none", 8); }},
        {"of kvfs, unknown, set", [](In in) { return set_xattr(in + "file", "user.kvfs.none", 8); },
         -EOPNOTSUPP, "X3"},
    });
}
