#include "fs/store/object_store.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "fs/store/ssd_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_store.h"
#include "tests/support/store_calls.h"
#include "tests/support/temp_dir.h"

// What object_store.h promises, held against every store there is. A new store joins with one line
// in kStores.

using namespace kvfs;         // NOLINT(google-build-using-namespace)
using namespace kvfs::tests;  // NOLINT(google-build-using-namespace)

namespace {

std::unique_ptr<ObjectStore> make_ssd_store() {
    auto store = SsdStore::open({.directory = make_temp_dir()});
    cr_assert(store.ok(), "%s", store.ok() ? "" : store.error().message().c_str());
    return *std::move(store);
}

struct Factory {
    const char* name;
    std::unique_ptr<ObjectStore> (*make)();
};

const Factory kStores[] = {
    {"memory", []() -> std::unique_ptr<ObjectStore> { return std::make_unique<MemoryStore>(); }},
    {"faulty without faults",
     []() -> std::unique_ptr<ObjectStore> { return std::make_unique<FaultyStore>(); }},
    {"ssd", make_ssd_store},
};

// Each test is a process of its own, so what it is given is an index: addresses differ there.
std::array<std::size_t, std::size(kStores)> store_indexes = [] {
    std::array<std::size_t, std::size(kStores)> indexes{};
    for (std::size_t i = 0; i < indexes.size(); ++i) indexes[i] = i;
    return indexes;
}();

constexpr std::size_t kMiB = 1 << 20;

}  // namespace

#define STORE_TEST(sentence)                                                                 \
    static void sentence(ObjectStore& store);                                                \
    ParameterizedTestParameters(object_store, sentence) {                                    \
        return cr_make_param_array(std::size_t, store_indexes.data(), store_indexes.size()); \
    }                                                                                        \
    ParameterizedTest(std::size_t* index, object_store, sentence) {                          \
        cr_log_info("store: %s", kStores[*index].name);                                      \
        sentence(*kStores[*index].make());                                                   \
    }                                                                                        \
    static void sentence(ObjectStore& store)

TestSuite(object_store, .timeout = 30);

STORE_TEST(what_was_put_reads_back_at_any_size) {
    ObjectId id = 1;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4095},
                                   std::size_t{4096}, std::size_t{4097}, kMiB, 3 * kMiB + 5}) {
        const Mapping bytes = patterned(size, static_cast<unsigned>(size));
        cr_assert(put_now(store, id, bytes.bytes().first(size)).ok(), "%zu bytes", size);
        cr_expect(reads_as(store, id, bytes.bytes().first(size)), "%zu bytes", size);
        ++id;
    }
}

STORE_TEST(pieces_are_joined_in_order) {
    const Mapping bytes = patterned(5 * kMiB, 7);
    std::vector<std::span<const std::byte>> pieces;
    std::size_t at = 0;
    for (const std::size_t length : {std::size_t{4096}, std::size_t{65536}, 2 * kMiB + 4096,
                                     std::size_t{8192}, kMiB + 12'345}) {
        pieces.push_back(bytes.bytes().subspan(at, length));
        at += length;
    }
    cr_assert(put_now(store, 1, {.path = "a", .size = at}, pieces).ok());
    cr_expect(reads_as(store, 1, bytes.bytes().first(at)));
}

STORE_TEST(memory_of_the_pieces_is_left_alone) {
    const Mapping bytes = patterned(3 * kMiB, 7);
    const Mapping copy = patterned(3 * kMiB, 7);
    cr_assert(put_now(store, 1, bytes.bytes().first(2 * kMiB + 1)).ok());
    cr_expect(std::equal(bytes.bytes().begin(), bytes.bytes().end(), copy.data()));
}

STORE_TEST(any_id_is_a_name) {
    const Mapping bytes = patterned(100, 7);
    for (const ObjectId id :
         {ObjectId{0}, ObjectId{1}, ObjectId{0xffff}, ObjectId{0x10001}, ~ObjectId{0}}) {
        cr_assert(put_now(store, id, bytes.bytes().first(100)).ok());
        cr_expect(reads_as(store, id, bytes.bytes().first(100)));
    }
    cr_expect_eq(scan_all(store).size(), 5U);
}

STORE_TEST(an_absent_object_is_enoent) {
    const auto reader = store.open(1);
    cr_assert_not(reader.ok());
    cr_expect_eq(reader.error().code, ENOENT);
}

STORE_TEST(reads_end_with_the_object) {
    const Mapping bytes = patterned(10'000, 7);
    cr_assert(put_now(store, 1, bytes.bytes().first(10'000)).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());
    const Mapping into = patterned(4 * 4096, 0xbad);

    cr_expect_eq(read_now(**reader, 8192, into.bytes()), 10'000 - 8192);
    cr_expect(std::equal(bytes.data() + 8192, bytes.data() + 10'000, into.data()));
    cr_expect_eq(read_now(**reader, 12'288, into.bytes()), 0);
    cr_expect_eq(read_now(**reader, 1ULL << 40, into.bytes()), 0);
}

STORE_TEST(any_aligned_range_can_be_read) {
    const Mapping bytes = patterned(2 * kMiB, 7);
    cr_assert(put_now(store, 1, bytes.bytes()).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());
    const Mapping into = patterned(kMiB, 0xbad);
    for (const std::size_t offset : {std::size_t{0}, std::size_t{4096}, kMiB - 4096, kMiB})
        for (const std::size_t length : {std::size_t{4096}, std::size_t{65536}, kMiB}) {
            const auto range = into.bytes().first(length);
            cr_assert_eq(read_now(**reader, offset, range), static_cast<std::int64_t>(length));
            cr_assert(std::equal(range.begin(), range.end(), bytes.data() + offset));
        }
}

STORE_TEST(a_put_replaces_and_readers_keep_what_they_opened) {
    const Mapping old_bytes = patterned(2 * kMiB, 1);
    const Mapping new_bytes = patterned(kMiB, 2);
    cr_assert(put_now(store, 1, old_bytes.bytes()).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());

    cr_assert(put_now(store, 1, new_bytes.bytes()).ok());

    cr_expect(reads_as(**reader, old_bytes.bytes()));
    cr_expect(reads_as(store, 1, new_bytes.bytes()));
}

STORE_TEST(a_removed_object_is_gone_but_for_its_readers) {
    const Mapping bytes = patterned(kMiB, 1);
    cr_assert(put_now(store, 1, bytes.bytes()).ok());
    const auto reader = store.open(1);
    cr_assert(reader.ok());

    cr_assert(store.remove(1).ok());

    cr_expect_eq(store.open(1).error().code, ENOENT);
    cr_expect(reads_as(**reader, bytes.bytes()));
    cr_expect(scan_all(store).empty());
}

STORE_TEST(a_read_that_owns_its_reader_lets_it_go) {
    const Mapping bytes = patterned(kMiB, 1);
    const Mapping into = patterned(kMiB, 0xbad);
    cr_assert(put_now(store, 1, bytes.bytes()).ok());
    std::promise<std::int64_t> result;
    {
        auto opened = store.open(1);
        cr_assert(opened.ok());
        const std::shared_ptr<ObjectReader> reader = *std::move(opened);
        reader->read(0, into.bytes(), [reader, &result](std::int64_t it) { result.set_value(it); });
    }
    cr_expect_eq(result.get_future().get(), static_cast<std::int64_t>(kMiB));
}

STORE_TEST(removing_what_is_absent_is_fine) {
    cr_expect(store.remove(1).ok());
    cr_expect(store.remove(~ObjectId{0}).ok());
}

STORE_TEST(labels_come_back_as_they_were) {
    const Mapping bytes = patterned(10, 1);
    const std::vector<ObjectLabel> labels{
        {.path = "models/llama/k.0",
         .size = 10,
         .mode = 0100640,
         .uid = 1000,
         .gid = 7,
         .mtime_ns = 1'700'000'000'123'456'789,
         .chunk_crcs = {0xdeadbeef}},
        {.path = "\xff not UTF-8 \"\\\n", .size = 10, .mtime_ns = -1},
        {.path = std::string(4095, 'p'), .size = 10, .chunk_crcs = {1, 2, 3}},
        {.path = "a gigabyte",
         .size = 10,
         .chunk_crcs = std::vector<std::uint32_t>(1024, 0x89abcdef)},
        {.path = std::string(4095, '\xe9'),
         .size = 10,
         .chunk_crcs = std::vector<std::uint32_t>(20'000, 0x89abcdef)},
    };
    for (std::size_t i = 0; i < labels.size(); ++i)
        cr_assert(put_now(store, i, labels[i], {bytes.bytes().first(10)}).ok());

    const auto found = scan_all(store);

    cr_assert_eq(found.size(), labels.size());
    for (std::size_t i = 0; i < labels.size(); ++i) {
        cr_expect_eq(found[i].first, i);
        cr_expect(same(found[i].second, labels[i]), "label %zu", i);
    }
}

STORE_TEST(relabelling_changes_the_label_and_not_the_bytes) {
    const Mapping bytes = patterned(5000, 1);
    cr_assert(put_now(store, 1, bytes.bytes().first(5000), "short").ok());
    const ObjectLabel longer{.path = std::string(4000, 'x'),
                             .size = 5000,
                             .chunk_crcs = std::vector<std::uint32_t>(3000, 7)};
    const ObjectLabel shorter{.path = "y", .size = 5000, .mode = 0600};
    for (const ObjectLabel& label : {longer, longer, shorter, longer}) {
        cr_assert(store.relabel(1, label).ok());
        const auto found = scan_all(store);
        cr_assert_eq(found.size(), 1U);
        cr_expect(same(found[0].second, label));
    }
    cr_expect(reads_as(store, 1, bytes.bytes().first(5000)));
}

STORE_TEST(relabelling_what_is_absent_is_enoent) {
    const Status status = store.relabel(1, {.path = "a"});
    cr_assert_not(status.ok());
    cr_expect_eq(status.error().code, ENOENT);
}

STORE_TEST(a_replaced_object_has_the_label_of_the_new_one) {
    const Mapping bytes = patterned(10, 1);
    const ObjectLabel long_one{
        .path = "a", .size = 10, .chunk_crcs = std::vector<std::uint32_t>(3000, 7)};
    const ObjectLabel short_one{.path = "b", .size = 10};
    for (const ObjectLabel& label : {long_one, short_one, long_one}) {
        cr_assert(put_now(store, 1, label, {bytes.bytes().first(10)}).ok());
        const auto found = scan_all(store);
        cr_assert_eq(found.size(), 1U);
        cr_expect(same(found[0].second, label));
    }
}

STORE_TEST(a_scan_stops_when_it_is_told) {
    const Mapping bytes = patterned(10, 1);
    for (ObjectId id = 0; id < 10; ++id)
        cr_assert(put_now(store, id, bytes.bytes().first(10)).ok());
    int visits = 0;
    cr_assert(store.scan([&](ObjectId, const ObjectLabel&) { return ++visits < 3; }).ok());
    cr_expect_eq(visits, 3);
}

STORE_TEST(done_runs_once_and_on_another_thread) {
    const Mapping bytes = patterned(3 * kMiB, 1);
    std::atomic<int> runs = 0;
    std::promise<std::thread::id> ran_on;
    store.put(1, {.path = "a", .size = bytes.size()}, {bytes.bytes()}, [&](const Status& status) {
        cr_expect(status.ok());
        if (++runs == 1) ran_on.set_value(std::this_thread::get_id());
    });
    cr_expect(ran_on.get_future().get() != std::this_thread::get_id());
    cr_assert(put_now(store, 2, bytes.bytes()).ok());
    cr_expect_eq(runs.load(), 1);
}

STORE_TEST(puts_that_are_not_waited_for_all_complete) {
    const Mapping bytes = patterned(256 << 10, 1);
    std::atomic<int> failures = 0;
    std::promise<void> all;
    std::atomic<int> left = 100;
    for (ObjectId id = 0; id < 100; ++id)
        store.put(id, {.path = "a", .size = bytes.size()}, {bytes.bytes()}, [&](const Status& it) {
            failures += !it.ok();
            if (--left == 0) all.set_value();
        });
    all.get_future().get();
    cr_expect_eq(failures.load(), 0);
    for (ObjectId id = 0; id < 100; ++id) cr_expect(reads_as(store, id, bytes.bytes()));
}

STORE_TEST(an_object_that_is_replaced_is_always_whole) {
    constexpr std::size_t size = 512 << 10;
    std::atomic<bool> over = false;
    cr_assert(put_now(store, 1, patterned(size, 0).bytes()).ok());
    std::thread writer([&] {
        for (unsigned version = 1; version < 40; ++version)
            cr_assert(put_now(store, 1, patterned(size, version).bytes()).ok());
        over = true;
    });
    const Mapping into = patterned(size, 0xbad);
    unsigned newest = 0;
    while (!over) {
        const auto reader = store.open(1);
        cr_assert(reader.ok());
        cr_assert_eq(read_now(**reader, 0, into.bytes()), static_cast<std::int64_t>(size));
        unsigned version = newest;
        while (version < 40) {
            const Mapping bytes = patterned(size, version);
            if (std::equal(into.bytes().begin(), into.bytes().end(), bytes.data())) break;
            ++version;
        }
        cr_assert_lt(version, 40U, "a mix, or older than version %u", newest);
        newest = version;
    }
    writer.join();
}

STORE_TEST(threads_do_not_disturb_each_other) {
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (unsigned number = 0; number < 4; ++number)
        threads.emplace_back([&, number] {
            for (unsigned round = 0; round < 15; ++round) {
                const ObjectId id = number * 100 + round % 5;
                const std::size_t size = 1 + round * 37'000;
                const Mapping bytes = patterned(size, number * 100 + round);
                wrong += !put_now(store, id, bytes.bytes().first(size)).ok();
                wrong += !reads_as(store, id, bytes.bytes().first(size));
                if (round % 3 == 0) wrong += !store.remove(id).ok();
            }
        });
    for (std::thread& thread : threads) thread.join();
    cr_expect_eq(wrong.load(), 0);
}

STORE_TEST(objects_in_place_are_written_at_any_offset_or_not_at_all) {
    auto file = store.open_in_place(1);
    if (!file) {
        cr_expect_eq(file.error().code, ENOTSUP);
        return;
    }
    const Mapping blocks = patterned(8192, 7);
    const std::string hello = "hello";
    cr_expect_eq(write_now(**file, 4096, blocks.bytes()), 8192);
    cr_expect_eq(write_now(**file, 3, std::as_bytes(std::span(hello))), 5);
    cr_assert(store.relabel(1, {.path = "scratch", .size = 12'288}).ok());

    auto again = store.open_in_place(1);
    cr_assert(again.ok());
    const auto extent = (*again)->extent();
    cr_assert(extent.ok());
    cr_expect_eq(extent->size, 12'288U);
    const Mapping read = patterned(12'288, 8);
    cr_expect_eq(read_now(**again, 0, read.bytes()), 12'288);
    cr_expect_eq(std::memcmp(read.data() + 3, "hello", 5), 0);
    cr_expect_eq(std::memcmp(read.data() + 4096, blocks.data(), 8192), 0);
    cr_expect_eq(sync_now(store, 1), 0);
    cr_expect_eq(sync_now(store, 2), -ENOENT);
    const auto found = scan_all(store);
    cr_assert_eq(found.size(), 1U);
    cr_expect(found[0].second.path == "scratch");
    cr_expect(store.remove(1).ok());
}

STORE_TEST(says_who_it_is_and_what_it_may_hold) {
    cr_expect_neq(store.uid(), 0U);
    cr_expect_not(store.name().empty());
    cr_expect_gt(store.capacity(), 0U);
    for (const std::uint64_t size : {0, 1, 4096, 4097, 1'000'000})
        cr_expect_geq(store.footprint(size), size);
}

STORE_TEST(what_is_told_of_draining_is_kept) {
    cr_expect_not(store.draining());
    cr_expect(store.set_draining(false).ok());
    cr_expect(store.set_draining(true).ok());
    cr_expect(store.draining());
    cr_expect(store.set_draining(false).ok());
    cr_expect_not(store.draining());
}
