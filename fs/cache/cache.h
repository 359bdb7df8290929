#pragma once
#include <tbb/concurrent_hash_map.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/base/result.h"
#include "fs/cache/catalog.h"
#include "fs/cache/content.h"
#include "fs/cache/eviction_order.h"
#include "fs/cache/growing_list.h"
#include "fs/cache/object.h"
#include "fs/cache/volumes.h"
#include "fs/store/arena.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// Where the bytes of a sealed file are, and the promise that they stay while this lives.
struct Lease {
    VolumeId volume = 0;
    std::uint64_t size = 0;
    std::shared_ptr<Content> content;       ///< in DRAM; or null, and then
    std::shared_ptr<ObjectReader> reader;   ///< in a store
    std::vector<std::uint32_t> chunk_crcs;  ///< of the store's bytes; empty for a scratch file
};

/// Whether a lease on a file that is only in a store brings it into DRAM first.
enum class Fill {
    running,  ///< no; but a fill that runs anyway is shared
    if_room,  ///< if room can be had without waiting for others
    always,   ///< waits for room; without, there is no lease
};

/// One store below DRAM, with what the cache knows of it.
struct StoreTier {
    explicit StoreTier(MakePolicy policy) : order(policy) {}

    mutable Mutex mutex;  ///< innermost, with the arena's
    EvictionOrder order GUARDED_BY(mutex);
    std::uint64_t used GUARDED_BY(mutex) = 0;
    std::uint64_t files GUARDED_BY(mutex) = 0;
    unsigned spills GUARDED_BY(mutex) = 0;            ///< being written to it right now
    std::string failure GUARDED_BY(mutex);            ///< the last one, for people
    std::uint64_t drain_moves GUARDED_BY(mutex) = 0;  ///< bytes that may displace others elsewhere
    std::atomic<bool> draining = false;               ///< nothing new comes here
    /// Steady-clock nanoseconds until which the store is not written to, after it failed; 0:
    /// healthy.
    std::atomic<std::int64_t> degraded_until_ns = 0;
    /// Last: its end waits for transfers, whose completions use the rest.
    std::unique_ptr<ObjectStore> store;
};

/// Counts since the daemon started.
struct CacheCounters {
    std::atomic<std::uint64_t> dram_read_bytes = 0;   ///< served from DRAM, mount and mapper
    std::atomic<std::uint64_t> store_read_bytes = 0;  ///< fills and mapper reads, from stores
    std::atomic<std::uint64_t> written_bytes = 0;     ///< by clients
    std::atomic<std::uint64_t> spilled_bytes = 0;     ///< DRAM to stores
    std::atomic<std::uint64_t> dram_hits = 0;         ///< opens and leases of files in DRAM
    std::atomic<std::uint64_t> store_hits = 0;        ///< of files that were only in a store
    std::atomic<std::uint64_t> spills = 0;
    std::atomic<std::uint64_t> refusals = 0;  ///< files that a full store's policy did not want
    std::atomic<std::uint64_t> fills = 0;
    std::atomic<std::uint64_t> dram_evictions = 0;  ///< files that left DRAM for want of room
    std::atomic<std::uint64_t> store_evictions =
        0;  ///< files that left their store, and so are gone
    std::atomic<std::uint64_t> checksum_errors = 0;
    std::atomic<std::uint64_t> store_errors = 0;
    std::atomic<std::uint64_t> writer_waits = 0;  ///< reservations that had to wait for room
    std::atomic<std::uint64_t> scrubbed_bytes = 0;
    std::atomic<std::uint64_t> scrub_errors = 0;   ///< damaged objects that the scrub has found
    std::atomic<std::uint64_t> scrub_rounds = 0;   ///< times that it was through with all
    std::atomic<std::uint64_t> drained_bytes = 0;  ///< moved from a store to another
};

/// Bytes of files in DRAM and below: residency, write-behind, fills, eviction. Knows files by
/// number only; names and records are the catalog's.
///
/// Locks, in the order in which they are taken: a table entry (accessor), an object's mutex, then
/// one tier's mutex or the arena's. No lock is held over I/O, a wait for room, or a catalog call,
/// except that lose_object runs under the table entry of the file it concerns. Threads of its own:
/// the spiller, the evictor, the scrubber and the keeper; completions run on the stores' threads.
class Cache {
  public:
    struct Options {
        std::chrono::milliseconds io_timeout{30'000};  ///< bound on every wait
        double watermark_high = 0.95;         ///< of a tier: eviction in the background starts here
        double watermark_low = 0.90;          ///< and stops here
        std::uint64_t file_bytes_max = 0;     ///< most DRAM for one file; 0: a quarter of the arena
        MakePolicy policy = make_lru;         ///< of every tier: which file leaves it first
        std::uint64_t scrub_bytes_per_s = 0;  ///< read from stores to check them; 0: never
        std::chrono::milliseconds scrub_round = std::chrono::hours(24);  ///< at least, from start
                                                                         ///< to start
    };
    static constexpr std::size_t kStoresMax = 64;

    /// Requires: at most kStoresMax stores.
    Cache(std::unique_ptr<Arena> arena, std::vector<std::unique_ptr<ObjectStore>> stores,
          Options options);
    /// stop()s.
    ~Cache();
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;

    /// Starts the threads. Once, before any other call.
    void start(Catalog& catalog);
    /// Removes from every store what an earlier run may have left of a file that is no more.
    void purge(ObjectId id);
    /// A file that a store holds since an earlier run.
    struct StoredFile {
        ObjectId id = 0;
        std::uint64_t bytes = 0;  ///< that it holds there
        VolumeId volume = 0;
        Standing standing{};
    };
    /// Call in order of last use, oldest first.
    void recall(std::uint64_t store_uid, const StoredFile& file);
    /// Errors: E2BIG - there are kStoresMax; EEXIST - one has its uid.
    Status may_add(const ObjectStore& store) const;
    /// One more store, from now on, with what it holds since an earlier run. One call at a time.
    /// Requires: may_add().
    void add_store(std::unique_ptr<ObjectStore> store, const std::deque<StoredFile>& coldest_first);
    /// Spills what is sealed and not yet in a store (within io_timeout), then ends the threads and
    /// lets go of the stores, once their devices have answered what was asked of them: the catalog
    /// is not called any more afterwards.
    void stop();

    // --- objects
    // -----------------------------------------------------------------------------------
    /// A new, empty object, to be written.
    ObjectPtr add(ObjectId id, VolumeId volume, const Standing& standing);
    /// The live object of `id`, made from its record when it is not live. Errors: ENOENT.
    Result<ObjectPtr> acquire(ObjectId id);
    /// For whoever has acquired it and not opened it: it need not live on if its record tells all.
    void retire(ObjectPtr object);
    /// The live object, or null.
    ObjectPtr live(ObjectId id) const;

    /// Opening and closing through the mount; `writes` is the same in both. Opening counts as a
    /// hit. Errors: ESTALE - lost.
    Status opened(Object& object, bool writes);
    /// How a handle was open.
    struct Closing {
        bool writes = false;     ///< as it was opened
        bool announced = false;  ///< closing() has been told
        bool backed = false;     ///< back() gave it a file
    };
    /// The last writer's close seals; it waits while the stores are far behind. True when the file
    /// was unlinked and this was its last handle: its bytes are gone and its inode may be erased.
    bool closed(ObjectPtr object, const Closing& how);
    /// For whoever has just opened it: the file behind a scratch file, if the kernel may serve this
    /// handle out of that; else null. It may when it serves all handles so, or, if `worth_it`, this
    /// is the only one. Stays so until closed() of this handle says that it was `backed`.
    std::shared_ptr<ObjectFile> back(Object& object, bool worth_it);
    /// The kernel would not.
    void not_backed(Object& object);
    /// What the file is from now on, if a store can have it so. Errors: ENOSPC.
    Status make_scratch(const ObjectPtr& object);
    /// One of its writers is about to close, or after all is not. Changes nothing but what
    /// await_closed() waits for.
    void closing(Object& object, bool is);
    /// Waits, a moment at most, while all that keeps the file from being sealed is that its
    /// writers' closes are still on their way. True when it has waited.
    bool await_closed(ObjectId id) const;
    /// The file's last name went. True when nobody has it open: as for closed().
    bool unlinked(ObjectId id);
    /// The file has another name, in `volume`: its object's label follows, and when that is another
    /// volume, so does what it counts for, and its bytes in DRAM. A file that comes from another
    /// volume must have been acquired before its record changed. Errors: ETIMEDOUT, ENOSPC - the
    /// bytes stay where they were.
    Status renamed(ObjectId id, VolumeId volume);

    // --- bytes
    // -------------------------------------------------------------------------------------
    /// [offset, offset + length), fewer only at the end of the file. A file that is only in a store
    /// is filled into DRAM first. Errors: EIO, ETIMEDOUT, ESTALE.
    Result<ReadView> read(const ObjectPtr& object, std::uint64_t offset, std::size_t length);
    /// All or an error. Errors: ENOSPC, ETIMEDOUT, EIO, ESTALE; EDQUOT - beyond the volume's hard
    /// quota, and none of its other files can go: they are open, leased or pinned.
    Status write(const ObjectPtr& object, std::uint64_t offset, std::span<const std::byte> bytes);
    Status truncate(const ObjectPtr& object, std::uint64_t size);
    /// Room for [offset, offset + length); grows the file unless `keep_size`.
    Status allocate(const ObjectPtr& object, std::uint64_t offset, std::uint64_t length,
                    bool keep_size);
    /// Returns when the bytes are in a store. Seals a file that is being written.
    Status sync(const ObjectPtr& object);
    /// The same of all that is in stores, with its names.
    Status sync_stores();

    /// Begins to bring a sealed file that is only in a store into DRAM, and does not wait for it;
    /// what is there, or on its way, stays so. Not a use. Errors: ENOSPC - no room now; EIO.
    Status prefetch(const ObjectPtr& object);
    /// The file leaves DRAM; a store has it. Errors: EBUSY - no store has it yet, or it is pinned,
    /// being read or being moved.
    Status leave_dram(ObjectId id);
    /// The file goes, name and all. Errors: EBUSY - it is open, leased, pinned or being moved.
    Status drop(ObjectId id);

    /// A lease on DRAM may be on bytes that a fill is still bringing (Content::progress). Errors:
    /// ENOENT - not sealed, or lost; of Fill::always, those of read().
    Result<Lease> lease(const ObjectPtr& object, Fill fill = Fill::running);
    /// Room for `size` bytes that are no file's yet. Errors: as write(); EFBIG.
    Result<std::shared_ptr<Content>> draft(VolumeId volume, std::uint64_t size);
    /// `content` is, whole, the bytes of the new file `id`: sealed. write_behind() once it has a
    /// name.
    ObjectPtr adopt(ObjectId id, VolumeId volume, const Standing& standing,
                    std::shared_ptr<Content> content);
    /// What is sealed outlives the daemon as soon as a store has it; what is empty, at once.
    void write_behind(ObjectPtr object);

    // --- what people look at
    // -------------------------------------------------------------------------
    struct Residency {
        std::uint64_t size = 0;
        std::uint64_t dram_bytes = 0;
        std::uint64_t held_bytes = 0;  ///< on this host, in DRAM or on SSD, counted once
        std::string store;             ///< its name; "" when in none
        std::int64_t modified_ns = 0;  ///< of a write that the catalog may not know of yet; or 0
        bool sealed = false;
        bool scratch = false;
        std::vector<std::uint32_t> chunk_crcs{};  ///< empty while not known
    };
    /// Of a live file; nullopt when it is not live: then its record tells.
    std::optional<Residency> residency(ObjectId id) const;
    std::string store_name(std::uint64_t store_uid) const;
    void set_pinned(ObjectId id, bool pinned);
    /// Of a file that is named by its record, which says so already.
    void set_standing(ObjectId id, const Standing& standing);
    std::size_t dram_files() const;
    /// Uses that the catalog has not been told of.
    ObjectUse pending_use(ObjectId id) const;
    /// Tells it, tries again to spill what failed, and looks what the kernel has made of the
    /// scratch files it serves. Called every second by the daemon.
    void flush_uses();
    /// Somebody has set the access time: uses so far no longer do.
    void forget_access_time(ObjectId id);

    /// Nothing new goes to the store of that name any more, and what it holds goes to the others,
    /// in the background: the coldest files for good if there is no room for all. Open scratch
    /// files stay until they are closed. `on` false: no longer. The next daemon goes on with it.
    /// Errors: ENOENT - no such store; EBUSY - there is no other.
    Status drain(const std::string& store, bool on);

    /// From now on the volume holds so much at most (hard), or has its files evicted before those
    /// of others (soft). What it has too much goes in the background. A volume that is removed must
    /// be told of, with no quota.
    void set_quota(VolumeId volume, VolumeQuota quota);
    const Volumes& volumes() const { return volumes_; }

    struct TierUsage {
        std::string name;
        std::uint64_t capacity = 0;
        std::uint64_t used = 0;
        std::uint64_t files = 0;
        bool degraded = false;
        std::string degraded_reason{};  ///< while it is
        bool draining = false;
    };
    /// DRAM first.
    std::vector<TierUsage> usage() const;
    const CacheCounters& counters() const { return counters_; }
    CacheCounters& counters() { return counters_; }
    const Arena& arena() const { return *arena_; }
    Arena& arena() { return *arena_; }
    std::uint64_t file_bytes_max() const { return options_.file_bytes_max; }
    std::chrono::milliseconds io_timeout() const { return options_.io_timeout; }

  private:
    using Table = tbb::concurrent_hash_map<ObjectId, ObjectPtr>;
    struct Filling;
    struct Move;

    /// Objects being written at a time: enough to keep a device busy with small files.
    static constexpr unsigned kSpillsInFlightMax = 8;

    Deadline deadline() const { return deadline_after(options_.io_timeout); }

    // cache.cc: objects
    void used(const Object& object, VolumeId volume, bool hit, bool in_dram, StoreTier* store);
    void admit(const Object& object, std::uint64_t bytes) REQUIRES(object.mutex);
    bool forget(ObjectId id, StoreTier* store, std::uint64_t charged);
    void discard(const ObjectPtr& object);
    void relabel(ObjectId id, const ObjectRecord& record);
    Status move_to_volume(Object& object, VolumeId volume);
    void seal(Object& object, MutexLock& lock) REQUIRES(object.mutex);
    ObjectRecord record_of(const Object& object) const REQUIRES(object.mutex);
    Status wait_changed(Object& object, MutexLock& lock, Deadline deadline) REQUIRES(object.mutex);

    // Functions that take a MutexLock open it for a while and hold it again when they return;
    // clang's analysis cannot follow that, so their bodies are not checked.

    // quota.cc: what volumes hold, and may hold
    void count(Object& object) const REQUIRES(object.mutex);
    /// Recounts a file when a change of it ends, however it ends.
    class Recount {
      public:
        Recount(const Cache& cache, Object& object) : cache_(cache), object_(object) {}
        ~Recount() NO_THREAD_SAFETY_ANALYSIS { cache_.count(object_); }
        Recount(const Recount&) = delete;
        Recount& operator=(const Recount&) = delete;

      private:
        const Cache& cache_;
        Object& object_;
    };
    std::uint64_t growth(const Object& object, std::uint64_t offset, std::uint64_t length) const
        REQUIRES(object.mutex);
    /// Counts beforehand what the file is to hold when [offset, offset + length) is written.
    Status reserve(Object& object, std::uint64_t offset, std::uint64_t length, Deadline deadline);
    Status reserve(VolumeShare& draft, std::uint64_t bytes, Deadline deadline);
    Status make_room_in_volume(const VolumeShare& file, std::uint64_t more, Deadline deadline);
    Status save(ObjectId id, const ObjectRecord& record);
    void regroup(ObjectId id);
    bool gathering(VolumeId volume);
    bool gather_some();
    bool evict_excess();
    void ask_evictor();

    // bytes.cc: reading and writing
    Status grow(Object& object, MutexLock& lock, std::uint64_t end, Deadline deadline)
        REQUIRES(object.mutex);
    Status write_content(Object& object, MutexLock& lock, std::uint64_t offset,
                         std::span<const std::byte> bytes, Deadline deadline)
        REQUIRES(object.mutex);
    Status empty(Object& object, MutexLock& lock, Deadline deadline) REQUIRES(object.mutex);

    // scratch.cc: files that are rewritten in place
    Status to_scratch(Object& object, MutexLock& lock, Deadline deadline) REQUIRES(object.mutex);
    struct Conversion;
    Status convert(ObjectId id, Conversion& conversion, Deadline deadline);
    Status copy_to_file(ObjectId id, const Conversion& from,
                        const std::shared_ptr<ObjectReader>& reader, Deadline deadline);
    void become_scratch(Object& object, Conversion& conversion) REQUIRES(object.mutex);
    Status write_scratch(Object& object, MutexLock& lock, std::uint64_t offset,
                         std::span<const std::byte> bytes, Deadline deadline)
        REQUIRES(object.mutex);
    Result<std::shared_ptr<ObjectFile>> scratch_file(Object& object) REQUIRES(object.mutex);
    void move_scratch(StoreTier& from, const ObjectPtr& object);
    void measure(Object& object) const REQUIRES(object.mutex);
    void measure_backed();

    // fill.cc: from a store into DRAM
    Status fill_for_lease(const ObjectPtr& object, MutexLock& lock, Fill fill)
        REQUIRES(object->mutex);
    /// Waits for room until `for_room`; by then there may be none: ENOSPC. Errors: EIO, too.
    Status start_fill(const ObjectPtr& object, MutexLock& lock, Deadline for_room)
        REQUIRES(object->mutex);
    void ask_next(const std::shared_ptr<Filling>& fill);
    void chunk_done(const std::shared_ptr<Filling>& fill, std::size_t chunk, std::int64_t result);
    Result<ReadView> read_through(const ObjectPtr& object, std::uint64_t offset, std::size_t length,
                                  Deadline deadline);
    /// The object, from the store that has it: it may be on its way to another.
    Result<std::unique_ptr<ObjectReader>> open_stored(const Object& object, StoreTier*& tier);
    /// The chunks around [offset, offset + length), checked, in memory of their own.
    Result<ReadView> read_chunks(StoreTier& tier, const std::shared_ptr<ObjectReader>& reader,
                                 ObjectId id, std::uint64_t size,
                                 const std::vector<std::uint32_t>& crcs, std::uint64_t offset,
                                 std::size_t length, Deadline deadline);
    void corrupt(ObjectId id, const std::string& what);
    void unreadable(StoreTier& tier, ObjectId id, const Error& error);
    void drop_later(ObjectId id, const std::string& why);

    // spill.cc: from DRAM into a store
    void queue_spill(ObjectPtr object, bool urgent);
    bool wanted_below(const Object& object, std::uint64_t bytes);
    void refused(Object& object);
    void reconsider(const Object& object);
    bool save_empty(const ObjectPtr& object);
    void spiller();
    void spill(const ObjectPtr& object);
    void spilled(ObjectPtr object, std::uint64_t version, StoreTier& tier, ObjectRecord record,
                 VolumeId admitted_in, Status status);
    void spill_ended();
    bool spills_pending() const;

    void stop_background();

    // scrub.cc: looking for damage
    void scrubber();
    bool pause_scrub(Deadline until);
    bool scrub_stores(Deadline& due);
    bool scrub(ObjectId id, Deadline& due);
    void scrub_failed(StoreTier& tier, ObjectId id, const ObjectRecord& record, const Error& error);

    // drain.cc: looking after stores, and from one into the others
    void keeper();
    void count(StoreTier& tier, const StoredFile& file);
    void drop_if_gone(StoreTier& tier, const StoredFile& file);
    void drain_some(StoreTier& tier);
    void set_drain_moves(StoreTier& tier);
    void set_draining(StoreTier& tier, bool on);
    void resume_drains();
    std::uint64_t free_elsewhere(const StoreTier& than) const;
    void move_sealed(StoreTier& from, const ObjectPtr& object);
    Status read_for(Move& move, ObjectId id);
    void moved(Object& object, const Move& move, Status status);
    bool left_store(StoreTier& tier, ObjectId id, std::uint64_t charged);
    void give_up_old(Object& object, const Move& move);

    // evict.cc: making room
    void evictor();
    void kick_evictor();
    Status make_room(VolumeId volume, std::uint64_t bytes, Deadline deadline);
    struct Evicted {
        std::uint64_t bytes = 0;
        bool busy = false;  ///< some files were passed over that readers hold right now
    };
    Evicted evict_from_dram(std::uint64_t bytes);
    Evicted evict_from_dram_one(ObjectId id);
    std::uint64_t evict_from_store(StoreTier& tier, std::uint64_t bytes);
    struct VolumeEviction {
        std::uint64_t bytes = 0;
        bool busy = false;    ///< files were passed over that are not pinned
        bool moving = false;  ///< of these: on their way to a store, or out of one
    };
    VolumeEviction evict_from_volume(VolumeId volume, std::uint64_t more);
    /// Bytes that became free, in DRAM or in the store, whichever is more; nullopt: it stays.
    std::optional<std::uint64_t> lose(StoreTier* tier, ObjectId id, bool only_if_idle);
    /// The store that a file of `bytes` should go to, with the bytes charged; null: none has room.
    /// Never `except`.
    StoreTier* charge_store(std::uint64_t bytes, const StoreTier* except = nullptr);
    /// Those that may be written to, the one that has most room first.
    std::vector<StoreTier*> stores_by_room(const StoreTier* except = nullptr) const;
    void degrade(StoreTier& tier, const std::string& reason);
    bool charge(StoreTier& tier, std::uint64_t bytes);
    StoreTier* store_of(std::uint64_t store_uid) const;
    void store_failed(StoreTier& tier, ObjectId id, const char* doing, const Error& error);
    static bool healthy(const StoreTier& tier);
    static std::uint64_t charge_of(const StoreTier& tier, const ObjectRecord& record);

    Options options_;
    std::unique_ptr<Arena> arena_;
    Room room_;
    GrowingList<StoreTier, kStoresMax> stores_;
    Catalog* catalog_ = nullptr;
    CacheCounters counters_;
    mutable Volumes volumes_;  ///< its lock is innermost
    Mutex quota_mutex_;        ///< outermost: the tiers that know of a quota, and the quota itself
    Table objects_;

    mutable Mutex dram_mutex_;  ///< innermost, as a store tier's
    EvictionOrder dram_order_ GUARDED_BY(dram_mutex_);

    mutable Mutex uses_mutex_;
    std::unordered_map<ObjectId, ObjectUse> uses_ GUARDED_BY(uses_mutex_);

    Mutex backed_mutex_;  ///< innermost
    std::vector<std::weak_ptr<Object>> backed_ GUARDED_BY(backed_mutex_);

    mutable Mutex spill_mutex_;
    CondVar spill_cv_;
    struct Queued {
        std::weak_ptr<Object> object;  ///< of who waits here, nobody is to think that it is in use
        Deadline from;                 ///< not before; the queue is in the order of these
    };
    std::deque<Queued> spill_queue_ GUARDED_BY(spill_mutex_);
    /// No store took them; weak, as they may be dropped from DRAM for that very reason.
    std::vector<std::weak_ptr<Object>> spill_later_ GUARDED_BY(spill_mutex_);
    std::uint64_t spills_in_flight_ GUARDED_BY(spill_mutex_) = 0;
    bool stopping_ GUARDED_BY(spill_mutex_) = false;

    Mutex evict_mutex_;
    CondVar evict_cv_;
    std::vector<ObjectId> corrupt_ GUARDED_BY(evict_mutex_);
    bool evict_asked_ GUARDED_BY(evict_mutex_) = false;
    /// Volumes that have just got a quota: their files below `gathered_below_` are in their order.
    std::set<VolumeId> gathering_ GUARDED_BY(evict_mutex_);
    ObjectId gathered_below_ GUARDED_BY(evict_mutex_) = 0;
    bool evict_stop_ GUARDED_BY(evict_mutex_) = false;

    Mutex scrub_mutex_;
    CondVar scrub_cv_;
    bool scrub_stop_ GUARDED_BY(scrub_mutex_) = false;

    Mutex keeper_mutex_;
    CondVar keeper_cv_;
    bool keeper_asked_ GUARDED_BY(keeper_mutex_) = false;
    bool keeper_stop_ GUARDED_BY(keeper_mutex_) = false;

    std::thread spiller_;
    std::thread evictor_;
    std::thread scrubber_;
    std::thread keeper_;
};

}  // namespace kvfs
