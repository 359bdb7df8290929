// What programs see of a store that stops answering: T4 of SEMANTICS.md, on one CPU, where a
// request that waits is most in the way of others.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/faulty_store.h"
#include "tests/support/mounted.h"
#include "tests/support/mounted_parts.h"

using namespace kvfs;
using namespace kvfs::tests;
using std::chrono::seconds;

namespace {

constexpr std::size_t kMiB = 1 << 20;

FaultyStore* store = nullptr;
MountedParts* parts = nullptr;

void mount_with(std::vector<std::string> mount_options) {
    auto make = [](const std::string&) -> std::unique_ptr<ObjectStore> {
        auto made = std::make_unique<FaultyStore>();
        store = made.get();
        return made;
    };
    parts = new MountedParts(make,
                             {.mount_options = std::move(mount_options), .io_timeout = seconds(2)});
}
void mount_over_rings() { mount_with({}); }
void mount_without_rings() { mount_with({"no_io_uring"}); }
void unmount() {
    store->release();
    delete parts;
}

/// Readers of a file that the store does not give, all on this CPU.
class StuckReaders {
  public:
    StuckReaders(const std::string& path, unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            threads_.emplace_back([this, path] {
                const int fd = ::open(path.c_str(), O_RDONLY);
                char byte = 0;
                const ssize_t got = ::read(fd, &byte, 1);
                if (got < 0 && (errno == ETIMEDOUT || errno == EIO)) ++timed_out;
                ::close(fd);
                ++ended;
            });
    }
    void join() {
        for (std::thread& thread : threads_) thread.join();
    }
    std::atomic<unsigned> timed_out = 0;
    std::atomic<unsigned> ended = 0;

  private:
    std::vector<std::thread> threads_;
};

void stay_on_this_cpu() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    cr_assert_eq(::sched_setaffinity(0, sizeof one, &one), 0);  // threads made later inherit it
}

void a_hanging_store_holds_up_only_who_needs_it() {
    stay_on_this_cpu();
    const std::string cold = parts->make_cold_file();
    write_file(parts->path("warm"), "warm bytes");
    store->hang();
    StuckReaders readers(cold, 8);
    cr_assert(eventually([] { return store->pending() > 0; }));

    cr_expect_eq(read_file(parts->path("warm")), "warm bytes");
    write_file(parts->path("new"), "new bytes");
    struct stat st {};
    cr_expect_eq(::stat(parts->path("new").c_str(), &st), 0);
    cr_expect_eq(::rename(parts->path("new").c_str(), parts->path("newer").c_str()), 0);
    cr_expect_eq(readers.ended.load(), 0U, "none of this may wait for the store");

    readers.join();
    cr_expect_eq(readers.timed_out.load(), 8U, "a wait ends, with an error");
    store->release();
    cr_expect(eventually([&] { return read_file(cold) == pattern(2 * kMiB, 1); }));
}

}  // namespace

TestSuite(hanging_store, .fini = unmount, .timeout = 60);

Test(hanging_store, T4_holds_up_only_who_needs_it, .init = mount_over_rings) {
    a_hanging_store_holds_up_only_who_needs_it();
}

Test(hanging_store, T4_holds_up_only_who_needs_it_without_io_uring, .init = mount_without_rings) {
    a_hanging_store_holds_up_only_who_needs_it();
}
