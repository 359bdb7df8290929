#pragma once
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/store/object_store.h"
#include "fs/store/worker.h"

namespace kvfs::tests {

/// The simplest ObjectStore: objects in a map. For tests of what stands above stores, and the
/// measure for tests/contract.
class MemoryStore final : public ObjectStore {
  public:
    explicit MemoryStore(std::uint64_t capacity_bytes = 1ULL << 30,
                         std::uint64_t uid = 0x6d656d6f7279)
        : capacity_(capacity_bytes), uid_(uid) {}

    std::string name() const override { return "memory:" + std::to_string(uid_); }
    std::uint64_t uid() const override { return uid_; }

    void put(ObjectId id, const ObjectLabel& label, std::vector<std::span<const std::byte>> pieces,
             std::function<void(Status)> done) override {
        worker_.post([this, id, label, pieces = std::move(pieces), done = std::move(done)] {
            auto bytes = std::make_shared<std::vector<std::byte>>();
            bytes->reserve(label.size);
            for (const auto piece : pieces) bytes->insert(bytes->end(), piece.begin(), piece.end());
            {
                MutexLock lock(mutex_);
                objects_[id] = {label, std::move(bytes)};
            }
            done({});
        });
    }

    Result<std::unique_ptr<ObjectReader>> open(ObjectId id) override {
        MutexLock lock(mutex_);
        const auto found = objects_.find(id);
        if (found == objects_.end()) return Error{ENOENT, {}};
        return std::unique_ptr<ObjectReader>(
            std::make_unique<Reader>(worker_, found->second.bytes));
    }

    void sync(ObjectId id, std::function<void(std::int64_t)> done) override {
        MutexLock lock(mutex_);
        done(objects_.contains(id) ? 0 : -ENOENT);
    }

    void sync_all(std::function<void(std::int64_t)> done) override { done(0); }

    Status relabel(ObjectId id, const ObjectLabel& label) override {
        MutexLock lock(mutex_);
        const auto found = objects_.find(id);
        if (found == objects_.end()) return Error{ENOENT, {}};
        found->second.label = label;
        return {};
    }

    Status remove(ObjectId id) override {
        MutexLock lock(mutex_);
        objects_.erase(id);
        return {};
    }

    Status scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) override {
        std::vector<std::pair<ObjectId, ObjectLabel>> labels;
        {
            MutexLock lock(mutex_);
            for (const auto& [id, object] : objects_) labels.emplace_back(id, object.label);
        }
        for (const auto& [id, label] : labels)
            if (!visit(id, label)) break;
        return {};
    }

    Result<ObjectExtent> extent(ObjectId id) override {
        MutexLock lock(mutex_);
        const auto found = objects_.find(id);
        if (found == objects_.end()) return Error{ENOENT, {}};
        const std::uint64_t size = found->second.bytes->size();
        return ObjectExtent{size, size, found->second.label.mtime_ns};
    }

    bool draining() const override { return draining_; }
    Status set_draining(bool on) override {
        draining_ = on;
        return {};
    }
    std::uint64_t capacity() const override { return capacity_; }

  private:
    using Bytes = std::shared_ptr<const std::vector<std::byte>>;
    struct Object {
        ObjectLabel label;
        Bytes bytes;
    };

    class Reader final : public ObjectReader {
      public:
        Reader(Worker& worker, Bytes bytes) : worker_(worker), bytes_(std::move(bytes)) {}
        void read(std::uint64_t offset, std::span<std::byte> into,
                  std::function<void(std::int64_t)> done) override {
            worker_.post([bytes = bytes_, offset, into, done = std::move(done)] {
                const std::size_t start = std::min<std::uint64_t>(offset, bytes->size());
                const std::size_t length = std::min(into.size(), bytes->size() - start);
                std::copy_n(bytes->data() + start, length, into.data());
                done(static_cast<std::int64_t>(length));
            });
        }

      private:
        Worker& worker_;
        Bytes bytes_;
    };

    const std::uint64_t capacity_;
    const std::uint64_t uid_;
    std::atomic<bool> draining_ = false;
    Mutex mutex_;
    std::map<ObjectId, Object> objects_ GUARDED_BY(mutex_);
    Worker worker_{"memory-store"};  ///< last: its thread uses the members above
};

}  // namespace kvfs::tests
