#pragma once
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/store/object_store.h"
#include "fs/store/worker.h"
#include "tests/support/memory_store.h"

namespace kvfs::tests {

/// What goes wrong, each with a probability of 0..1, drawn from `seed`: print it when a test fails.
struct Faults {
    std::uint64_t seed = 1;
    double put_fails = 0;
    double open_fails = 0;
    double read_fails = 0;
    double read_flips_a_bit = 0;
    int error = EIO;
    std::chrono::milliseconds delay_max{0};  ///< of a put or a read, even over 0..delay_max
};

/// An ObjectStore whose device is bad: fails, dawdles, hangs and lies as told, above a store that
/// does not. Thread-safe.
class FaultyStore final : public ObjectStore {
  public:
    explicit FaultyStore(Faults faults = {},
                         std::unique_ptr<ObjectStore> below = std::make_unique<MemoryStore>())
        : faults_(faults), random_(faults.seed), below_(std::move(below)) {}
    ~FaultyStore() override { release(); }

    /// From now on these go wrong. Goes on with the random numbers of the old ones.
    void set_faults(const Faults& faults) {
        MutexLock lock(mutex_);
        faults_ = faults;
    }
    /// Puts and reads begun from now on do not end before release().
    void hang() {
        MutexLock lock(mutex_);
        hanging_ = true;
    }
    /// Puts alone.
    void hang_puts() {
        MutexLock lock(mutex_);
        puts_hang_ = true;
    }
    void release() {
        MutexLock lock(mutex_);
        hanging_ = puts_hang_ = false;
        changed_.notify_all();
    }
    /// As a directory that is removed, or whose file system is unmounted: nothing is found there
    /// any more.
    void vanish() {
        MutexLock lock(mutex_);
        gone_ = true;
        faults_ = {.put_fails = 1, .open_fails = 1, .error = ENOENT};
    }
    /// Puts and reads that were begun and have not ended.
    unsigned pending() const {
        MutexLock lock(mutex_);
        return pending_;
    }
    /// False when there were not `count` pending by then.
    bool wait_for_pending(unsigned count, Deadline deadline) {
        MutexLock lock(mutex_);
        while (pending_ != count)
            if (!changed_.wait_until(lock, deadline)) return pending_ == count;
        return true;
    }

    std::string name() const override { return "faulty:" + below_->name(); }
    std::uint64_t uid() const override { return below_->uid(); }

    void put(ObjectId id, const ObjectLabel& label, std::vector<std::span<const std::byte>> pieces,
             std::function<void(Status)> done) override {
        const Fate fate = draw(&Faults::put_fails, 0);
        auto over = [this, done = std::move(done)](Status status) {
            done(std::move(status));
            end();
        };
        puts_.post([this, fate, id, label, pieces = std::move(pieces), over = std::move(over)] {
            wait_for_puts();
            wait_out(fate);
            if (fate.error != 0)
                over(Error{fate.error, "a planted error"});
            else
                below_->put(id, label, pieces, over);
        });
    }

    Result<std::unique_ptr<ObjectReader>> open(ObjectId id) override {
        if (const int error = draw_error(&Faults::open_fails); error != 0)
            return Error{error, "a planted error"};
        auto reader = below_->open(id);
        if (!reader) return reader.error();
        return std::unique_ptr<ObjectReader>(
            std::make_unique<Reader>(*this, std::shared_ptr<ObjectReader>(*std::move(reader))));
    }

    Result<std::unique_ptr<ObjectFile>> open_in_place(ObjectId id) override {
        return below_->open_in_place(id);
    }
    void sync(ObjectId id, std::function<void(std::int64_t)> done) override {
        below_->sync(id, std::move(done));
    }
    void sync_all(std::function<void(std::int64_t)> done) override {
        below_->sync_all(std::move(done));
    }
    Status relabel(ObjectId id, const ObjectLabel& label) override {
        return below_->relabel(id, label);
    }
    Status remove(ObjectId id) override { return below_->remove(id); }
    Status scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) override {
        return below_->scan(visit);
    }
    Status present() override {
        MutexLock lock(mutex_);
        return gone_ ? Status(Error{ENOENT, "the store is gone"}) : Status{};
    }
    Result<ObjectExtent> extent(ObjectId id) override { return below_->extent(id); }
    bool draining() const override { return below_->draining(); }
    Status set_draining(bool on) override { return below_->set_draining(on); }
    std::uint64_t capacity() const override { return below_->capacity(); }

  private:
    /// What will become of one put or read.
    struct Fate {
        int error = 0;
        Deadline not_before{};
        bool flips = false;
        std::uint64_t bit = 0;
    };

    class Reader final : public ObjectReader {
      public:
        Reader(FaultyStore& store, std::shared_ptr<ObjectReader> below)
            : store_(store), below_(std::move(below)) {}

        void read(std::uint64_t offset, std::span<std::byte> into,
                  std::function<void(std::int64_t)> done) override {
            FaultyStore& store = store_;
            const Fate fate = store.draw(&Faults::read_fails, store.flips());
            auto over = [&store, into, fate, done = std::move(done)](std::int64_t result) {
                if (fate.flips && result > 0) {
                    const std::uint64_t bit = fate.bit % (8 * static_cast<std::uint64_t>(result));
                    into[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
                }
                done(result);
                store.end();
            };
            store.reads_.post([&store, fate, offset, into, below = below_, over = std::move(over)] {
                store.wait_out(fate);
                if (fate.error != 0)
                    over(-fate.error);
                else
                    below->read(offset, into, over);
            });
        }

        // No direct_fd: what others read by themselves could not be made to fail.
      private:
        FaultyStore& store_;
        std::shared_ptr<ObjectReader> below_;
    };

    double flips() {
        MutexLock lock(mutex_);
        return faults_.read_flips_a_bit;
    }
    bool happens(double probability) REQUIRES(mutex_) {
        return std::bernoulli_distribution(probability)(random_);
    }
    int draw_error(double Faults::*probability) {
        MutexLock lock(mutex_);
        return happens(faults_.*probability) ? faults_.error : 0;
    }
    Fate draw(double Faults::*failure, double flip) {
        MutexLock lock(mutex_);
        ++pending_;
        changed_.notify_all();
        const double share = std::uniform_real_distribution<>()(random_);
        const std::chrono::duration<double, std::milli> delay = share * faults_.delay_max;
        return {.error = happens(faults_.*failure) ? faults_.error : 0,
                .not_before = Clock::now() + std::chrono::duration_cast<Clock::duration>(delay),
                .flips = happens(flip),
                .bit = random_()};
    }
    void wait_for_puts() {
        MutexLock lock(mutex_);
        while (puts_hang_) changed_.wait(lock);
    }
    /// What waits holds up what comes after it.
    void wait_out(const Fate& fate) {
        MutexLock lock(mutex_);
        while (hanging_) changed_.wait(lock);
        while (Clock::now() < fate.not_before) changed_.wait_until(lock, fate.not_before);
    }
    void end() {
        MutexLock lock(mutex_);
        --pending_;
        changed_.notify_all();
    }

    mutable Mutex mutex_;
    CondVar changed_;
    Faults faults_ GUARDED_BY(mutex_);
    std::mt19937_64 random_ GUARDED_BY(mutex_);
    bool hanging_ GUARDED_BY(mutex_) = false;
    bool puts_hang_ GUARDED_BY(mutex_) = false;
    bool gone_ GUARDED_BY(mutex_) = false;
    unsigned pending_ GUARDED_BY(mutex_) = 0;
    const std::unique_ptr<ObjectStore> below_;
    // Last: their threads use the members above.
    Worker puts_{"faulty-puts"};
    Worker reads_{"faulty-reads"};
};

}  // namespace kvfs::tests
