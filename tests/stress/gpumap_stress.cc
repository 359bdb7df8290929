// Threads with a context each, and threads that share one, load, save, cancel and replace files
// over a DRAM tier that holds a part of them: half of the time on the host backend, half on the
// cuda backend over the fake driver. Every file's bytes follow from its first word, so whoever
// loads one can check it. Without Criterion, for ThreadSanitizer. Usage: gpumap_stress [SECONDS]

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "fs/base/log.h"
#include "tests/unit/gpumap_fixture.h"

namespace {

using namespace kvfs::tests;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr int kNames = 40;
constexpr std::size_t kFileBytesMax = 3 * kMiB;

std::atomic<int> failures{0};
std::atomic<std::uint64_t> loads{0};
std::atomic<std::uint64_t> saves{0};
std::atomic<std::uint64_t> misses{0};
std::atomic<std::uint64_t> next_seed{1};

void fail(const char* doing, const std::string& what) {
    if (++failures <= 20) std::fprintf(stderr, "gpumap_stress: %s: %s\n", doing, what.c_str());
}

/// A status that other threads, eviction or a cancellation explain.
bool is_fair(gm_status status) {
    return status == GM_OK || status == GM_ENOENT || status == GM_EEVICTED || status == GM_ESTALE ||
           status == GM_ECANCELLED || status == GM_ETIMEDOUT || status == GM_EAGAIN;
}

/// The word at `place` of the file `seed`; word 0 is the seed.
std::uint64_t word(std::uint64_t seed, std::uint64_t place) {
    return place == 0 ? seed : (seed * 0x9e3779b97f4a7c15) ^ (place * 0xc2b2ae3d27d4eb4f);
}

std::string name_of(std::uint64_t number) { return "v/f" + std::to_string(number); }

class Engine {
  public:
    Engine(gm_ctx* ctx, std::uint64_t seed) : ctx_(ctx), random_(seed) {
        must(gm_device_alloc(ctx_, kFileBytesMax, &memory_) == GM_OK, gm_message());
    }
    ~Engine() { gm_device_free(ctx_, memory_); }

    void step() {
        const std::uint64_t dice = random_() % 100;
        if (dice < 35)
            save();
        else if (dice < 90)
            load();
        else
            look();
    }

  private:
    /// Directly: both backends' device memory is this process's.
    std::uint64_t* words() { return reinterpret_cast<std::uint64_t*>(memory_); }

    void save() {
        const std::uint64_t seed = next_seed++;
        std::uint64_t size = (random_() % (kFileBytesMax / 8) + 1) * 8;
        for (std::uint64_t i = 0; i < size / 8; ++i) words()[i] = word(seed, i);
        gm_file* draft = nullptr;
        gm_status status =
            gm_file_open(ctx_, name_of(random_() % kNames).c_str(), GM_CREATE, &draft, &size);
        if (status != GM_OK) return fail("creating", gm_message());
        const gm_range halves[] = {{0, size / 2, memory_, 0, 0},
                                   {size / 2, size - size / 2, memory_ + size / 2, 1, 0}};
        gm_job* job = nullptr;
        status = gm_save(draft, halves, 2, nullptr, &job);
        if (status != GM_OK) fail("saving", gm_message());
        const bool gives_up = random_() % 8 == 0;
        if (gives_up && job != nullptr) gm_job_cancel(job);
        if (random_() % 8 != 0) {
            status = gm_commit(draft, 0, nullptr);
            if (!is_fair(status)) fail("committing", gm_message());
            if (status == GM_OK) ++saves;
        }
        gm_file_close(draft);
        if (job != nullptr) gm_job_wait(job, GM_ALL_GROUPS, -1);
        gm_job_free(job);
    }

    void load() {
        gm_file* file = nullptr;
        std::uint64_t size = 0;
        gm_status status = gm_file_open(ctx_, name_of(random_() % kNames).c_str(), 0, &file, &size);
        if (status != GM_OK) {
            ++misses;
            if (!is_fair(status)) fail("opening", gm_message());
            return;
        }
        std::memset(words(), 0, size);
        std::vector<gm_range> ranges;
        for (std::uint64_t at = 0; at < size;) {
            const std::uint64_t length = std::min(size - at, (random_() % 65536 + 1) * 8);
            ranges.push_back(
                {at, length, memory_ + at, static_cast<std::uint32_t>(random_() % 4), 0});
            at += length;
        }
        gm_opts opts{};
        opts.size = sizeof opts;
        opts.priority = static_cast<std::int32_t>(random_() % 3);
        if (random_() % 16 == 0) opts.deadline_us = 200;
        gm_job* job = nullptr;
        status = gm_prefetch(file, ranges.data(), static_cast<std::uint32_t>(ranges.size()), &opts,
                             &job);
        if (status != GM_OK) fail("loading", gm_message());
        if (random_() % 8 == 0) gm_job_reprioritize(job, 5);
        if (random_() % 8 == 0) gm_job_cancel(job);
        gm_file_close(file);
        status = gm_job_wait(job, GM_ALL_GROUPS, -1);
        if (!is_fair(status)) fail("loading", gm_strerror(status));
        if (status == GM_OK) check(size);
        gm_job_free(job);
    }

    void check(std::uint64_t size) {
        ++loads;
        const std::uint64_t seed = words()[0];
        for (std::uint64_t i = 0; i < size / 8; ++i) {
            if (words()[i] == word(seed, i)) continue;
            return fail("checking",
                        "word " + std::to_string(i) + " of " + std::to_string(size / 8));
        }
    }

    void look() {
        std::vector<std::string> names;
        std::vector<const char*> paths;
        for (int i = 0; i < kNames; ++i) names.push_back(name_of(static_cast<std::uint64_t>(i)));
        for (const std::string& name : names) paths.push_back(name.c_str());
        std::vector<gm_stat> stats(paths.size());
        if (gm_lookup(ctx_, paths.data(), kNames, stats.data()) != GM_OK)
            fail("looking up", gm_message());
    }

    gm_ctx* ctx_;
    std::mt19937_64 random_;
    gm_devptr memory_ = 0;
};

void remove_some(Daemon& daemon, const std::atomic<bool>& stop) {
    std::mt19937_64 random(5);
    const auto parent = must(daemon.files().lookup(kvfs::kRootIno, "v")).inode.ino;
    while (!stop) {
        static_cast<void>(daemon.files().unlink(parent, "f" + std::to_string(random() % kNames)));
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

void run(std::chrono::milliseconds how_long) {
    Daemon daemon({.dram_bytes = 64 * kMiB});
    std::atomic<bool> stop = false;
    Client shared(daemon.socket());
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 2; ++t)
        threads.emplace_back([&, t] {
            Engine engine(shared, t);
            while (!stop) engine.step();
        });
    for (std::uint64_t t = 2; t < 4; ++t)
        threads.emplace_back([&, t] {
            while (!stop) {
                Client own(daemon.socket());
                Engine engine(own, t);
                for (int i = 0; i < 50 && !stop; ++i) engine.step();
            }
        });
    threads.emplace_back([&] { remove_some(daemon, stop); });
    std::this_thread::sleep_for(how_long);
    stop = true;
    for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
    const char* from_make = std::getenv("KVFS_STRESS_SECONDS");
    const int seconds = argc > 1               ? std::atoi(argv[1])
                        : from_make != nullptr ? std::atoi(from_make)
                                               : 5;
    spdlog::set_level(spdlog::level::warn);
    const std::chrono::milliseconds half(seconds * 500);
    run(half);
    if (std::getenv("KVFS_BIN") != nullptr) {
        use_fake_cuda();
        run(half);
        if (!FakeCuda::complaint().empty()) fail("using CUDA", FakeCuda::complaint());
    }
    std::printf("gpumap_stress: %lu loads, %lu saves, %lu misses, %d failures\n", loads.load(),
                saves.load(), misses.load(), failures.load());
    return failures == 0 ? 0 : 1;
}
