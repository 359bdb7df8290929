#include "fs/store/ssd_store.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "tests/support/store_calls.h"
#include "tests/support/temp_dir.h"

// What an SSD store has on its disk, and what it says when it cannot be opened. What every store
// does is in tests/contract.

namespace filesystem = std::filesystem;

using namespace kvfs;         // NOLINT(google-build-using-namespace)
using namespace kvfs::tests;  // NOLINT(google-build-using-namespace)

namespace {

std::unique_ptr<SsdStore> open_store(const std::string& directory, std::uint64_t quota = 0) {
    auto store = SsdStore::open({.directory = directory, .quota_bytes = quota});
    cr_assert(store.ok(), "%s", store.ok() ? "" : store.error().message().c_str());
    return *std::move(store);
}

/// Expects that it cannot be opened, for this reason, and that the sentence names the directory.
void expect_refused(const std::string& directory, int code) {
    const auto store = SsdStore::open({.directory = directory});
    cr_assert_not(store.ok());
    cr_expect_eq(store.error().code, code, "%s", store.error().message().c_str());
    cr_expect(store.error().what.find(directory) != std::string::npos, "%s",
              store.error().what.c_str());
}

std::string content_of(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

void write_file(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::string xattr_of(const std::string& path) {
    std::string text(65'536, '\0');
    const ssize_t length = ::getxattr(path.c_str(), "user.kvfs", text.data(), text.size());
    text.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return text;
}

std::size_t files_below(const std::string& directory) {
    std::size_t count = 0;
    for (const auto& entry : filesystem::recursive_directory_iterator(directory))
        count += entry.is_regular_file();
    return count;
}

constexpr ObjectId kId = 0x123456789abcdef0;
constexpr const char* kObject = "/objects/bc/de/123456789abcdef0";

ObjectLabel long_label(std::uint32_t crc) {
    return {.path = "a gigabyte", .size = 10, .chunk_crcs = std::vector<std::uint32_t>(1024, crc)};
}

}  // namespace

TestSuite(ssd_store, .timeout = 30);

Test(ssd_store, an_object_is_a_file_of_exactly_its_bytes) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(5000, 7);

    cr_assert(put_now(*store, kId, bytes.bytes().first(5000)).ok());

    const std::string content = content_of(directory + kObject);
    cr_assert_eq(content.size(), 5000U);
    cr_expect_eq(std::memcmp(content.data(), bytes.data(), 5000), 0);
    cr_expect_eq(files_below(directory + "/tmp"), 0U);
}

Test(ssd_store, an_administrator_can_read_a_label) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(5000, 7);
    cr_assert(put_now(*store, kId, bytes.bytes().first(5000), "models/k.0").ok());

    const std::string text = xattr_of(directory + kObject);

    cr_expect(text.find("\"path\":\"models/k.0\"") != std::string::npos, "%s", text.c_str());
    cr_expect(text.find("\"size\":5000") != std::string::npos);
}

Test(ssd_store, objects_and_identity_outlive_the_daemon) {
    const std::string directory = make_temp_dir();
    const Mapping bytes = patterned(5000, 7);
    auto store = open_store(directory);
    const std::uint64_t uid = store->uid();
    cr_assert(put_now(*store, kId, bytes.bytes().first(5000)).ok());
    store.reset();

    store = open_store(directory);

    cr_expect_eq(store->uid(), uid);
    cr_expect(reads_as(*store, kId, bytes.bytes().first(5000)));
    cr_expect_eq(scan_all(*store).size(), 1U);
    cr_expect_neq(open_store(make_temp_dir())->uid(), uid);
}

Test(ssd_store, the_directory_is_made_but_not_its_parents) {
    const std::string parent = make_temp_dir();
    open_store(parent + "/new");
    cr_expect(filesystem::exists(parent + "/new/kvfs.json"));
    expect_refused(parent + "/absent/new", ENOENT);
}

Test(ssd_store, two_daemons_cannot_share_a_directory) {
    const std::string directory = make_temp_dir();
    auto store = open_store(directory);
    expect_refused(directory, EBUSY);
    store.reset();
    open_store(directory);
}

Test(ssd_store, what_a_dead_daemon_left_in_tmp_goes_at_start) {
    const std::string directory = make_temp_dir();
    open_store(directory);
    write_file(directory + "/tmp/0000000000000007.3", "half an object");
    filesystem::create_directories(directory + "/tmp/sub/sub");
    const auto store = open_store(directory);
    cr_expect_eq(files_below(directory + "/tmp"), 0U);
    cr_expect(!filesystem::exists(directory + "/tmp/sub"));
    cr_expect(scan_all(*store).empty());
}

Test(ssd_store, an_object_is_removed_though_tmp_was_emptied_by_hand) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(5000, 7);
    cr_assert(put_now(*store, kId, bytes.bytes().first(5000)).ok());
    filesystem::remove_all(directory + "/tmp");

    cr_expect(store->remove(kId).ok());

    cr_expect(!filesystem::exists(directory + kObject));
    cr_expect(store->remove(kId).ok(), "a second time");
}

Test(ssd_store, a_directory_of_another_format_is_left_alone) {
    const std::string directory = make_temp_dir();
    open_store(directory);
    for (const char* text : {R"({"format":2,"uid":"0000000000000001"})", "", "garbage", "[]",
                             R"({"format":1})", R"({"format":"1","uid":"1"})"}) {
        write_file(directory + "/kvfs.json", text);
        expect_refused(directory, EINVAL);
        cr_expect(content_of(directory + "/kvfs.json") == text);
    }
}

Test(ssd_store, a_file_is_no_directory) {
    const std::string path = make_temp_dir() + "/file";
    write_file(path, "");
    expect_refused(path, ENOTDIR);
}

Test(ssd_store, a_file_system_without_what_it_needs_is_refused) {
    const auto store = SsdStore::open({.directory = "/proc"});
    cr_assert_not(store.ok());
    cr_expect(store.error().what.find("/proc") != std::string::npos);
}

Test(ssd_store, capacity_is_the_quota_or_what_was_free) {
    const std::string directory = make_temp_dir();
    cr_expect_eq(open_store(directory, 1 << 20)->capacity(), 1U << 20);
    const std::uint64_t whole = open_store(directory)->capacity();
    cr_expect_gt(whole, 1U << 20);
    cr_expect_lt(whole, filesystem::space(directory).capacity);
    cr_expect_leq(open_store(directory, ~0ULL)->capacity(), filesystem::space(directory).capacity);
}

Test(ssd_store, what_its_own_objects_take_does_not_lessen_its_capacity) {
    const std::string directory = make_temp_dir();
    open_store(directory);
    std::string identity = content_of(directory + "/kvfs.json");
    const auto at = identity.find("\"capacity_at_first\":") + 20;
    const std::uint64_t most = filesystem::space(directory).capacity / 100 * 94;
    identity.replace(at, identity.find_first_of(",}", at) - at, std::to_string(most));
    write_file(directory + "/kvfs.json", identity);
    cr_expect_eq(open_store(directory)->capacity(), most);
}

Test(ssd_store, a_put_that_fails_leaves_nothing) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(2 << 20, 7);
    cr_assert(put_now(*store, kId, bytes.bytes().first(4096)).ok());
    const rlimit small{1 << 20, 1 << 20};
    std::signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(::setrlimit(RLIMIT_FSIZE, &small), 0);

    const Status status = put_now(*store, kId, bytes.bytes());

    cr_assert_not(status.ok());
    cr_expect_eq(status.error().code, EFBIG);
    cr_expect_eq(files_below(directory + "/tmp"), 0U);
    cr_expect(reads_as(*store, kId, bytes.bytes().first(4096)));
}

Test(ssd_store, destruction_waits_for_puts) {
    const std::string directory = make_temp_dir();
    const Mapping bytes = patterned(256 << 10, 7);
    std::atomic<unsigned> ended = 0;
    for (unsigned round = 0; round < 10; ++round) {
        {
            const auto store = open_store(directory);
            for (ObjectId id = 0; id <= round; ++id)
                store->put(id, {.path = "a", .size = bytes.size()}, {bytes.bytes()},
                           [&](const Status& status) { ended += status.ok(); });
        }
        cr_assert_eq(ended.exchange(0), round + 1);
    }
    cr_expect_eq(scan_all(*open_store(directory)).size(), 10U);
}

Test(ssd_store, destruction_waits_for_reads_that_own_their_reader) {
    const Mapping bytes = patterned(8 << 20, 7);
    const Mapping into = patterned(8 << 20, 0xbad);
    std::atomic<std::int64_t> read = 0;
    {
        const auto store = open_store(make_temp_dir());
        cr_assert(put_now(*store, kId, bytes.bytes()).ok());
        auto opened = store->open(kId);
        cr_assert(opened.ok());
        const std::shared_ptr<ObjectReader> reader = *std::move(opened);
        reader->read(0, into.bytes(), [reader, &read](std::int64_t result) { read = result; });
    }
    cr_expect_eq(read.load(), 8 << 20);
}

Test(ssd_store, a_reader_may_outlive_the_store) {
    const Mapping bytes = patterned(5000, 7);
    auto store = open_store(make_temp_dir());
    cr_assert(put_now(*store, kId, bytes.bytes().first(5000)).ok());
    const auto reader = store->open(kId);
    cr_assert(reader.ok());
    store.reset();
    cr_expect(reads_as(**reader, bytes.bytes().first(5000)));
}

Test(ssd_store, other_processes_can_read_through_the_descriptor_and_not_write) {
    const auto store = open_store(make_temp_dir());
    const Mapping bytes = patterned(8192, 7);
    cr_assert(put_now(*store, kId, bytes.bytes()).ok());
    const auto reader = store->open(kId);
    cr_assert(reader.ok());
    const Mapping into = patterned(8192, 0xbad);

    const int fd = (*reader)->direct_fd();

    cr_expect_eq(::fcntl(fd, F_GETFL) & (O_DIRECT | O_ACCMODE), O_DIRECT | O_RDONLY);
    cr_expect_eq(::pread(fd, into.data(), 8192, 0), 8192);
    cr_expect_eq(std::memcmp(into.data(), bytes.data(), 8192), 0);
    struct stat status {};
    cr_assert_eq(::fstat(fd, &status), 0);
    cr_expect_eq(status.st_mode & 0777, 0600U);
}

Test(ssd_store, registered_memory_is_read_into_and_written_from) {
    const auto store = open_store(make_temp_dir());
    const Mapping bytes = patterned(3 << 20, 7);
    const Mapping into = patterned(3 << 20, 0xbad);
    cr_assert(store->ring().register_region(bytes.bytes()).ok());
    cr_assert(store->ring().register_region(into.bytes()).ok());
    cr_assert(put_now(*store, kId, bytes.bytes()).ok());
    const auto reader = store->open(kId);
    cr_assert(reader.ok());
    cr_expect_eq(read_now(**reader, 0, into.bytes()), 3 << 20);
    cr_expect_eq(std::memcmp(into.data(), bytes.data(), into.size()), 0);
}

Test(ssd_store, a_label_too_long_for_an_xattr_lies_beside_the_object) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(10, 7);
    const auto put = [&](const ObjectLabel& label) {
        cr_assert(put_now(*store, kId, label, {bytes.bytes().first(10)}).ok());
        return files_below(directory + "/objects");
    };
    // Never more than the object and its present label.
    cr_expect_eq(put(long_label(1)), 2U);
    cr_expect_eq(put(long_label(1)), 2U);
    cr_expect_eq(put(long_label(2)), 2U);
    cr_expect_eq(put({.path = "short", .size = 10}), 1U);
    cr_expect_eq(put(long_label(3)), 2U);
    cr_assert(store->relabel(kId, {.path = "short", .size = 10}).ok());
    cr_expect_eq(files_below(directory + "/objects"), 1U);
    cr_assert(store->relabel(kId, long_label(4)).ok());
    cr_expect_eq(files_below(directory + "/objects"), 2U);
    cr_assert(store->remove(kId).ok());
    cr_expect_eq(files_below(directory + "/objects"), 0U);
}

Test(ssd_store, leftovers_are_what_is_of_no_object) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(10, 7);
    cr_assert(put_now(*store, kId, long_label(1), {bytes.bytes().first(10)}).ok());
    const std::set<std::string> wrong{
        directory + kObject + ".00000000", directory + "/objects/bc/de/ffffffffffbcdef0.00000000",
        directory + "/objects/bc/0000000000000001", directory + "/tmp/0000000000000001.0"};
    for (const std::string& path : wrong) write_file(path, "{}");

    const auto found = scan_all(*store);
    const auto leftovers = store->leftovers();

    cr_assert_eq(found.size(), 1U);
    cr_expect(same(found[0].second, long_label(1)));
    cr_assert(leftovers.ok());
    cr_expect(std::set<std::string>(leftovers->begin(), leftovers->end()) == wrong);
}

Test(ssd_store, an_object_whose_label_is_damaged_is_given_without_one) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    const Mapping bytes = patterned(10, 7);
    const std::string object = directory + kObject;
    const auto path_found = [&] {
        const auto found = scan_all(*store);
        cr_assert_eq(found.size(), 1U);
        return found[0].second.path;
    };
    cr_assert(put_now(*store, kId, long_label(1), {bytes.bytes().first(10)}).ok());
    for (const auto& entry : filesystem::directory_iterator(directory + "/objects/bc/de"))
        if (entry.path() != object) {
            std::string text = content_of(entry.path());
            text.back() = ' ';
            write_file(entry.path(), text);
        }
    cr_expect(path_found().empty());
    for (const std::string text : {"garbage", "{}", R"({"label_file":"../../../kvfs.json"})"}) {
        cr_assert_eq(::setxattr(object.c_str(), "user.kvfs", text.data(), text.size(), 0), 0);
        cr_expect(path_found().empty());
    }
    cr_assert_eq(::removexattr(object.c_str(), "user.kvfs"), 0);
    cr_expect(path_found().empty());
}

Test(ssd_store, what_is_not_an_object_is_not_scanned) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    filesystem::create_directories(directory + "/objects/00/07");
    write_file(directory + "/objects/00/07/readme", "hello");
    write_file(directory + "/objects/00/07/0000000000000008", "in the wrong folder");
    write_file(directory + "/objects/00/0000000000000007", "in the wrong folder");
    cr_expect(scan_all(*store).empty());
    cr_expect_eq(files_below(directory + "/objects"), 3U);
}

Test(ssd_store, opening_in_place_makes_an_empty_object) {
    const std::string directory = make_temp_dir();
    const auto store = open_store(directory);
    cr_assert(store->open_in_place(kId).ok());
    cr_expect_eq(filesystem::file_size(directory + kObject), 0U);
    cr_expect(store->open(kId).ok());
}

Test(ssd_store, opened_as_found_it_changes_nothing_and_needs_a_store_to_be_there) {
    const std::string directory = make_temp_dir();
    cr_expect_eq(SsdStore::open({.directory = directory, .as_found = true}).error().code, ENOENT);
    cr_expect(filesystem::is_empty(directory));
    const std::uint64_t uid = open_store(directory)->uid();
    write_file(directory + "/tmp/left", "x");

    const auto found = SsdStore::open({.directory = directory, .as_found = true});

    cr_assert(found.ok());
    cr_expect_eq((*found)->uid(), uid);
    cr_expect(filesystem::exists(directory + "/tmp/left"));
    cr_expect_eq(SsdStore::open({.directory = directory, .as_found = true}).error().code, EBUSY);
}
