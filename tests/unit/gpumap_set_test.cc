// gm_set: what a mapper client tells the daemon to do with files.
#include <criterion/criterion.h>

#include "tests/unit/gpumap_fixture.h"

using namespace kvfs;
using namespace kvfs::tests;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

}  // namespace

TestSuite(gpumap_set, .timeout = 60);

Test(gpumap_set, a_client_pins_and_ages_and_moves_files) {
    Daemon daemon;
    const auto bytes = Daemon::bytes(1, 2 * kMiB);
    daemon.put_below("a", bytes);
    Client client(daemon.socket());
    const auto found = must(daemon.files().resolve("v/a", {}));
    const auto now = [&](const char* name) {
        return must(daemon.files().xattr(found.inode.ino, std::string("user.kvfs.") + name));
    };

    cr_expect_eq(gm_set(client, "v/a", "pin", "1"), GM_OK, "%s", gm_message());
    cr_expect_eq(gm_set(client, "/v/a", "ttl", "600"), GM_OK);
    cr_expect_eq(gm_set(client, "v", "priority", "high"), GM_OK, "of a directory");
    cr_expect(now("pin") == "1" && now("ttl") == "600");
    cr_expect_eq(gm_set(client, "v/a", "prefetch", "dram"), GM_OK);
    cr_expect(now("resident") == std::to_string(bytes.size()));
    cr_expect_eq(gm_set(client, "v/a", "evict", "all"), GM_EAGAIN, "it is pinned");
    cr_expect_eq(gm_set(client, "v/a", "pin", "0"), GM_OK);
    gm_status dropped = GM_EAGAIN;
    for (int i = 0; i < 1000 && dropped == GM_EAGAIN; ++i)  // its fill may just be ending
        dropped = gm_set(client, "v/a", "evict", "all");
    cr_expect_eq(dropped, GM_OK);
    cr_expect_eq(gm_set(client, "v/a", "pin", "1"), GM_ENOENT);
}

Test(gpumap_set, what_cannot_be_set_changes_nothing_and_is_told) {
    Daemon daemon;
    daemon.put("a", Daemon::bytes(1, 100));
    Client client(daemon.socket());
    cr_expect_eq(gm_set(client, "v/a", "ttl", "soon"), GM_EINVAL);
    cr_expect_eq(std::string(gm_message()).find("v/a: ttl = soon"), 0, "%s", gm_message());
    cr_expect_eq(gm_set(client, "v/a", "ttl", ""), GM_EINVAL);
    cr_expect_eq(gm_set(client, "v/a", "tier", "dram"), GM_EACCES);
    cr_expect_eq(gm_set(client, "v/a", "colour", "red"), GM_ENOTSUP);
    cr_expect_eq(gm_set(client, "v/../a", "pin", "1"), GM_EINVAL);
    cr_expect_eq(gm_set(client, "v/a", nullptr, "1"), GM_EINVAL);
    cr_expect_eq(gm_set(client, std::string(5000, 'x').c_str(), "pin", "1"), GM_EINVAL);
    const auto found = must(daemon.files().resolve("v/a", {}));
    cr_expect_eq(found.inode.ttl_s, 0);
}
