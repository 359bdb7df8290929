// LMCache's file back ends: flat names; `fs` writes a temporary name that is the same for all
// writers of a key; `fs://` puts 28 bytes before the payload; `fs_native` asks statvfs what
// O_DIRECT wants; `local_disk` writes in place.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kChunk = 32 << 20;  // Llama-3.1-8B, 256 tokens

std::string key(unsigned hash) {
    return mounted->path("meta-llama-SEP-Llama-3.1-8B@0x00000000@0@" + std::to_string(hash));
}

bool write_loop(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(fd, bytes.data(), bytes.size());
        KVFS_HOLD(put > 0);
        bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return true;
}

void mount_roomy() { mount_up_with({.dram = "256MiB", .ssd_size = "1GiB"}); }

}  // namespace

TestSuite(client_lmcache_fs, .init = mount_roomy, .fini = mount_down, .timeout = 120);

Test(client_lmcache_fs, writers_of_one_temporary_name_do_not_spoil_it) {
    // Who is second finds its temporary name gone, or in use: the file must be whole all the same.
    in_two_processes([](int) {
        for (unsigned hash = 0; hash < 20; ++hash) {
            const std::string to = key(hash) + ".data";
            const std::string bytes = pattern(1 << 20, hash);
            const int fd =
                ::open((to + ".tmp").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
            KVFS_HOLD(fd >= 0);
            KVFS_HOLD(write_loop(fd, bytes));
            KVFS_HOLD(::close(fd) == 0);
            KVFS_HOLD(::rename((to + ".tmp").c_str(), to.c_str()) == 0 || errno == ENOENT);
        }
        return true;
    });
    for (unsigned hash = 0; hash < 20; ++hash)
        cr_expect(read_file(key(hash) + ".data") == pattern(1 << 20, hash), "%u", hash);
}

Test(client_lmcache_fs, renames_out_of_a_directory_for_temporary_names) {
    std::filesystem::create_directory(mounted->path("tmp"));
    const std::string tmp = mounted->path("tmp/1.data");
    write_file(tmp, pattern(kChunk, 1));
    cr_assert_eq(std::rename(tmp.c_str(), (key(1) + ".data").c_str()), 0);
    cr_expect(read_file(key(1) + ".data") == pattern(kChunk, 1));
}

Test(client_lmcache_fs, a_chunk_that_is_evicted_while_it_is_read_stays_whole) {
    write_file(key(1), pattern(kChunk, 1));
    const int fd = ::open(key(1).c_str(), O_RDONLY);
    cr_assert_eq(::unlink(key(1).c_str()), 0);
    std::string bytes(kChunk, '\0');
    std::size_t done = 0;
    while (done < kChunk) {
        const ssize_t got = ::read(fd, bytes.data() + done, kChunk - done);
        cr_assert_gt(got, 0);
        done += static_cast<std::size_t>(got);
    }
    ::close(fd);
    cr_expect(bytes == pattern(kChunk, 1));
}

Test(client_lmcache_fs, a_header_of_28_bytes_leaves_the_payload_unaligned) {
    const std::string header(28, 'h');
    const std::string payload = pattern(kChunk, 2);
    const int out = ::open((key(2) + ".tmp").c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    cr_assert(write_loop(out, header) && write_loop(out, payload));
    ::close(out);
    cr_assert_eq(std::rename((key(2) + ".tmp").c_str(), key(2).c_str()), 0);
    cr_expect(read_file(key(2)) == header + payload);
}

Test(client_lmcache_fs, statvfs_tells_what_direct_io_wants) {
    struct statvfs st {};
    cr_assert_eq(::statvfs(mounted->path().c_str(), &st), 0);
    cr_assert_eq(st.f_bsize, 4096UL);
    PageBuffer bytes(pattern(kChunk, 3));
    const int out = ::open(key(3).c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_DIRECT, 0644);
    cr_assert(write_loop(out, bytes.bytes()));
    ::close(out);
    cr_expect(read_file(key(3)) == bytes.bytes());
}

Test(client_lmcache_fs, the_index_is_read_from_the_directory) {
    for (unsigned hash = 0; hash < 50; ++hash) write_file(key(hash) + ".data", "x");
    const auto names = list_names(mounted->path());
    cr_expect_eq(std::count_if(names.begin(), names.end(),
                               [](const std::string& name) { return name.ends_with(".data"); }),
                 50);
}
