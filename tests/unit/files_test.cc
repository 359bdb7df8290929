#include "fs/files/files.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/memory_store.h"
#include "tests/support/temp_dir.h"

using kvfs::Arena;
using kvfs::Cache;
using kvfs::Files;
using kvfs::Ino;
using kvfs::kRootIno;
using kvfs::Namespace;
using kvfs::ObjectStore;
using kvfs::tests::make_temp_dir;
using kvfs::tests::MemoryStore;

namespace {

constexpr Namespace::NewInode kFile{.mode = S_IFREG | 0644};

/// Names and bytes together, over a store in memory.
struct Together {
    std::unique_ptr<Namespace> names;
    std::unique_ptr<Cache> cache;
    std::unique_ptr<Files> files;

    Together() {
        names = *Namespace::open({.directory = make_temp_dir(), .map_bytes = 64 << 20});
        std::vector<std::unique_ptr<ObjectStore>> stores;
        stores.push_back(std::make_unique<MemoryStore>());
        cache = std::make_unique<Cache>(*Arena::create({.bytes = 16 << 20}), std::move(stores),
                                        Cache::Options{});
        files = *Files::open(*names, *cache);
    }
};

Together& fixture() {
    static Together only;  // the runner gives each test a process of its own
    return only;
}

}  // namespace

TestSuite(files, .timeout = 30);

Test(files, an_open_that_overtakes_a_close_lets_the_file_be_sealed_first) {
    auto& on = fixture();
    auto made = on.files->create(kRootIno, "f", kFile);
    cr_assert(made.ok());
    const Ino ino = made->attributes.inode.ino;
    on.files->closing(*made->handle);
    std::unique_ptr<kvfs::Handle> second;
    std::thread opener([&] { second = *on.files->open(ino, {.write = true}); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));

    on.files->release(std::move(made->handle));
    opener.join();

    cr_expect(on.files->lease(ino).ok(), "the second writer has not written");
    on.files->release(std::move(second));
}

Test(files, only_who_may_write_a_file_tells_what_to_do_with_it) {
    auto& on = fixture();
    cr_assert(on.files->make(kRootIno, "f", {.mode = S_IFREG | 0644, .uid = 1, .gid = 2}).ok());
    cr_expect(on.files->set_control("f", "ttl", "60", {.uid = 1, .gid = 7}).ok());
    cr_expect_eq(on.files->set_control("f", "pin", "1", {.uid = 3, .gid = 2}).error().code, EACCES);
    cr_expect_eq(on.files->set_control("g", "pin", "1", {.uid = 1, .gid = 2}).error().code, ENOENT);
    cr_expect(on.files->set_control("f", "pin", "1", {}).ok(), "root");
}

Test(files, a_draft_knows_the_file_before_it_in_its_prompt_if_its_caller_may_read_it) {
    auto& on = fixture();
    const kvfs::Caller owner{.uid = 5, .gid = 5};
    const kvfs::Caller other{.uid = 6, .gid = 6};
    const auto directory =
        on.files->make(kRootIno, "v", {.mode = S_IFDIR | 0777, .uid = 5, .gid = 5});
    cr_assert(directory.ok());
    const Ino v = directory->inode.ino;
    auto made = on.files->create(v, "own", {.mode = S_IFREG | 0600, .uid = 5, .gid = 5});
    cr_assert(made.ok());
    const Ino ino = made->attributes.inode.ino;
    cr_assert(on.files->make(v, "link", {.mode = S_IFLNK | 0777, .symlink_target = "own"}).ok());
    const auto parent_of = [&](const kvfs::Caller& caller, const std::string& path) {
        const auto draft = on.files->draft("v/next", 100, 0644, caller, path);
        cr_assert(draft.ok(), "%s", path.c_str());
        return draft->chain_parent;
    };

    cr_expect_eq(parent_of(owner, "v/own"), ino);
    cr_expect_eq(parent_of(owner, "/v//own"), ino);
    cr_expect_eq(parent_of(other, "v/own"), 0);
    const std::string too_long(5000, 'x');
    for (const std::string path :
         {"", "/", "v", "v/none", "none/own", "v/own/x", "v/../v/own", "v/link", too_long.c_str()})
        cr_expect_eq(parent_of(owner, path), 0, "%s", path.c_str());
    on.files->release(std::move(made->handle));
}

Test(files, a_lease_on_what_a_record_tells_leaves_nothing_live) {
    auto& on = fixture();
    const Ino ino = on.files->make(kRootIno, "empty", kFile)->inode.ino;

    cr_assert(on.files->lease(ino).ok());

    cr_expect_null(on.cache->live(ino).get());
}

Test(files, truncating_what_a_record_tells_leaves_nothing_live) {
    auto& on = fixture();
    const Ino ino = on.files->make(kRootIno, "empty", kFile)->inode.ino;

    cr_assert(on.files->change(ino, {.size = 0}).ok());

    cr_expect_null(on.cache->live(ino).get());
}
