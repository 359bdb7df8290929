#pragma once
#include <criterion/criterion.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/log.h"
#include "fs/cache/cache.h"
#include "tests/support/faulty_store.h"

namespace kvfs::tests {

/// A catalog that is a map.
class MapCatalog final : public Catalog {
  public:
    Result<ObjectRecord> find_object(ObjectId id) override {
        const MutexLock lock(mutex_);
        const auto found = records_.find(id);
        if (found == records_.end()) return Error{ENOENT};
        return found->second;
    }
    Status save_object(ObjectId id, const ObjectRecord& record) override {
        const MutexLock lock(mutex_);
        if (saves_fail_) return Error{ENOSPC};
        records_[id] = record;
        return {};
    }
    Status unsave_object(ObjectId id) override {
        const MutexLock lock(mutex_);
        records_.erase(id);
        return {};
    }
    ObjectLabel label_object(ObjectId id, const ObjectRecord& record) override {
        const MutexLock lock(mutex_);
        ObjectLabel label;
        label.path = names_[id];
        label.size = record.size;
        label.chunk_crcs = record.chunk_crcs;
        return label;
    }
    void lose_object(ObjectId id) override {
        const MutexLock lock(mutex_);
        records_.erase(id);
        lost_.insert(id);
        changed_.notify_all();
    }
    Result<std::vector<ObjectId>> stored_objects(ObjectId from, std::size_t count) override {
        const MutexLock lock(mutex_);
        std::vector<ObjectId> found;
        for (auto it = records_.lower_bound(from); it != records_.end() && found.size() < count;
             ++it)
            if (it->second.store_uid != 0) found.push_back(it->first);
        return found;
    }
    void record_uses(const std::vector<ObjectUse>& uses) override {
        const MutexLock lock(mutex_);
        for (const ObjectUse& use : uses) hits_[use.id] += use.hits;
    }

    void fail_saves(bool fail) {
        const MutexLock lock(mutex_);
        saves_fail_ = fail;
    }
    void name(ObjectId id, const std::string& path) {
        const MutexLock lock(mutex_);
        names_[id] = path;
    }
    void pin(ObjectId id) {
        const MutexLock lock(mutex_);
        records_[id].pinned = true;
    }
    bool lost(ObjectId id) {
        const MutexLock lock(mutex_);
        return lost_.count(id) != 0;
    }
    bool wait_lost(ObjectId id) {
        const Deadline until = deadline_after(std::chrono::seconds(10));
        MutexLock lock(mutex_);
        while (lost_.count(id) == 0)
            if (!changed_.wait_until(lock, until)) return false;
        return true;
    }
    std::uint64_t hits(ObjectId id) {
        const MutexLock lock(mutex_);
        return hits_[id];
    }

  private:
    Mutex mutex_;
    CondVar changed_;
    bool saves_fail_ GUARDED_BY(mutex_) = false;
    std::map<ObjectId, ObjectRecord> records_ GUARDED_BY(mutex_);
    std::map<ObjectId, std::string> names_ GUARDED_BY(mutex_);
    std::set<ObjectId> lost_ GUARDED_BY(mutex_);
    std::map<ObjectId, std::uint64_t> hits_ GUARDED_BY(mutex_);
};

/// A cache of 16 slabs of one MiB over stores that can be made to fail; most tests need only one.
class CacheFixture {
  public:
    static constexpr std::uint64_t kMiB = 1 << 20;
    static constexpr std::uint64_t kDramBytes = 16 * kMiB;

    explicit CacheFixture(std::uint64_t store_bytes = 1ULL << 30,
                          std::chrono::milliseconds io_timeout = std::chrono::seconds(10),
                          std::uint64_t dram_bytes = kDramBytes)
        : CacheFixture({store_bytes}, Cache::Options{.io_timeout = io_timeout}, dram_bytes) {}

    /// Stores of these sizes; the uid of each is its place, from 1 on.
    CacheFixture(const std::vector<std::uint64_t>& store_bytes, Cache::Options options,
                 std::uint64_t dram_bytes = kDramBytes) {
        // First, so that the log outlives a fixture that is static: reads may still be on their
        // way.
        static_cast<void>(spdlog::default_logger());
        auto arena = Arena::create({.bytes = dram_bytes});
        cr_assert(arena.ok());
        std::vector<std::unique_ptr<ObjectStore>> made;
        for (const std::uint64_t bytes : store_bytes) {
            auto faulty = std::make_unique<FaultyStore>(
                Faults{}, std::make_unique<MemoryStore>(bytes, made.size() + 1));
            stores.push_back(faulty.get());
            made.push_back(std::move(faulty));
        }
        store = stores.front();
        cache = std::make_unique<Cache>(*std::move(arena), std::move(made), options);
        cache->start(catalog);
    }

    static std::vector<std::byte> bytes(ObjectId id, std::size_t length) {
        std::vector<std::byte> all(length);
        for (std::size_t i = 0; i < length; ++i)
            all[i] = static_cast<std::byte>(id * 131 + i * 7 + (i >> 12));
        return all;
    }

    /// Writes the file `id` of `length` bytes and closes it.
    void write_file(ObjectId id, std::size_t length, VolumeId volume = 7) {
        ObjectPtr object = cache->add(id, volume, {});
        cr_assert(cache->opened(*object, true).ok());
        const Status written = cache->write(object, 0, bytes(id, length));
        cr_assert(written.ok(), "%s", written.ok() ? "" : written.error().message().c_str());
        cr_assert_not(cache->closed(std::move(object), {.writes = true}));
    }

    /// As write_file, and waits until the store has it.
    void store_file(ObjectId id, std::size_t length) {
        write_file(id, length);
        const auto written = cache->acquire(id);
        cr_assert(written.ok(), "%s", written.ok() ? "" : written.error().message().c_str());
        const Status synced = cache->sync(*written);
        cr_assert(synced.ok(), "%s", synced.ok() ? "" : synced.error().message().c_str());
    }

    void pin(ObjectId id) {
        catalog.pin(id);
        cache->set_pinned(id, true);
    }

    /// Puts `id` out of DRAM by writing others through it.
    void push_out(ObjectId id) {
        for (ObjectId other = 1'000'000 * id; resident(id) > 0; ++other) store_file(other, kMiB);
    }

    std::uint64_t resident(ObjectId id) const {
        const auto now = cache->residency(id);
        return now ? now->dram_bytes : 0;
    }

    /// The file's bytes, or the errno as a negative length in `error`.
    std::vector<std::byte> read_file(ObjectId id, std::size_t length, int* error = nullptr) {
        auto object = cache->acquire(id);
        if (!object) {
            if (error != nullptr) *error = object.error().code;
            return {};
        }
        const auto view = cache->read(*object, 0, length);
        if (!view) {
            if (error != nullptr) *error = view.error().code;
            return {};
        }
        std::vector<std::byte> all;
        for (const auto& span : view->spans) all.insert(all.end(), span.begin(), span.end());
        return all;
    }

    bool intact(ObjectId id, std::size_t length) {
        return read_file(id, length + 1) == bytes(id, length);
    }

    MapCatalog catalog;
    FaultyStore* store = nullptr;  ///< the first one
    std::vector<FaultyStore*> stores;
    std::unique_ptr<Cache> cache;
};

}  // namespace kvfs::tests
