#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/cache/checksums.h"
#include "fs/cache/volumes.h"
#include "fs/store/arena.h"

namespace kvfs {

/// Bytes of a file, valid while the view lives.
struct ReadView {
    std::vector<std::span<const std::byte>> spans;  ///< in file order
    std::shared_ptr<const void> keep;               ///< what holds the bytes
    std::size_t size() const {
        std::size_t total = 0;
        for (const auto& span : spans) total += span.size();
        return total;
    }
};

/// Wakes who waits for DRAM: something was given back, or became evictable. Thread-safe; changed()
/// is cheap while nobody waits.
class Room {
  public:
    void changed() {
        changes_.fetch_add(1);
        if (waiters_.load() == 0) return;
        const MutexLock lock(mutex_);  // a waiter between its check and its wait holds it
        cv_.notify_all();
    }
    std::uint64_t changes() const { return changes_.load(); }
    /// Waits until changes() differs from `seen`. False when the deadline passed first.
    bool wait(std::uint64_t seen, Deadline deadline) {
        MutexLock lock(mutex_);
        waiters_.fetch_add(1);
        bool in_time = true;
        while (in_time && changes_.load() == seen) in_time = cv_.wait_until(lock, deadline);
        waiters_.fetch_sub(1);
        return changes_.load() != seen;
    }

  private:
    std::atomic<std::uint64_t> changes_ = 0;
    std::atomic<unsigned> waiters_ = 0;
    Mutex mutex_;
    CondVar cv_;
};

/// A file's bytes in DRAM. Whoever holds a shared_ptr to it may read them; the memory goes back to
/// the arena with the last holder, so nothing is ever recycled under a reader or a device.
///
///     state      bytes                                    who writes them
///     writing    [0, size) valid, size grows              writers, through Object
///     filling    chunk i valid once landed(i)             one fill, from a store
///     whole      all valid, immutable                     nobody
///
/// Only `filling -> whole` and `writing -> whole` happen; a content never becomes writable again.
class Content {
  public:
    /// `room` hears when the memory is given back, and must outlive the content.
    Content(Allocation memory, std::uint64_t size, Room& room)
        : memory_(std::move(memory)), size_(size), room_(room) {}
    ~Content() {
        memory_ = Allocation();
        room_.changed();
    }
    Content(const Content&) = delete;
    Content& operator=(const Content&) = delete;

    std::uint64_t size() const { return size_; }
    std::uint64_t capacity() const { return memory_.bytes(); }
    std::span<const Extent> extents() const { return memory_.extents(); }
    /// Memory of file bytes [offset, offset + length), in order. Requires: within capacity().
    std::vector<std::span<std::byte>> spans(std::uint64_t offset, std::uint64_t length) const {
        return memory_.spans(offset, length);
    }

    // While writing; the Object's mutex guards these.
    Allocation& memory() { return memory_; }
    void set_size(std::uint64_t size) { size_ = size; }
    Checksums& checksums() { return checksums_; }
    /// Of a draft: what it counts for in its volume, until take_share() has made it a file's.
    void hold_share(std::unique_ptr<DraftShare> share) { share_ = std::move(share); }
    VolumeShare take_share() { return share_ == nullptr ? VolumeShare{} : share_->take(); }

    // While filling.
    /// Declares that the bytes are still to come, in `chunks` chunks of kChunkBytes.
    void start_fill(std::size_t chunks);
    /// Chunk `index` is valid. The last one makes the content whole.
    void landed(std::size_t index);
    /// The fill has failed: waiters, now and later, get EIO.
    void fail(Error error);
    /// What has come so far.
    struct Progress {
        std::uint64_t bytes = 0;  ///< from the front of the file, that are valid
        Error error{0, {}};       ///< of a fill that has failed (EBADMSG: by checksum); or code 0
    };
    Progress progress() const;
    /// `news` is called whenever progress() has changed, on any thread, until the fill ends. Must
    /// not block, nor call the content.
    void on_news(std::function<void()> news);
    /// Waits until file bytes [offset, offset + length) are valid.
    /// Errors: EIO - the fill has failed; ETIMEDOUT - `deadline` passed.
    Status wait(std::uint64_t offset, std::uint64_t length, Deadline deadline);
    /// The chunk that somebody waited for last, if it is missing still.
    std::optional<std::size_t> wanted() const;
    bool whole() const;

    /// A pointer to `content` for a reader: the file is not evicted from DRAM while it lives, and
    /// who waits for room hears when it goes.
    static std::shared_ptr<Content> hold(std::shared_ptr<Content> content);

  private:
    Allocation memory_;
    std::uint64_t size_;
    Checksums checksums_;
    std::unique_ptr<DraftShare> share_;
    Room& room_;
    mutable Mutex mutex_;
    CondVar landed_cv_;
    std::vector<bool> missing_ GUARDED_BY(mutex_);  ///< empty unless filling
    std::size_t missing_count_ GUARDED_BY(mutex_) = 0;
    std::size_t first_missing_ GUARDED_BY(mutex_) = 0;
    std::vector<std::function<void()>> news_ GUARDED_BY(mutex_);
    std::size_t wanted_ GUARDED_BY(mutex_) = 0;
    Error error_ GUARDED_BY(mutex_){0, {}};
};

}  // namespace kvfs
