#include <criterion/criterion.h>
#include <malloc.h>
#include <utility>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "fs/cache/policy.h"

using kvfs::FileUse;
using kvfs::ObjectId;
using kvfs::policy_named;

using Ids = std::vector<ObjectId>;

namespace {

FileUse block(ObjectId id, ObjectId parent) {
    return {id, static_cast<std::uint32_t>(id), parent, 1};
}

const char* const kNames[] = {"lru", "s3fifo", "kvfs"};

/// A prompt of these blocks; those that are not `in` the tier come into it.
void prompt(kvfs::EvictionPolicy& policy, const Ids& blocks, std::set<ObjectId>& in) {
    ObjectId parent = 0;
    for (const ObjectId id : blocks) {
        const FileUse use = block(id, std::exchange(parent, id));
        if (in.insert(id).second)
            policy.admitted(use);
        else
            policy.used(use);
    }
}

}  // namespace

TestSuite(policy, .timeout = 60);

Test(policy, is_made_by_its_name) {
    for (const char* name : kNames) cr_expect(policy_named(name) != nullptr, "%s", name);
    cr_expect(policy_named("fifo") == nullptr);
    cr_expect(policy_named("") == nullptr);
    cr_expect(kvfs::policy_names() == "lru, s3fifo, kvfs");
}

Test(policy, victims_are_files_of_the_tier_each_once_and_in_the_end_all) {
    const char* given = std::getenv("KVFS_SEED");
    const unsigned long seed = given == nullptr ? std::random_device{}() : std::stoul(given);
    for (const char* name : kNames) {
        std::mt19937_64 random(seed);
        const auto policy = policy_named(name)();
        std::set<ObjectId> in;
        for (int step = 0; step < 20'000; ++step) {
            const ObjectId id = 1 + random() % 400;
            // Any parent, also one that is not there, the file itself, or one of a circle.
            const FileUse use = block(id, random() % 400);
            switch (random() % 8) {
                case 0:
                    policy->removed(id);
                    in.erase(id);
                    break;
                case 1:
                case 2:
                    policy->used(use);
                    break;
                default:
                    policy->admitted(use);
                    in.insert(id);
            }
            cr_assert_eq(policy->files(), in.size(), "%s, step %d: make unit KVFS_SEED=%lu", name,
                         step, seed);
            if (step % 50 != 0) continue;
            const Ids all = policy->victims(1000);
            const std::set<ObjectId> different(all.begin(), all.end());
            cr_assert(different == in && all.size() == in.size(),
                      "%s, step %d: make unit KVFS_SEED=%lu", name, step, seed);
        }
        while (!in.empty()) {
            const Ids next = policy->victims(1);
            cr_assert_eq(next.size(), 1, "%s: make unit KVFS_SEED=%lu", name, seed);
            cr_assert_eq(in.erase(next[0]), 1, "%s: make unit KVFS_SEED=%lu", name, seed);
            policy->removed(next[0]);
        }
        cr_expect(policy->victims(1).empty());
    }
}

Test(policy, the_last_block_of_a_prompt_goes_before_the_ones_it_builds_on) {
    for (const char* name : {"lru", "kvfs"}) {
        const auto policy = policy_named(name)();
        std::set<ObjectId> in;
        prompt(*policy, {1, 2, 3}, in);
        prompt(*policy, {1, 4, 5}, in);

        cr_expect(policy->victims(5) == (Ids{3, 2, 5, 4, 1}), "%s", name);
        cr_expect(policy->victims(1) == (Ids{3}), "%s", name);
    }
}

Test(policy, lru_goes_by_use_where_the_parent_is_not_in_the_tier) {
    const auto policy = policy_named("lru")();  // it may be in another tier, or on its way
    policy->admitted({.id = 1});
    policy->admitted({.id = 3, .parent = 2});

    cr_expect(policy->victims(1) == (Ids{1}));
}

Test(policy, lru_puts_a_block_behind_its_parent_once_that_is_known) {
    const auto policy = policy_named("lru")();
    for (const ObjectId id : {1, 2, 3}) policy->admitted({.id = id});
    policy->changed({.id = 3, .parent = 1});
    policy->changed({.id = 9, .parent = 1});

    cr_expect(policy->victims(9) == (Ids{3, 1, 2}));
}

Test(policy, s3fifo_keeps_what_was_used_twice_over_a_scan) {
    const auto policy = policy_named("s3fifo")();
    for (ObjectId id = 1; id <= 20; ++id) policy->admitted(block(id, 0));
    for (ObjectId id = 1; id <= 10; ++id) policy->used(block(id, 0));
    for (ObjectId id = 100; id < 200; ++id) {
        const Ids out = policy->victims(1);
        cr_assert_eq(out.size(), 1);
        cr_expect_gt(out[0], 10, "%lu went", out[0]);
        policy->removed(out[0]);
        policy->admitted(block(id, 0));
    }
}

Test(policy, s3fifo_takes_what_comes_back_soon_into_the_main_queue) {
    const auto policy = policy_named("s3fifo")();
    for (ObjectId id = 1; id <= 20; ++id) policy->admitted(block(id, 0));
    for (ObjectId id = 2; id <= 20; ++id) policy->used(block(id, 0));
    cr_assert(policy->victims(1) == (Ids{1}));
    policy->removed(1);
    policy->admitted(block(1, 0));
    for (const ObjectId id : {21, 22, 23}) policy->admitted(block(id, 0));

    cr_expect(policy->victims(1) == (Ids{21}));
}

Test(policy, s3fifo_knows_by_its_name_what_comes_back_under_another_number) {
    const auto policy = policy_named("s3fifo")();
    for (ObjectId id = 1; id <= 20; ++id) policy->admitted(block(id, 0));
    for (ObjectId id = 2; id <= 20; ++id) policy->used(block(id, 0));
    cr_assert(policy->victims(1) == (Ids{1}));
    policy->removed(1);
    policy->admitted({.id = 21, .name = 1});
    for (const ObjectId id : {22, 23, 24}) policy->admitted(block(id, 0));

    cr_expect(policy->victims(1) == (Ids{22}));
}

namespace {

/// Prompts of three blocks, `kHot` of them again and again, and between two of them one that never
/// comes back, in a tier with room for less than is used between two uses of one. A block that is
/// not there is written anew: its name stays, its number is another one.
struct HotAndCold {
    static constexpr std::size_t kRoom = 900;
    static constexpr std::uint32_t kHot = 200;
    static constexpr int kRounds = 200;

    std::set<ObjectId> in;
    std::map<std::uint32_t, ObjectId> numbers;  ///< by name
    std::size_t hits = 0;                       ///< of hot ones, in the second half
    std::size_t written = 0;                    ///< in the second half
    ObjectId last_number = 0;
    std::uint32_t next = 10'000;

    void run(kvfs::EvictionPolicy& policy, bool parents) {
        for (int round = 0; round < kRounds; ++round)
            for (std::uint32_t hot = 0; hot < kHot; ++hot) {
                const bool counts = round >= kRounds / 2;
                for (const std::uint32_t name : {3 * hot + 1, 3 * hot + 2, 3 * hot + 3}) {
                    hits += counts && in.contains(numbers[name]);
                    use(policy, name, parents && name % 3 != 1, counts);
                }
                for (int i = 0; i < 3; ++i, ++next) use(policy, next, parents && i > 0, counts);
            }
    }
    /// A block of that name, which builds on the one named before it, or not.
    void use(kvfs::EvictionPolicy& policy, std::uint32_t name, bool builds, bool counts) {
        const bool there = in.contains(numbers[name]);
        if (!there) numbers[name] = ++last_number;
        const FileUse file{numbers[name], name, builds ? numbers[name - 1] : 0, 1};
        if (there) return policy.used(file);
        if (in.size() == kRoom) {
            if (!policy.admits(file)) return;
            const ObjectId out = policy.victims(1).at(0);
            policy.removed(out);
            in.erase(out);
        }
        policy.admitted(file);
        in.insert(file.id);
        written += counts;
    }
};

}  // namespace

Test(policy, kvfs_learns_what_is_used_again_and_refuses_the_rest) {
    HotAndCold kvfs, lru;
    kvfs.run(*policy_named("kvfs")(), true);
    lru.run(*policy_named("lru")(), true);
    const std::size_t uses = 3 * HotAndCold::kHot * HotAndCold::kRounds / 2;

    cr_expect_eq(lru.hits, 0);
    cr_expect_eq(lru.written, 2 * uses);
    cr_expect_gt(kvfs.hits, uses * 9 / 10, "%zu of %zu", kvfs.hits, uses);
    cr_expect_lt(kvfs.written, uses / 2, "%zu of %zu", kvfs.written, 2 * uses);
}

Test(policy, kvfs_does_what_lru_does_when_it_is_told_of_no_parents) {
    HotAndCold kvfs, lru;
    kvfs.run(*policy_named("kvfs")(), false);
    lru.run(*policy_named("lru")(), false);

    cr_expect_eq(kvfs.hits, lru.hits);
    cr_expect_eq(kvfs.written, lru.written);
    cr_expect(kvfs.in == lru.in);
}

Test(policy, a_parent_that_leaves_before_its_children_is_no_trouble) {
    const auto policy = policy_named("kvfs")();
    std::set<ObjectId> in;
    prompt(*policy, {1, 2, 3}, in);
    policy->removed(1);
    policy->removed(2);
    cr_expect_eq(policy->files(), 1U);
    cr_expect(policy->victims(9) == (Ids{3}));

    policy->admitted({.id = 2, .parent = 1});
    cr_expect(policy->victims(9) == (Ids{3, 2}));
    policy->removed(3);
    policy->removed(2);
    cr_expect_eq(policy->files(), 0U);
    cr_expect(policy->victims(9).empty());
}

#if !defined(__SANITIZE_ADDRESS__)  // which has an allocator of its own
Test(policy, a_file_takes_at_most_64_bytes_of_memory) {
    constexpr ObjectId kCount = 200'000;
    for (const char* name : kNames) {
        const std::size_t before = ::mallinfo2().uordblks;
        const auto policy = policy_named(name)();
        for (ObjectId id = 1; id <= 4 * kCount; ++id) {
            if (id > kCount) policy->removed(policy->victims(1).at(0));
            policy->admitted({.id = id << 8, .parent = id % 7 == 0 ? 0 : (id - 1) << 8});
        }
        const std::size_t bytes = ::mallinfo2().uordblks - before;
        cr_expect_leq(bytes, 64 * kCount, "%s: %zu", name, bytes / kCount);
    }
}
#endif
