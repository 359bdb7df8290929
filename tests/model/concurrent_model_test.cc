// Threads at work on one mount at a time, and one of them through libgpumap as well: each knows to
// the byte what its own names hold, and what it may find under the names that all share.
//
//     KVFS_SEED=n KVFS_STEPS=n make unit ARGS='--filter=concurrent_model/*'
//
// tries a failure's seed again; the threads may then meet otherwise. DRAM holds a fraction of the
// files, SSD all: no file may vanish by itself.
#include <criterion/criterion.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/model/fronts.h"
#include "tests/model/own_names.h"
#include "tests/model/shared_names.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr int kWorkers = 4;
constexpr int kRounds = 3;
constexpr int kStepsDefault = 9000;  ///< of all workers, in all rounds

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// The first thing that a thread found wrong.
class Verdict {
  public:
    /// Whether all is well so far.
    bool good() const { return good_; }
    void add(const std::string& wrong) {
        if (wrong.empty()) return;
        const std::scoped_lock lock(mutex_);
        if (good_.exchange(false)) first_ = wrong;
    }
    const std::string& first() const { return first_; }  ///< once the threads have ended

  private:
    std::mutex mutex_;
    std::atomic<bool> good_ = true;
    std::string first_;
};

/// What one thread knows.
struct Worker {
    OwnNames own;
    std::mt19937_64 random;
    SharedNames::Seen seen_in_mount{};
    SharedNames::Seen seen_by_mapper{};
};

class World {
  public:
    explicit World(std::uint64_t seed) : pressure_{own("pressure", 3 << 20), random_of(seed, 99)} {
        ::mkdir(shared_directory().c_str(), 0755);
        for (int i = 0; i < kWorkers; ++i)
            workers_.push_back({own("own" + std::to_string(i), 1 << 20),
                                random_of(seed, static_cast<std::uint64_t>(i))});
    }

    void run(int steps_of_each) {
        MapperFront mapper(mounted->path(), "v/shared");
        std::vector<std::thread> threads;
        for (Worker& worker : workers_) {
            Front* other = &worker == &workers_[0] ? &mapper : nullptr;
            threads.emplace_back([this, &worker, other, steps_of_each] {
                for (int i = 0; i < steps_of_each && verdict.good(); ++i)
                    verdict.add(take_step(worker, other));
            });
        }
        std::atomic<bool> done = false;
        std::thread pressing([&] {
            while (!done && verdict.good()) press();
        });
        for (auto& thread : threads) thread.join();
        done = true;
        pressing.join();
    }

    void compare_all() {
        MountFront mount(shared_directory());
        MapperFront mapper(mounted->path(), "v/shared");
        for (Worker& worker : workers_) verdict.add(worker.own.compare_all());
        verdict.add(pressure_.own.compare_all());
        verdict.add(shared_.compare_all(mapper, pressure_.random));
        verdict.add(shared_.compare_all(mount, pressure_.random));
    }

    Verdict verdict;

  private:
    static std::string shared_directory() { return mounted->path("v/shared"); }
    static OwnNames own(const std::string& name, std::size_t bytes_max) {
        ::mkdir(mounted->path("v").c_str(), 0755);
        return {mounted->path("v/" + name), bytes_max};
    }
    static std::mt19937_64 random_of(std::uint64_t seed, std::uint64_t thread) {
        return std::mt19937_64(seed * 0x9E3779B97F4A7C15ULL + thread);
    }

    /// `mapper` is nobody's but the first worker's.
    std::string take_step(Worker& worker, Front* mapper) {
        MountFront mount(shared_directory());
        const bool by_mapper = mapper != nullptr && worker.random() % 2 == 0;
        Front& front = by_mapper ? *mapper : mount;
        switch (worker.random() % 10) {
            case 0:
            case 1:
                return shared_.save(front, mount, worker.random);
            case 2:
                return shared_.remove(shared_directory(), worker.random);
            case 3:
                return shared_.look(front, worker.random);
            case 4:
            case 5:
            case 6:
                return shared_.load(front, by_mapper ? worker.seen_by_mapper : worker.seen_in_mount,
                                    worker.random);
            default:
                return worker.own.take_step(worker.random);
        }
    }

    /// Large files, so that others must leave DRAM.
    void press() {
        verdict.add(pressure_.own.save(pressure_.random));
        verdict.add(pressure_.own.load(pressure_.own.any_name(pressure_.random)));
    }

    SharedNames shared_;
    std::vector<Worker> workers_;
    Worker pressure_;
};

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "1GiB"}); }

}  // namespace

TestSuite(concurrent_model, .init = mount_small, .fini = mount_down, .timeout = 3600);

Test(concurrent_model, threads_find_what_they_know_to_be_there) {
    const std::uint64_t seed = number_from("KVFS_SEED", std::random_device()());
    const auto steps = static_cast<int>(number_from("KVFS_STEPS", kStepsDefault));
    World world(seed);
    for (int round = 0; round < kRounds && world.verdict.good(); ++round) {
        world.run(steps / kWorkers / kRounds);
        if (!world.verdict.good()) break;
        mounted->stop();
        mounted->start();
        world.compare_all();
    }
    cr_assert(world.verdict.good(), "KVFS_SEED=%llu KVFS_STEPS=%d: %s\nlog:\n%s",
              static_cast<unsigned long long>(seed), steps, world.verdict.first().c_str(),
              mounted->log().c_str());
}
