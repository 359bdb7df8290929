// Threads create, read, lease, rewrite, rename and unlink files over a DRAM tier and an SSD quota
// that hold only a part of them, so that spills, fills and evictions run all the time. Every file
// tells what its bytes must be, so that whoever gets hold of one can check it. Without FUSE, for
// ThreadSanitizer. Usage: files_stress [SECONDS]

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/files/files.h"
#include "fs/store/ssd_store.h"

namespace {

using kvfs::Files;
using kvfs::Ino;
using kvfs::Namespace;

constexpr std::uint64_t kDramBytes = 4 << 20;
constexpr std::uint64_t kSsdBytes = 6 << 20;
constexpr std::size_t kFileBytesMax = 192 << 10;
constexpr int kNames = 250;
constexpr int kVolumes = 3;
constexpr Namespace::NewInode kFile{.mode = S_IFREG | 0644};
constexpr Namespace::NewInode kFolder{.mode = S_IFDIR | 0755};

std::atomic<int> failures{0};
std::atomic<std::uint64_t> operations{0};
std::atomic<std::uint64_t> next_file{1};

void fail(const char* doing, const std::string& what) {
    if (++failures <= 20) std::fprintf(stderr, "files_stress: %s: %s\n", doing, what.c_str());
}

/// Whether it succeeded, or failed because another thread, or eviction, was there before.
template <typename T>
bool fair(const char* doing, const kvfs::Result<T>& result) {
    if (result.ok()) return true;
    const int code = result.error().code;
    if (code != ENOENT && code != EEXIST && code != ESTALE) fail(doing, result.error().message());
    return false;
}

/// Word 0 is the file's number, word 1 its count of words, the others follow from number and place.
std::uint64_t word(std::uint64_t number, std::uint64_t place) {
    return (number * 0x9E3779B97F4A7C15ULL) ^ (place * 0xC2B2AE3D27D4EB4FULL);
}
std::vector<std::uint64_t> contents(std::uint64_t number, std::size_t words) {
    std::vector<std::uint64_t> all(words);
    for (std::size_t i = 0; i < words; ++i) all[i] = word(number, i);
    all[0] = number;
    all[1] = words;
    return all;
}

void check(const char* how, const std::vector<std::uint64_t>& words, std::size_t bytes) {
    if (words.size() < 2 || words.size() * 8 != bytes || words[1] != words.size()) {
        return fail(how, "a file of " + std::to_string(bytes) + " bytes is not whole");
    }
    for (std::size_t i = 2; i < words.size(); ++i) {
        if (words[i] != word(words[0], i)) {
            return fail(how, "file " + std::to_string(words[0]) + " has other bytes at word " +
                                 std::to_string(i) + " of " + std::to_string(words.size()));
        }
    }
}

/// Everything a daemon has but its fronts, over one directory.
struct World {
    std::unique_ptr<Namespace> names;
    std::unique_ptr<kvfs::Cache> cache;
    std::unique_ptr<Files> files;
    std::vector<Ino> volumes;

    ~World() {
        files.reset();
        cache.reset();
        if (names) static_cast<void>(names->close_clean());
    }
};

template <typename T>
T need(const char* what, kvfs::Result<T> result) {
    if (result.ok()) return std::move(*result);
    std::fprintf(stderr, "files_stress: %s: %s\n", what, result.error().message().c_str());
    std::exit(1);
}

/// Into `world`, which cannot be moved: its parts know one another.
void open_world(const std::string& directory, World& world) {
    world.names = need("names", Namespace::open({.directory = directory + "/names"}));
    std::vector<std::unique_ptr<kvfs::ObjectStore>> stores;
    stores.push_back(need("store", kvfs::SsdStore::open({.directory = directory + "/ssd",
                                                         .quota_bytes = kSsdBytes})));
    auto arena = need("arena", kvfs::Arena::create({.bytes = kDramBytes}));
    world.cache =
        std::make_unique<kvfs::Cache>(std::move(arena), std::move(stores), kvfs::Cache::Options{});
    world.files = need("files", Files::open(*world.names, *world.cache));
    for (int v = 0; v < kVolumes; ++v) {
        const std::string name = "volume" + std::to_string(v);
        auto found = world.names->lookup(kvfs::kRootIno, name);
        if (!found.ok()) found = world.names->create(kvfs::kRootIno, name, kFolder);
        world.volumes.push_back(need("volume", std::move(found)).ino);
    }
}

class Stress {
  public:
    Stress(World& world, kvfs::Deadline end) : world_(world), files_(*world.files), end_(end) {}

    /// `role`: what the thread does again and again until the end.
    void run(void (Stress::*role)(std::mt19937&), unsigned seed) {
        std::mt19937 random(seed);
        while (kvfs::Clock::now() < end_ && failures == 0) {
            (this->*role)(random);
            operations.fetch_add(1, std::memory_order_relaxed);
        }
    }

    /// As engines do: a temporary name, pieces, close, rename over the final name.
    void save(std::mt19937& random) {
        const std::uint64_t number = next_file++;
        const auto words = contents(number, 2 + random() % (kFileBytesMax / 8 - 2));
        const auto bytes = std::as_bytes(std::span(words));
        const Ino volume = any_volume(random);
        const std::string tmp = "tmp." + std::to_string(number);
        auto created = files_.create(volume, tmp, kFile);
        if (!fair("create", created)) return;
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t piece =
                std::min<std::size_t>(bytes.size() - at, 1 + random() % 75'000);
            const auto written = files_.write(*created->handle, at, bytes.subspan(at, piece));
            if (!fair("write", written)) break;
            at += piece;
        }
        files_.release(std::move(created->handle));
        const Ino to = random() % 4 == 0 ? any_volume(random) : volume;
        fair("publish",
             files_.rename(volume, tmp, to, any_name(random), Namespace::RenameFlag::replace));
    }

    void read(std::mt19937& random) {
        const auto found = files_.lookup(any_volume(random), any_name(random));
        if (!fair("lookup", found)) return;
        auto handle = files_.open(found->inode.ino, {});
        if (!fair("open", handle)) return;
        std::vector<std::uint64_t> words(kFileBytesMax / 8);
        std::size_t done = 0;
        for (;;) {
            auto view = files_.read(**handle, done, 1 + random() % 125'000);
            if (!fair("read", view)) break;
            if (view->size() == 0) {
                words.resize((done + 7) / 8);
                check("read", words, done);
                break;
            }
            for (const auto& span : view->spans) {
                std::memcpy(reinterpret_cast<std::byte*>(words.data()) + done, span.data(),
                            span.size());
                done += span.size();
            }
        }
        files_.release(std::move(*handle));
    }

    /// As a mapper client: the bytes where they lie.
    void lease(std::mt19937& random) {
        const auto found = files_.lookup(any_volume(random), any_name(random));
        if (!fair("lookup", found)) return;
        const auto lease = files_.lease(found->inode.ino);
        if (!fair("lease", lease) || lease->size == 0) return;
        std::vector<std::uint64_t> words((lease->size + 7) / 8);
        auto* to = reinterpret_cast<std::byte*>(words.data());
        if (lease->content) {
            const auto until = kvfs::deadline_after(std::chrono::seconds(10));
            if (!fair("lease", lease->content->wait(0, lease->size, until))) return;
            for (const auto& span : lease->content->spans(0, lease->size)) {
                std::memcpy(to, span.data(), span.size());
                to += span.size();
            }
        } else if (lease->reader) {
            std::size_t done = 0;
            for (;;) {
                const ssize_t n = ::pread(lease->reader->direct_fd(), page_.get(), kPageBytes,
                                          static_cast<off_t>(done));
                if (n <= 0) break;
                std::memcpy(to + done, page_.get(), static_cast<std::size_t>(n));
                done += static_cast<std::size_t>(n);
            }
            if (done != lease->size) return fail("lease", "its object is short");
        }
        check("lease", words, lease->size);
    }

    /// A file of one's own, rewritten in place after it was sealed.
    void rewrite(std::mt19937& random) {
        const std::string name = "own." + std::to_string(next_file++);
        const Ino volume = any_volume(random);
        auto created = files_.create(volume, name, kFile);
        if (!fair("create", created)) return;
        const Ino ino = created->attributes.inode.ino;
        std::vector<std::byte> bytes(1 + random() % 100'000, std::byte{1});
        fair("write", files_.write(*created->handle, 0, bytes));
        files_.release(std::move(created->handle));
        auto handle = files_.open(ino, {.write = true});
        if (!fair("open", handle)) return;
        const std::size_t at = random() % bytes.size();
        const std::size_t length = 1 + random() % (bytes.size() - at);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{2});
        fair("rewrite", files_.write(**handle, at, std::span(bytes).subspan(at, length)));
        const auto view = files_.read(**handle, 0, bytes.size());
        if (fair("read back", view)) {
            std::size_t done = 0;
            for (const auto& span : view->spans) {
                if (!std::equal(span.begin(), span.end(), bytes.data() + done)) {
                    fail("rewrite", "reads back as something else");
                }
                done += span.size();
            }
            if (done != bytes.size()) fail("rewrite", "reads back short");
        }
        fair("unlink", files_.unlink(volume, name));
        files_.release(std::move(*handle));
    }

    void shuffle(std::mt19937& random) {
        const Ino volume = any_volume(random);
        const std::string name = any_name(random);
        switch (random() % 4) {
            case 0:
                fair("unlink", files_.unlink(volume, name));
                break;
            case 1:
                fair("rename", files_.rename(volume, name, any_volume(random), any_name(random),
                                             Namespace::RenameFlag::replace));
                break;
            case 2:
                fair("exchange", files_.rename(volume, name, any_volume(random), any_name(random),
                                               Namespace::RenameFlag::exchange));
                break;
            default:
                world_.cache->flush_uses();
        }
    }

    /// What all names hold, by one thread alone. Returns how many there are.
    int check_all() {
        int files = 0;
        for (const Ino volume : world_.volumes) {
            std::vector<std::string> listed;
            fair("list", world_.names->list(volume, "", [&](const Namespace::Entry& entry) {
                listed.emplace_back(entry.name);
                return true;
            }));
            for (const auto& name : listed) {
                const auto found = files_.lookup(volume, name);
                if (!fair("lookup", found)) continue;
                auto handle = files_.open(found->inode.ino, {});
                if (!fair("open", handle)) continue;
                const auto view = files_.read(**handle, 0, kFileBytesMax);
                std::vector<std::uint64_t> words;
                if (fair("read", view) && !name.starts_with("own.")) {
                    words.resize((view->size() + 7) / 8);
                    auto* to = reinterpret_cast<std::byte*>(words.data());
                    for (const auto& span : view->spans) {
                        to = std::copy(span.begin(), span.end(), to);
                    }
                    check("final read", words, view->size());
                }
                files_.release(std::move(*handle));
                ++files;
            }
        }
        return files;
    }

  private:
    static constexpr std::size_t kPageBytes = 64 << 10;
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    Ino any_volume(std::mt19937& random) const { return world_.volumes[random() % kVolumes]; }
    static std::string any_name(std::mt19937& random) {
        return "name." + std::to_string(random() % kNames);
    }

    World& world_;
    Files& files_;
    kvfs::Deadline end_;
    /// O_DIRECT needs its memory aligned. One thread leases.
    std::unique_ptr<void, Free> page_{std::aligned_alloc(4096, kPageBytes)};
};

std::string make_directory() {
    const char* wanted = std::getenv("KVFS_TEST_DIR");
    std::string path =
        std::string(wanted == nullptr ? "/var/tmp" : wanted) + "/files_stress.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
        std::perror(path.c_str());
        std::exit(1);
    }
    std::filesystem::create_directory(path + "/ssd");
    return path;
}

}  // namespace

int main(int argc, char** argv) {
    const char* given = argc > 1 ? argv[1] : std::getenv("KVFS_STRESS_SECONDS");
    const int seconds = given != nullptr ? std::atoi(given) : 3;
    spdlog::set_level(spdlog::level::warn);
    const std::string directory = make_directory();
    int files = 0;
    {
        World world;
        open_world(directory, world);
        Stress stress(world, kvfs::deadline_after(std::chrono::seconds(seconds)));
        std::vector<std::thread> threads;
        unsigned seed = std::random_device()();
        for (auto role : {&Stress::save, &Stress::save, &Stress::save, &Stress::read, &Stress::read,
                          &Stress::lease, &Stress::rewrite, &Stress::shuffle}) {
            threads.emplace_back([&stress, role, seed] { stress.run(role, seed); });
            ++seed;
        }
        for (auto& thread : threads) thread.join();
        const auto& counters = world.cache->counters();
        std::printf(
            "files_stress: %llu operations, %llu spills, %llu fills, %llu and %llu evicted\n",
            static_cast<unsigned long long>(operations),
            static_cast<unsigned long long>(counters.spills),
            static_cast<unsigned long long>(counters.fills),
            static_cast<unsigned long long>(counters.dram_evictions),
            static_cast<unsigned long long>(counters.store_evictions));
#if !defined(__SANITIZE_THREAD__)  // which makes all of it many times slower
        if (seconds >= 2 && (counters.spills == 0 || counters.fills == 0 ||
                             counters.dram_evictions == 0 || counters.store_evictions == 0)) {
            fail("pressure", "something of all that did not run");
        }
#endif
        files = stress.check_all();
    }
    {
        World world;
        open_world(directory, world);
        Stress stress(world, kvfs::Clock::now());
        const int after = stress.check_all();
        // What was spilled at the end may have displaced a few.
        if (after > files || after < files * 4 / 5) {
            fail("restart",
                 std::to_string(files) + " files before, " + std::to_string(after) + " after");
        }
    }
    std::filesystem::remove_all(directory);
    std::printf("files_stress: %s, %d files in the end\n", failures == 0 ? "passed" : "FAILED",
                files);
    return failures == 0 ? 0 : 1;
}
