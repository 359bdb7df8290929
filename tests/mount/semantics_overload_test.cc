// SEMANTICS.md, "Under overload": an SSD that takes nothing for a while, and DRAM full of what it
// is to take.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "tests/support/faulty_store.h"
#include "tests/support/mounted.h"
#include "tests/support/mounted_parts.h"

using namespace kvfs;
using namespace kvfs::tests;

namespace {

constexpr std::size_t kMiB = 1 << 20;

FaultyStore* store = nullptr;
MountedParts* parts = nullptr;

void set_up() {
    auto make = [](const std::string&) -> std::unique_ptr<ObjectStore> {
        auto made = std::make_unique<FaultyStore>();
        store = made.get();
        return made;
    };
    parts = new MountedParts(make, {.mount_options = {}, .io_timeout = std::chrono::seconds(3)});
}

void tear_down() {
    store->release();
    delete parts;
}

/// Writes files until one does not get all its room; returns that one's errno.
int fill_dram() {
    const std::string bytes = pattern(kMiB, 2);
    for (int i = 0; i < 40; ++i) {
        const int fd =
            ::open(parts->path("w" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644);
        cr_assert_geq(fd, 0);
        int error = 0;
        for (std::size_t done = 0; done < bytes.size() && error == 0;) {
            const ssize_t written = ::write(fd, bytes.data() + done, bytes.size() - done);
            error = written < 0 ? errno : 0;
            done += written < 0 ? 0 : static_cast<std::size_t>(written);
        }
        ::close(fd);
        if (error != 0) return error;
    }
    return 0;
}

}  // namespace

TestSuite(semantics_overload, .init = set_up, .fini = tear_down, .timeout = 60);

Test(semantics_overload, O1_who_reads_does_not_wait_for_room_in_DRAM) {
    const std::string cold = parts->make_cold_file();
    write_file(parts->path("warm"), "warm bytes");
    store->hang_puts();
    cr_expect_eq(fill_dram(), ETIMEDOUT);
    cr_expect_eq(read_file(parts->path("warm")), "warm bytes");
    cr_expect(read_file(cold) == pattern(2 * kMiB, 1), "served past DRAM");
    cr_expect_eq(xattr_of(cold, "user.kvfs.resident"), "0");
    store->release();
    cr_expect(eventually([&] {
        return read_file(cold) == pattern(2 * kMiB, 1) &&
               xattr_of(cold, "user.kvfs.resident") != "0";
    }));
}

Test(semantics_overload, O2_who_writes_waits_until_SSD_has_taken_enough) {
    store->hang_puts();
    std::atomic<int> error = -1;
    std::thread writer([&] { error = fill_dram(); });
    cr_expect(eventually([] { return parts->cache->counters().writer_waits > 0; }));
    cr_expect_eq(error.load(), -1, "it waits");
    store->release();
    writer.join();
    cr_expect_eq(error.load(), 0, "and is not refused");
}
