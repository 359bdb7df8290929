#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/base/priority.h"
#include "fs/cache/catalog.h"
#include "fs/cache/content.h"
#include "fs/cache/volumes.h"
#include "fs/store/object_store.h"

namespace kvfs {

struct StoreTier;

/// A live file's bytes: open, in DRAM, or being moved. What is not live is known by its record
/// alone.
///
///     state    content (DRAM)      store                      writes
///     writing  writing, or none while empty   none                    go to content
///     sealed   whole, filling or none         none until spilled      turn it into scratch
///     scratch  none                           set; written in place   go to the store's file,
///                                                                     here or in the kernel
///     lost     none                           none                    fail (ESTALE)
///
/// writing -> sealed when the last writer closes (or syncs); writing, sealed -> scratch when it is
/// rewritten after sealing or outgrows its share of DRAM; any -> lost when corrupt, evicted or
/// unlinked. A sealed file has content or a store, or both, or is empty: then its record is all
/// that is kept of it, unless a sync has asked for an object. Truncation to nothing leads back to
/// writing.
struct Object {
    enum class State { writing, sealed, scratch, lost };

    Object(ObjectId object_id, VolumeId object_volume)
        : id(object_id), volume(object_volume), counted{object_volume} {}

    void set_standing(const Standing& standing) {
        priority = standing.priority;
        name = standing.name;
        parent = standing.parent;
    }
    Standing standing() const { return {priority, name, parent}; }
    /// For the policies of tiers; `bytes`: in the tier.
    FileUse use(std::uint64_t bytes = 0) const { return use_of(id, standing(), bytes); }

    const ObjectId id;

    /// Taken before any tier's lock and before the arena's; never while a catalog call runs.
    mutable Mutex mutex;
    CondVar changed;  ///< state, store, filling, writers or in-flight writes changed

    VolumeId volume GUARDED_BY(mutex);      ///< whose memory it is in
    VolumeShare counted GUARDED_BY(mutex);  ///< what it counts for, and in which volume
    State state GUARDED_BY(mutex) = State::writing;
    std::uint64_t size GUARDED_BY(mutex) = 0;
    std::shared_ptr<Content> content GUARDED_BY(mutex);
    StoreTier* store GUARDED_BY(mutex) = nullptr;
    bool empty_saved GUARDED_BY(mutex) = false;  ///< its record says so; no store has it
    /// A sync has asked for a store's copy, whatever its policy says; of an empty file, too.
    bool must_store GUARDED_BY(mutex) = false;
    std::vector<std::uint32_t> chunk_crcs GUARDED_BY(mutex);
    std::shared_ptr<ObjectFile> scratch_file GUARDED_BY(mutex);  ///< open while scratch and live
    std::uint64_t version GUARDED_BY(mutex) =
        0;                                   ///< grows when the bytes stop being the sealed ones
    unsigned handles GUARDED_BY(mutex) = 0;  ///< opens through the mount
    unsigned writers GUARDED_BY(mutex) = 0;  ///< of these, for writing
    unsigned closing GUARDED_BY(mutex) = 0;  ///< of these, with a close on its way
    unsigned backed GUARDED_BY(mutex) = 0;   ///< of handles: served by the kernel, past us
    std::int64_t backing_mtime_ns GUARDED_BY(mutex) = 0;  ///< last seen, while `backed`
    unsigned writes_in_flight GUARDED_BY(mutex) = 0;
    bool unfinished GUARDED_BY(mutex) = false;  ///< sealed by a sync, and its writer goes on
    bool unlinked GUARDED_BY(mutex) = false;
    bool fill_starting GUARDED_BY(mutex) = false;
    bool spilling GUARDED_BY(mutex) = false;      ///< being written to a store right now
    bool renamed GUARDED_BY(mutex) = false;       ///< while spilling: its label is out of date
    bool spill_failed GUARDED_BY(mutex) = false;  ///< the last try; it is tried again
    bool refused GUARDED_BY(mutex) = false;       ///< by a store's policy; until it is used again
    bool converting GUARDED_BY(mutex) = false;    ///< turning into scratch
    std::uint64_t charged GUARDED_BY(mutex) = 0;  ///< bytes that `store` counts for it

    std::atomic<bool> pinned = false;
    std::atomic<Priority> priority = Priority::normal;
    std::atomic<std::uint32_t> name = 0;  ///< as the next, of a FileUse
    std::atomic<ObjectId> parent = 0;
    std::atomic<std::int64_t> modified_ns = 0;  ///< wall clock of the last write; 0: none
};

/// What this host holds of the file, in DRAM or in a store, counted once.
inline std::uint64_t held_bytes(const Object& object) REQUIRES(object.mutex) {
    if (object.state == Object::State::scratch) return object.charged;
    const bool somewhere = object.content != nullptr || object.store != nullptr;
    return object.state != Object::State::lost && somewhere ? object.size : 0;
}

using ObjectPtr = std::shared_ptr<Object>;

}  // namespace kvfs
