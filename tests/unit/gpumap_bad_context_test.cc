// Contexts that cannot be opened, objects that are not there, and more jobs than there may be.
#include <criterion/criterion.h>

#include <climits>
#include <cstdint>
#include <cstdio>

#include "tests/unit/gpumap_fixture.h"
#include "tests/unit/gpumap_on_devices.h"

using namespace kvfs;
using namespace kvfs::tests;

// 65536 jobs take AddressSanitizer a minute.
TestSuite(gpumap_bad_context, .timeout = 240);
TestSuite(gpumap_bad_context_cuda, .timeout = 240);

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

}  // namespace

Test(gpumap_bad_context, every_call_refuses_null) {
    gm_range range{};
    gm_stat stat{};
    gm_info info{};
    gm_grid grid{};
    gm_file* file = nullptr;
    gm_job* job = nullptr;
    gm_stream stream = nullptr;
    gm_devptr memory = 0;
    std::uint32_t n = 0;
    std::size_t length = 0;
    const char* path = "v/a";

    cr_expect_eq(gm_open(nullptr, nullptr), GM_EINVAL);
    cr_expect_eq(gm_query(nullptr, &info), GM_EINVAL);
    cr_expect_eq(gm_lookup(nullptr, &path, 1, &stat), GM_EINVAL);
    cr_expect_eq(gm_set(nullptr, path, "pin", "1"), GM_EINVAL);
    cr_expect_eq(gm_file_open(nullptr, path, 0, &file, nullptr), GM_EINVAL);
    cr_expect_eq(gm_file_open_many(nullptr, &path, 1, &file, nullptr), GM_EINVAL);
    cr_expect_eq(gm_prefetch(nullptr, &range, 1, nullptr, &job), GM_EINVAL);
    cr_expect_eq(gm_prefetch_grid(nullptr, &grid, nullptr, &job), GM_EINVAL);
    cr_expect_eq(gm_prefetch_many(nullptr, &file, &n, 1, &range, nullptr, &job), GM_EINVAL);
    cr_expect_eq(gm_save(nullptr, &range, 1, nullptr, &job), GM_EINVAL);
    cr_expect_eq(gm_commit(nullptr, 0, &job), GM_EINVAL);
    cr_expect_eq(gm_job_wait_stream(nullptr, 0, &stream, 0), GM_EINVAL);
    cr_expect_eq(gm_job_poll(nullptr, 0), GM_EINVAL);
    cr_expect_eq(gm_job_wait(nullptr, 0, -1), GM_EINVAL);
    cr_expect_eq(gm_job_errors(nullptr, nullptr, nullptr, 0, &n), GM_EINVAL);
    cr_expect_eq(gm_job_reprioritize(nullptr, 1), GM_EINVAL);
    cr_expect_eq(gm_job_cancel(nullptr), GM_EINVAL);
    cr_expect_eq(gm_cq_fd(nullptr), GM_EINVAL);
    cr_expect_eq(gm_cq_reap(nullptr, nullptr, 0), GM_EINVAL);
    cr_expect_eq(gm_stats_json(nullptr, nullptr, &length), GM_EINVAL);
    cr_expect_eq(gm_device_alloc(nullptr, 1, &memory), GM_EINVAL);
    cr_expect_eq(gm_device_free(nullptr, 0), GM_EINVAL);
    cr_expect_eq(gm_device_copy_in(nullptr, 1, &n, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_device_copy_out(nullptr, &n, 1, 1, nullptr), GM_EINVAL);
    cr_expect_eq(gm_stream_create(nullptr, &stream), GM_EINVAL);
    cr_expect_eq(gm_stream_sync(nullptr, stream), GM_EINVAL);
    cr_expect_eq(gm_stream_destroy(nullptr, stream), GM_EINVAL);
    gm_close(nullptr);
    gm_file_close(nullptr);
    gm_job_free(nullptr);
}

DeviceTest(gpumap_bad_context, a_configuration_that_is_wrong_is_refused) {
    Daemon daemon;
    const std::string socket = daemon.socket();
    const auto opened = [&](auto change) {
        gm_config config{};
        config.size = sizeof config;
        config.backend = backend;
        config.socket_path = socket.c_str();
        config.staging_bytes = 8 * kMiB;
        change(config);
        auto* ctx = reinterpret_cast<gm_ctx*>(8);
        const gm_status status = gm_open(&config, &ctx);
        if (status == GM_OK)
            gm_close(ctx);
        else
            cr_expect_eq(ctx, nullptr);
        return status;
    };
    const std::string too_long(5000, 'x');
    const std::string no_daemon = daemon.path("none");
    const std::string directory = daemon.path("");
    const std::string plain_file = daemon.path("plain");
    ::fclose(::fopen(plain_file.c_str(), "w"));

    cr_expect_eq(opened([](gm_config&) {}), GM_OK, "%s", gm_message());
    for (const std::uint32_t size : {0U, 4U, 7U, 20U, 44U})  // 20: half a pointer to a path
        cr_expect_eq(opened([&](gm_config& config) { config.size = size; }), GM_EINVAL, "%u", size);
    cr_expect_eq(opened([](gm_config& config) { config.backend = 3; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.flags = 1; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.reserved = 1; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.device = 99; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.device = INT32_MIN; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.staging_bytes = kMiB; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.staging_bytes = UINT64_MAX; }), GM_ENOMEM);
    cr_expect_eq(opened([](gm_config& config) { config.inflight_mib = UINT32_MAX; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.io_depth = 1025; }), GM_EINVAL);
    cr_expect_eq(opened([](gm_config& config) { config.timeout_ms = UINT32_MAX; }), GM_OK);
    const auto path = [&](const std::string& text) {
        return opened([&](gm_config& config) { config.socket_path = text.c_str(); });
    };
    cr_expect_eq(path(""), GM_EINVAL);
    cr_expect_eq(path(too_long), GM_EINVAL);
    cr_expect_eq(path(directory), GM_EINVAL);
    cr_expect_eq(path(no_daemon), GM_ENOTCONN);
    cr_expect_eq(path(plain_file), GM_ENOTCONN);
}

DeviceTest(gpumap_bad_context, jobs_beyond_the_most_are_refused_until_some_have_ended) {
    Daemon daemon({.below = Daemon::Below::faulty});
    daemon.put_below("a", Daemon::bytes(1, 100));
    Client client(daemon.socket());
    gm_file* file = client.open("v/a");
    gm_file* draft = client.create("v/b", 100);
    const gm_range range{0, 100, client.allocate(100), 0, 0};
    daemon.faulty().hang();
    std::vector<gm_job*> jobs(65536);
    for (gm_job*& job : jobs) cr_assert_eq(gm_prefetch(file, &range, 1, nullptr, &job), GM_OK);
    gm_job* job = nullptr;

    cr_expect_eq(gm_prefetch(file, &range, 1, nullptr, &job), GM_EAGAIN);
    cr_expect_eq(gm_save(draft, &range, 1, nullptr, &job), GM_EAGAIN);
    cr_expect_eq(gm_commit(draft, 0, &job), GM_EAGAIN);
    cr_expect_eq(job, nullptr);

    cr_expect_eq(gm_job_cancel(jobs.front()), GM_OK);
    cr_expect_eq(gm_job_wait(jobs.front(), GM_ALL_GROUPS, -1), GM_ECANCELLED);
    cr_expect_eq(gm_save(draft, &range, 1, nullptr, nullptr), GM_OK, "%s", gm_message());
    cr_expect_eq(gm_commit(draft, 0, nullptr), GM_OK, "%s", gm_message());
    cr_expect_eq(daemon.read("b").size(), 100);
    daemon.faulty().release();
}

Test(gpumap_bad_context, every_number_has_words) {
    for (gm_status status = GM_ENOTCONN; status <= GM_PENDING; ++status)
        cr_expect_neq(std::string(gm_strerror(status)), "unknown status", "%d", status);
    for (const gm_status status : {INT_MIN, INT_MIN + 1, GM_ENOTCONN - 1, GM_PENDING + 1, INT_MAX})
        cr_expect_eq(std::string(gm_strerror(status)), "unknown status");
}
