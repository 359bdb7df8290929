// The cuda backend over a driver that lacks, refuses or breaks something.
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/unit/gpumap_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;

TestSuite(gpumap_cuda, .init = use_fake_cuda, .timeout = 60);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

void knobs(const char* text) { ::setenv("FAKE_CUDA", text, 1); }

gm_status open_with(const Daemon& daemon, std::uint32_t its_backend, gm_ctx** ctx,
                    std::int32_t device = 0) {
    const std::string socket = daemon.socket();
    gm_config config{};
    config.size = sizeof config;
    config.backend = its_backend;
    config.device = device;
    config.socket_path = socket.c_str();
    return gm_open(&config, ctx);
}

gm_info info_of(gm_ctx* ctx) {
    gm_info info{};
    info.size = sizeof info;
    gm_query(ctx, &info);
    return info;
}

bool contains(const char* text, const char* part) { return std::strstr(text, part) != nullptr; }

/// Asked for, the backend is refused; not asked for, the host's is taken; both say why.
void expect_refused(const char* why) {
    Daemon daemon;
    gm_ctx* ctx = nullptr;
    cr_expect_eq(open_with(daemon, GM_BACKEND_CUDA, &ctx), GM_ENOTSUP);
    cr_expect_null(ctx);
    cr_expect(contains(gm_message(), why), "%s", gm_message());
    cr_assert_eq(open_with(daemon, GM_BACKEND_AUTO, &ctx), GM_OK, "%s", gm_message());
    const gm_info info = info_of(ctx);
    cr_expect_eq(info.backend, GM_BACKEND_HOST);
    cr_expect(contains(info.backend_reason, why), "%s", info.backend_reason);
    gm_close(ctx);
}

gm_status load_all(Client& client, const char* path, gm_devptr memory, std::uint64_t bytes,
                   gm_job** job = nullptr) {
    gm_file* file = client.open(path);
    const gm_range range{0, bytes, memory, 0, 0};
    const gm_status status = gm_prefetch(file, &range, 1, nullptr, job);
    gm_file_close(file);
    return status;
}

/// Many small ranges of the file, one after the other in it and apart in the device.
gm_status load_scattered(Client& client, const char* path, gm_devptr memory, std::uint64_t bytes) {
    std::vector<gm_range> ranges;
    for (std::uint64_t at = 0; at < bytes; at += 4096)
        ranges.push_back({at, 4096, memory + 2 * at, 0, 0});
    gm_file* file = client.open(path);
    const gm_status status = gm_prefetch(
        file, ranges.data(), static_cast<std::uint32_t>(ranges.size()), nullptr, nullptr);
    gm_file_close(file);
    return status;
}

void expect_scattered(Client& client, gm_devptr memory, const std::vector<std::byte>& bytes) {
    const auto got = client.fetch(memory, 2 * bytes.size());
    for (std::uint64_t at = 0; at < bytes.size(); at += 4096)
        cr_assert_eq(std::memcmp(got.data() + 2 * at, bytes.data() + at, 4096), 0);
}

}  // namespace

Test(gpumap_cuda, a_device_is_taken_when_there_is_one) {
    Daemon daemon;
    gm_ctx* ctx = nullptr;
    cr_assert_eq(open_with(daemon, GM_BACKEND_AUTO, &ctx), GM_OK, "%s", gm_message());

    const gm_info info = info_of(ctx);

    cr_expect_eq(info.backend, GM_BACKEND_CUDA);
    cr_expect(contains(info.backend_reason, "cuda: fake device, driver 13.0"), "%s",
              info.backend_reason);
    gm_close(ctx);
    cr_expect_eq(FakeCuda::registered_bytes(), 0);
    cr_expect_eq(FakeCuda::calls("cuDevicePrimaryCtxRetain"),
                 FakeCuda::calls("cuDevicePrimaryCtxRelease"));
}

Test(gpumap_cuda, without_a_driver_the_host_is_the_device) {
    ::setenv("KVFS_LIBCUDA", "/nonexistent/libcuda.so.1", 1);
    expect_refused("/nonexistent/libcuda.so.1");
}

Test(gpumap_cuda, a_driver_older_than_12_is_refused) {
    ::setenv("KVFS_LIBCUDA", "libm.so.6", 1);  // it, too, has no cuGetProcAddress_v2
    expect_refused("older than CUDA 12.0");
}

Test(gpumap_cuda, a_driver_without_a_function_is_refused) {
    knobs("missing=cuStreamWaitEvent");
    expect_refused("has no cuStreamWaitEvent");
}

Test(gpumap_cuda, a_driver_that_does_not_begin_is_refused) {
    knobs("init=100");
    expect_refused("CUDA_ERROR_NO_DEVICE");
}

Test(gpumap_cuda, a_machine_without_a_device_is_refused) {
    knobs("devices=0");
    expect_refused("no CUDA device");
}

Test(gpumap_cuda, an_ordinal_that_is_not_there_is_invalid) {
    Daemon daemon;
    gm_ctx* ctx = nullptr;
    cr_expect_eq(open_with(daemon, GM_BACKEND_CUDA, &ctx, 1), GM_EINVAL);
    cr_expect_eq(open_with(daemon, GM_BACKEND_AUTO, &ctx, 1), GM_EINVAL);
    cr_expect_eq(open_with(daemon, GM_BACKEND_CUDA, &ctx, -1), GM_EINVAL);
}

Test(gpumap_cuda, both_interfaces_of_batches_work_and_none_too) {
    struct {
        const char* knobs;
        const char* said;
        bool batches;
    } const cases[] = {{"poison=1,version=13000", "batches as of 13.0", true},
                       {"poison=1,version=12080", "batches as of 12.8", true},
                       {"poison=1,version=12040", "no batches", false},
                       {"poison=1,batch=0", "no batches", false}};
    for (const auto& one : cases) {
        const pid_t child = ::fork();  // a driver is loaded once a process
        if (child == 0) {
            knobs(one.knobs);
            ::setenv("KVFS_CUDA", "small=1,few=2", 1);
            bool good = true;
            {
                Daemon daemon;
                const auto bytes = Daemon::bytes(1, kMiB);
                daemon.put("a", bytes);
                backend = GM_BACKEND_AUTO;
                Client client(daemon.socket());
                const gm_devptr memory = client.allocate(2 * kMiB);
                good = load_scattered(client, "v/a", memory, kMiB) == GM_OK;
                const auto got = client.fetch(memory, 2 * kMiB);
                for (std::uint64_t at = 0; at < kMiB; at += 4096)
                    good = good && std::memcmp(got.data() + 2 * at, bytes.data() + at, 4096) == 0;
                good = good && contains(info_of(client).backend_reason, one.said);
                good = good && (FakeCuda::calls("cuMemcpyBatchAsync") > 0) == one.batches;
            }
            ::_exit(good && FakeCuda::complaint().empty() ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        cr_expect_eq(status, 0, "%s", one.knobs);
    }
}

Test(gpumap_cuda, a_driver_that_takes_no_kernel_copies_without) {
    knobs("poison=1,module=0");
    Daemon daemon;
    const auto bytes = Daemon::bytes(2, kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(2 * kMiB);

    cr_expect_eq(load_scattered(client, "v/a", memory, kMiB), GM_OK);

    expect_scattered(client, memory, bytes);
    cr_expect_eq(FakeCuda::calls("cuLaunchKernel"), 0);
    cr_expect_eq(FakeCuda::complaint(), "");
}

Test(gpumap_cuda, memory_that_cannot_be_registered_is_copied_all_the_same) {
    for (const char* why : {"poison=1,read_only=0", "poison=1,register_max=9000000",
                            "poison=1,register_total=9000000"}) {
        const pid_t child = ::fork();
        if (child == 0) {
            knobs(why);
            Daemon daemon({.dram_bytes = 512 * kMiB});  // in slabs above the limit
            daemon.make_directory("readable", 0755, 4321);
            const auto bytes = Daemon::bytes(3, 4 * kMiB);
            daemon.put("a", bytes);
            bool good = true;
            {
                Client client(daemon.socket());
                const gm_devptr memory = client.allocate(8 * kMiB);
                good = good && load_scattered(client, "v/a", memory, 4 * kMiB) == GM_OK;
                const auto got = client.fetch(memory, 8 * kMiB);
                for (std::uint64_t at = 0; at < bytes.size(); at += 4096)
                    good = good && std::memcmp(got.data() + 2 * at, bytes.data() + at, 4096) == 0;
                gm_file* draft = client.create("v/b", kMiB);
                const gm_range range{0, kMiB, memory, 0, 0};
                good = good && gm_save(draft, &range, 1, nullptr, nullptr) == GM_OK;
                good = good && gm_commit(draft, 0, nullptr) == GM_OK;
                good = good &&
                       daemon.read("b") == std::vector<std::byte>(got.begin(), got.begin() + kMiB);
                if (!contains(why, "read_only"))
                    good = good && contains(info_of(client).backend_reason, "not registered");
            }
            ::_exit(good && FakeCuda::complaint().empty() ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        cr_expect_eq(status, 0, "%s", why);
    }
}

Test(gpumap_cuda, slabs_that_cannot_be_written_are_registered_read_only_or_not_at_all) {
    if (::getuid() != 0) cr_skip_test("needs root, to become another user");
    for (const char* supported : {"poison=1,read_only=1", "poison=1,read_only=0"}) {
        Daemon daemon;
        const auto bytes = Daemon::bytes(4, 2 * kMiB);
        // Another user may read, not write, what lies in this volume.
        const Ino parent = daemon.make_directory("w", 0755);
        auto created = must(daemon.files().create(parent, "a", {.mode = S_IFREG | 0644}));
        must(daemon.files().write(*created.handle, 0, bytes));
        daemon.files().release(std::move(created.handle));
        const pid_t child = ::fork();
        if (child == 0) {
            if (::setgid(4321) != 0 || ::setuid(4321) != 0) ::_exit(2);
            knobs(supported);
            bool good = true;
            {
                Client client(daemon.socket());
                const gm_devptr memory = client.allocate(4 * kMiB);
                const std::uint64_t before = FakeCuda::registered_bytes();
                good = load_scattered(client, "w/a", memory, 2 * kMiB) == GM_OK;
                const auto got = client.fetch(memory, 4 * kMiB);
                for (std::uint64_t at = 0; at < bytes.size(); at += 4096)
                    good = good && std::memcmp(got.data() + 2 * at, bytes.data() + at, 4096) == 0;
                const bool registered = FakeCuda::registered_bytes() > before;
                good = good && registered == contains(supported, "read_only=1");
                good = good && registered == (info_of(client).backend_reason[0] == '\0');
            }
            ::_exit(good && FakeCuda::complaint().empty() ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        cr_expect_eq(status, 0, "%s", supported);
    }
}

Test(gpumap_cuda, a_device_that_is_full_is_out_of_memory) {
    knobs("memory=50000000");
    Daemon daemon;
    Client client(daemon.socket());
    gm_devptr memory = 0;

    cr_expect_eq(gm_device_alloc(client, 1ULL << 40, &memory), GM_ENOMEM);
    cr_expect_eq(memory, 0);
    cr_expect_eq(gm_device_alloc(client, kMiB, &memory), GM_OK);
    cr_expect_eq(gm_device_free(client, memory + 1), GM_EINVAL);
    cr_expect_eq(gm_device_free(client, memory), GM_OK);
    cr_expect_eq(gm_device_free(client, memory), GM_EINVAL);
}

Test(gpumap_cuda, a_destination_that_is_no_device_memory_fails_and_touches_nothing) {
    Daemon daemon;
    daemon.put("a", Daemon::bytes(5, kMiB));
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(kMiB);
    std::vector<std::byte> mine(kMiB);

    cr_expect_eq(load_all(client, "v/a", reinterpret_cast<gm_devptr>(mine.data()), kMiB),
                 GM_EDEVICE);
    cr_expect_eq(load_all(client, "v/a", memory + 1, kMiB), GM_EDEVICE);
    cr_expect_eq(load_all(client, "v/a", memory, kMiB), GM_OK);
    cr_expect(mine == std::vector<std::byte>(kMiB));
}

Test(gpumap_cuda, the_null_stream_is_refused) {
    Daemon daemon;
    daemon.put("a", Daemon::bytes(6, kMiB));
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(kMiB);
    gm_job* job = nullptr;
    cr_assert_eq(load_all(client, "v/a", memory, kMiB, &job), GM_OK);

    cr_expect_eq(gm_job_wait_stream(job, 0, nullptr, 0), GM_EINVAL);
    cr_expect(contains(gm_message(), "CU_STREAM_LEGACY"), "%s", gm_message());
    cr_expect_eq(gm_stream_sync(client, nullptr), GM_EINVAL);
    auto* legacy = reinterpret_cast<gm_stream>(1);
    cr_expect_eq(gm_job_wait_stream(job, 0, legacy, 0), GM_OK);
    cr_expect_eq(gm_stream_sync(client, legacy), GM_OK);
    cr_expect_eq(gm_job_poll(job, 0), GM_OK);
    gm_job_free(job);
    cr_expect_eq(FakeCuda::complaint(), "");
}

Test(gpumap_cuda, any_call_that_fails_fails_its_job_alone) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(7, kMiB);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(2 * kMiB);
    for (const char* call :
         {"cuMemcpyHtoDAsync", "cuEventRecord", "cuStreamWaitEvent", "cuLaunchKernel"}) {
        FakeCuda::control(std::string("fail=") + call + ":1");
        const gm_status failed = load_scattered(client, "v/a", memory, kMiB);
        cr_expect(failed == GM_EDEVICE, "%s: %s", call, gm_strerror(failed));
        FakeCuda::control("fail=none:1");
        client.fill(memory, std::byte{0}, 2 * kMiB);

        cr_expect_eq(load_scattered(client, "v/a", memory, kMiB), GM_OK, "after %s", call);

        expect_scattered(client, memory, bytes);
    }
    cr_expect_eq(FakeCuda::complaint(), "");
}

Test(gpumap_cuda, a_batch_that_fails_says_which_ranges_have) {
    ::setenv("KVFS_CUDA", "small=32768,kernels=0", 1);
    Daemon daemon;
    constexpr std::uint64_t kHalf = 32 << 10;
    const auto bytes = Daemon::bytes(8, 2 * kHalf);
    daemon.put("a", bytes);
    Client client(daemon.socket());
    const gm_devptr memory = client.allocate(2 * kHalf);
    FakeCuda::control("fail=cuMemcpyHtoDAsync:2");
    const gm_range halves[] = {{0, kHalf, memory, 0, 0}, {kHalf, kHalf, memory + kHalf, 1, 0}};
    gm_job* job = nullptr;
    cr_assert_eq(gm_prefetch(client.open("v/a"), halves, 2, nullptr, &job), GM_OK);

    cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_EDEVICE);

    cr_expect_eq(gm_job_poll(job, 0), GM_OK);
    cr_expect_eq(gm_job_poll(job, 1), GM_EDEVICE);
    std::uint32_t index = 0;
    gm_status status = GM_OK;
    std::uint32_t n = 0;
    cr_assert_eq(gm_job_errors(job, &index, &status, 1, &n), GM_OK);
    cr_expect_eq(n, 1);
    cr_expect_eq(index, 1);
    cr_expect_eq(status, GM_EDEVICE);
    const auto first = client.fetch(memory, kHalf);
    cr_expect_eq(std::memcmp(first.data(), bytes.data(), first.size()), 0);
    gm_job_free(job);
}

Test(gpumap_cuda, a_device_that_breaks_ends_every_job_and_lets_go_of_every_lease) {
    knobs("poison=1,delay_us=2000");
    Daemon daemon;
    const Ino ino = daemon.put("a", Daemon::bytes(9, 8 * kMiB));
    {
        Client client(daemon.socket());
        gm_stream stream = nullptr;
        cr_assert_eq(gm_stream_create(client, &stream), GM_OK);
        const gm_devptr memory = client.allocate(16 * kMiB);
        FakeCuda::control("fail_work=2");
        gm_job* jobs[4] = {};
        for (gm_job*& job : jobs)
            cr_assert_eq(load_all(client, "v/a", memory, 8 * kMiB, &job), GM_OK);
        static_cast<void>(gm_job_wait_stream(jobs[3], 0, stream, 0));
        for (gm_job* job : jobs) {
            cr_expect_eq(gm_job_wait(job, GM_ALL_GROUPS, -1), GM_EDEVICE);
            gm_job_free(job);
        }
        static_cast<void>(gm_stream_sync(client, stream));
    }
    daemon.push_out(ino);  // would never end were it leased
    cr_expect_not(daemon.in_dram(ino));
}

Test(gpumap_cuda, a_child_of_fork_is_told_that_the_driver_is_its_parents) {
    Daemon daemon;
    Client client(daemon.socket());
    const pid_t child = ::fork();
    if (child == 0) {
        gm_ctx* ctx = nullptr;
        const bool refused = open_with(daemon, GM_BACKEND_CUDA, &ctx) < 0 && ctx == nullptr;
        const bool on_host = open_with(daemon, GM_BACKEND_AUTO, &ctx) == GM_OK &&
                             info_of(ctx).backend == GM_BACKEND_HOST;
        ::_exit(refused && on_host ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    cr_expect_eq(status, 0);
}

Test(gpumap_cuda, the_size_for_kernels_is_measured_unless_it_is_given) {
    ::unsetenv("KVFS_CUDA");
    Daemon daemon;
    backend = GM_BACKEND_AUTO;
    Client client(daemon.socket());

    const gm_info info = info_of(client);

    cr_expect(contains(info.backend_reason, "kernels below"), "%s", info.backend_reason);
    cr_expect_gt(FakeCuda::calls("cuLaunchKernel"), 0);
    cr_expect_eq(FakeCuda::complaint(), "");
}
