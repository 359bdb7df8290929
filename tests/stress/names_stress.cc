// Several threads create, look up, rename, list and remove in the same few directories. What must
// hold at any moment is checked by readers, and what must hold in the end afterwards.
// Usage: names_stress [SECONDS]

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/clock.h"
#include "fs/names/namespace.h"

namespace {

using kvfs::Ino;
using kvfs::Namespace;

constexpr int kWriters = 4;
constexpr int kReaders = 4;
constexpr int kNames = 200;
constexpr Namespace::NewInode kFile{.mode = S_IFREG | 0644};
constexpr Namespace::NewInode kFolder{.mode = S_IFDIR | 0755};

std::atomic<int> failures{0};
std::atomic<std::uint64_t> done{0};

void expect(bool holds, const char* what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "names_stress: %s\n", what);
}

/// Whether it succeeded, or failed because another thread was there before.
template <typename T>
bool fair(const kvfs::Result<T>& result) {
    if (result.ok()) return true;
    const int code = result.error().code;
    return code == ENOENT || code == EEXIST || code == EXDEV;
}

class Stress {
  public:
    Stress(Namespace& names, std::vector<Ino> folders, std::chrono::seconds duration)
        : names_(names), folders_(std::move(folders)), end_(kvfs::deadline_after(duration)) {}

    void write(unsigned seed) {
        std::mt19937 random(seed);
        while (kvfs::Clock::now() < end_) {
            const Ino folder = folders_[random() % folders_.size()];
            const std::string name = "name-" + std::to_string(random() % kNames);
            change(random, folder, name);
            done.fetch_add(1, std::memory_order_relaxed);
        }
    }

    void read(unsigned seed) {
        std::mt19937 random(seed);
        while (kvfs::Clock::now() < end_) {
            const Ino folder = folders_[random() % folders_.size()];
            const std::string name = "name-" + std::to_string(random() % kNames);
            const auto found = names_.lookup(folder, name);
            expect(fair(found), "lookup failed");
            if (found) expect(found->parent == folder && found->name == name, "lookup is torn");
            if (found) expect(fair(names_.path(found->ino)), "path failed");
            if (random() % 64 == 0) list(folder);
            if (random() % 256 == 0) std::thread([&] { list(folder); }).join();
            done.fetch_add(1, std::memory_order_relaxed);
        }
    }

  private:
    void change(std::mt19937& random, Ino folder, const std::string& name) {
        const Ino other = folders_[random() % folders_.size()];
        const std::string new_name = "name-" + std::to_string(random() % kNames);
        switch (random() % 6) {
            case 0:
            case 1:
                return expect(fair(names_.create(folder, name, kFile)), "create failed");
            case 2: {
                const auto flag = static_cast<Namespace::RenameFlag>(random() % 3);
                const auto renamed = names_.rename(folder, name, other, new_name, flag);
                expect(fair(renamed), "rename failed");
                if (renamed && renamed->replaced) {
                    expect(names_.erase(renamed->replaced->ino).ok(), "erase failed");
                }
                return;
            }
            case 3: {
                const auto orphan = names_.unlink(folder, name);
                expect(fair(orphan), "unlink failed");
                if (orphan) expect(names_.erase(orphan->ino).ok(), "erase failed");
                return;
            }
            case 4: {
                const auto found = names_.lookup(folder, name);
                if (!found) return;
                expect(names_.record_uses({{found->ino, kvfs::wall_ns(), 1}}).ok(), "uses failed");
                expect(fair(names_.change(found->ino, {.mode = 0600})), "change failed");
                return;
            }
            default: {
                const auto found = names_.lookup(folder, name);
                if (!found) return;
                const kvfs::Placement placement{.size = 1, .chunk_crcs = {1, 2, 3}};
                expect(fair(names_.set_placement(found->ino, placement)), "placement failed");
                expect(fair(names_.set_xattr(found->ino, "user.a", "value",
                                             Namespace::XattrMode::any)),
                       "set_xattr failed");
            }
        }
    }

    void list(Ino folder) {
        std::string last;
        const auto listed = names_.list(folder, "", [&](const Namespace::Entry& entry) {
            expect(last < entry.name, "a listing is out of order");
            last = entry.name;
            return true;
        });
        expect(listed.ok(), "list failed");
    }

    Namespace& names_;
    const std::vector<Ino> folders_;
    const kvfs::Deadline end_;
};

/// Every folder's count of entries is the number of them; nothing is left of what was removed.
void check_end(Namespace& names, const std::vector<Ino>& folders) {
    std::uint64_t files = 0;
    for (const Ino folder : folders) {
        std::uint64_t entries = 0;
        const auto listed = names.list(folder, "", [&](const Namespace::Entry& entry) {
            ++entries;
            if (entry.type == S_IFREG) ++files;
            return true;
        });
        expect(listed.ok() && names.get(folder)->size == entries, "a directory is miscounted");
    }
    expect(names.counts().files == files, "the namespace is miscounted");
    const auto unsettled = names.unsettled();
    expect(unsettled.ok() && std::none_of(unsettled->begin(), unsettled->end(),
                                          [](const auto& inode) { return inode.nlink == 0; }),
           "an orphan is left");
}

int run(const std::string& directory, std::chrono::seconds duration) {
    const auto opened = Namespace::open({.directory = directory});
    if (!opened) {
        std::fprintf(stderr, "names_stress: %s\n", opened.error().message().c_str());
        return 1;
    }
    Namespace& names = **opened;
    std::vector<Ino> folders;
    for (const char* name : {"v", "w"})
        folders.push_back(names.create(kvfs::kRootIno, name, kFolder)->ino);
    folders.push_back(names.create(folders[0], "inner", kFolder)->ino);

    Stress stress(names, folders, duration);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kWriters; ++i) threads.emplace_back([&, i] { stress.write(i); });
    for (unsigned i = 0; i < kReaders; ++i) threads.emplace_back([&, i] { stress.read(100 + i); });
    std::thread syncer([&] { expect(names.sync().ok(), "sync failed"); });
    for (auto& thread : threads) thread.join();
    syncer.join();

    check_end(names, folders);
    expect(names.close_clean().ok(), "close_clean failed");
    std::printf("names_stress: %lu operations, %d failures\n",
                static_cast<unsigned long>(done.load()), failures.load());
    return failures == 0 ? 0 : 1;
}

std::chrono::seconds duration_from(int argc, char** argv) {
    const char* given = argc > 1 ? argv[1] : std::getenv("KVFS_STRESS_SECONDS");
    return std::chrono::seconds(given != nullptr ? std::max(std::atoi(given), 1) : 2);
}

}  // namespace

int main(int argc, char** argv) {
    std::string directory = std::filesystem::temp_directory_path() / "kvfs-names-XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) return 1;
    const int status = run(directory, duration_from(argc, argv));
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
    return status;
}
