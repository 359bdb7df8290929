// Making room: files leave DRAM when a store has them, and leave the last tier for good.
#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <tuple>

#include "fs/base/log.h"
#include "fs/cache/cache.h"

namespace kvfs {
namespace {

/// How many victims a policy is asked for at a time.
constexpr std::size_t kVictims = 32;
/// A store that failed is left alone for this long.
constexpr std::int64_t kDegradedNs = 10'000'000'000;

std::int64_t steady_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
        .count();
}

std::uint64_t part(double fraction, std::uint64_t of) {
    return static_cast<std::uint64_t>(fraction * static_cast<double>(of));
}

auto at_least(std::uint64_t bytes) {
    return [bytes](std::uint64_t freed) { return freed >= bytes; };
}

/// Goes through `victims(count)`, the policy's first so many, until `evict(id)` has
/// freed `enough(bytes)` or all have been looked at; `at_once` of them at a time, while they can
/// go. Returns the bytes freed.
template <typename Enough, typename Victims, typename Evict>
std::uint64_t evict_in_order(Enough enough, Victims victims, Evict evict,
                             std::size_t at_once = kVictims) {
    std::uint64_t freed = 0;
    std::size_t looked_at = 0;
    for (std::size_t count = at_once; !enough(freed); count = count == 0 ? at_once : 4 * count) {
        const std::vector<ObjectId> ids = victims(count);
        const std::uint64_t before = freed;
        for (const ObjectId id : ids) {
            freed += evict(id);
            if (enough(freed)) return freed;
        }
        const bool moved = freed > before;             // the front has: look there again
        if (!moved && ids.size() <= looked_at) break;  // seen them all
        if (moved) count = 0;
        looked_at = moved ? 0 : ids.size();
    }
    return freed;
}

}  // namespace

bool Cache::healthy(const StoreTier& tier) { return tier.degraded_until_ns < steady_ns(); }

void Cache::store_failed(StoreTier& tier, ObjectId id, const char* doing, const Error& error) {
    ++counters_.store_errors;
    degrade(tier, fmt::format("{} object {:016x} failed: {}", doing, id, error.message()));
}

void Cache::degrade(StoreTier& tier, const std::string& reason) {
    if (healthy(tier))
        spdlog::error("{}: {}; not written to for {} s", tier.store->name(), reason,
                      kDegradedNs / 1'000'000'000);
    {
        const MutexLock lock(tier.mutex);
        tier.failure = reason;
    }
    tier.degraded_until_ns = steady_ns() + kDegradedNs;
}

StoreTier* Cache::store_of(std::uint64_t store_uid) const {
    for (const auto& tier : stores_)
        if (store_uid != 0 && tier->store->uid() == store_uid) return tier.get();
    return nullptr;
}

bool Cache::charge(StoreTier& tier, std::uint64_t bytes) {
    const std::uint64_t capacity = tier.store->capacity();
    if (bytes > capacity) return false;
    for (;;) {
        std::uint64_t over = 0;
        {
            const MutexLock lock(tier.mutex);
            if (tier.used + bytes <= capacity) {
                tier.used += bytes;
                return true;
            }
            over = tier.used + bytes - capacity;
        }
        if (evict_from_store(tier, over) == 0) return false;
    }
}

std::vector<StoreTier*> Cache::stores_by_room(const StoreTier* except) const {
    struct Choice {
        bool busy;    ///< it has its part of the spills that may be under way
        double fill;  ///< so that stores fill in proportion to their sizes
        StoreTier* tier;
    };
    std::vector<Choice> choices;
    const std::size_t count = stores_.size();  // more may come meanwhile
    const std::size_t share = (kSpillsInFlightMax + count - 1) / count;
    for (const auto& tier : stores_) {
        if (!healthy(*tier) || tier->draining || tier.get() == except) continue;
        const MutexLock lock(tier->mutex);
        const double fill =
            static_cast<double>(tier->used) / static_cast<double>(tier->store->capacity() + 1);
        // A slow store would have all spills after a while, and the others none.
        choices.push_back({tier->spills >= share, fill, tier.get()});
    }
    std::sort(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
        return std::tie(a.busy, a.fill) < std::tie(b.busy, b.fill);
    });
    std::vector<StoreTier*> stores;
    for (const Choice& choice : choices) stores.push_back(choice.tier);
    return stores;
}

StoreTier* Cache::charge_store(std::uint64_t bytes, const StoreTier* except) {
    for (StoreTier* const tier : stores_by_room(except))
        if (charge(*tier, tier->store->footprint(bytes))) return tier;
    return nullptr;
}

Status Cache::make_room(VolumeId volume, std::uint64_t bytes, Deadline until) {
    ++counters_.writer_waits;
    if (bytes > arena_->capacity()) return Error{ENOSPC, "more than the whole DRAM tier"};
    for (;;) {
        const std::uint64_t seen = room_.changes();
        if (arena_->available(volume) >= bytes) return {};
        const Evicted evicted = evict_from_dram(bytes);
        if (evicted.bytes > 0) continue;
        if (arena_->available(volume) >= bytes) return {};
        if (!evicted.busy && !spills_pending() && room_.changes() == seen)
            return Error{ENOSPC, "DRAM holds nothing that may be evicted"};
        if (!room_.wait(seen, until))
            return Error{ETIMEDOUT, "no room in DRAM within the I/O timeout"};
    }
}

Cache::Evicted Cache::evict_from_dram(std::uint64_t bytes) {
    Evicted total;
    total.bytes = evict_in_order(
        at_least(bytes),
        [this](std::size_t count) {
            const std::vector<VolumeId> over = volumes_.over_soft();
            const MutexLock lock(dram_mutex_);
            return dram_order_.victims(count, over);
        },
        [&](ObjectId id) {
            const Evicted one = evict_from_dram_one(id);
            total.busy |= one.busy;
            return one.bytes;
        });
    return total;
}

Cache::Evicted Cache::evict_from_dram_one(ObjectId id) {
    Evicted done;
    ObjectPtr object = live(id);
    if (object == nullptr) {
        const MutexLock lock(dram_mutex_);
        dram_order_.removed(id);
        return done;
    }
    bool lose_it = false;
    {
        const MutexLock lock(object->mutex);
        if (object->content == nullptr) {
            const MutexLock dram_lock(dram_mutex_);
            dram_order_.removed(id);
            return done;
        }
        if (object->state != Object::State::sealed || object->pinned) return done;
        if (object->spilling || object->converting || object->content.use_count() > 1) {
            done.busy = true;
            return done;
        }
        const std::uint64_t bytes = object->content->capacity();
        if (object->store != nullptr) {
            object->content.reset();
            done.bytes = bytes;
            const MutexLock dram_lock(dram_mutex_);
            dram_order_.removed(id);
        } else if ((object->spill_failed || object->refused) && object->handles == 0) {
            lose_it = true;
            done.bytes = bytes;
        }
    }
    if (lose_it) {
        object.reset();
        if (!lose(nullptr, id, true)) done.bytes = 0;
    }
    if (done.bytes > 0) ++counters_.dram_evictions;
    if (object != nullptr) retire(std::move(object));
    return done;
}

std::uint64_t Cache::evict_from_store(StoreTier& tier, std::uint64_t bytes) {
    return evict_in_order(
        at_least(bytes),
        [&](std::size_t count) {
            const std::vector<VolumeId> over = volumes_.over_soft();
            const MutexLock lock(tier.mutex);
            return tier.order.victims(count, over);
        },
        [&](ObjectId id) { return lose(&tier, id, true).value_or(0); },
        // One at a time: a volume's files go first until it is within its quota, and no longer.
        volumes_.over_soft().empty() ? kVictims : 1);
}

/// Takes files of the volume, a step of them, until `more` fits into its hard quota: from all
/// tiers, from the store that has most of them first, and last those that are in DRAM alone.
Cache::VolumeEviction Cache::evict_from_volume(VolumeId volume, std::uint64_t more) {
    constexpr std::uint64_t kStep = 64 << 20;  // then who asks sees to its time, or to other work
    VolumeEviction done;
    // Looked at before each file, for others may be making room in the volume too.
    const auto enough = [&](std::uint64_t freed) {
        return done.bytes + freed >= kStep || volumes_.excess(volume, more) == 0;
    };
    const auto evict = [&](StoreTier* tier, ObjectId id) -> std::uint64_t {
        if (const auto freed = lose(tier, id, true)) return *freed;
        if (const ObjectPtr object = live(id); object != nullptr && !object->pinned) {
            const MutexLock lock(object->mutex);
            done.busy = true;
            done.moving |= object->spilling || object->converting;
        }
        return 0;
    };
    std::vector<std::pair<std::size_t, StoreTier*>> stores;
    for (const auto& tier : stores_) {
        const MutexLock lock(tier->mutex);
        stores.emplace_back(tier->order.files_of(volume), tier.get());
    }
    std::sort(stores.begin(), stores.end(), std::greater<>());
    for (const auto& one : stores) {
        StoreTier* const tier = one.second;
        done.bytes += evict_in_order(
            enough,
            [&](std::size_t count) {
                const MutexLock lock(tier->mutex);
                return tier->order.victims_of(volume, count);
            },
            [&](ObjectId id) { return evict(tier, id); });
    }
    done.bytes += evict_in_order(
        enough,
        [&](std::size_t count) {
            const MutexLock lock(dram_mutex_);
            return dram_order_.victims_of(volume, count);
        },
        [&](ObjectId id) {
            if (live(id) != nullptr) return evict(nullptr, id);
            const MutexLock lock(dram_mutex_);
            dram_order_.removed(id);
            return std::uint64_t{0};
        });
    return done;
}

Status Cache::leave_dram(ObjectId id) {
    if (const auto now = residency(id); now && now->size > 0 && now->store.empty())
        return Error{EBUSY};
    if (evict_from_dram_one(id).bytes > 0) return {};
    const auto now = residency(id);
    return now && now->dram_bytes > 0 ? Error{EBUSY} : Status{};
}

Status Cache::drop(ObjectId id) { return lose(nullptr, id, true) ? Status{} : Error{EBUSY}; }

std::optional<std::uint64_t> Cache::lose(StoreTier* tier, ObjectId id, bool only_if_idle) {
    // Holding the entry keeps everybody from making the object live while its name goes.
    Table::accessor entry;
    const bool was_live = !objects_.insert(entry, id);
    std::uint64_t charged = 0;
    std::uint64_t in_dram = 0;
    VolumeShare counted;  // of one that is not live
    if (was_live) {
        const ObjectPtr object = entry->second;
        const MutexLock lock(object->mutex);
        const bool idle = object.use_count() == 2 && object->handles == 0 && !object->spilling &&
                          !object->converting && !object->pinned &&
                          object->content.use_count() < 2;  // no lease, no read
        if (only_if_idle && !idle) return std::nullopt;
        charged = object->charged;
        in_dram = object->content ? object->content->capacity() : 0;
        tier = object->store;
        object->state = Object::State::lost;
        object->content.reset();
        object->store = nullptr;
        count(*object);
        ++object->version;
        object->changed.notify_all();
    } else {
        const auto record = catalog_->find_object(id);
        const bool named = record.ok() && !record->unlinked;
        StoreTier* const where = named ? store_of(record->store_uid) : nullptr;
        const bool empty = named && record->store_uid == 0 && tier == nullptr;
        if ((where == nullptr && !empty) || (only_if_idle && record->pinned)) {
            objects_.erase(entry);
            if (!named && tier != nullptr) {  // gone already: the policy had not heard
                const MutexLock lock(tier->mutex);
                tier->order.removed(id);
            }
            return std::nullopt;
        }
        tier = where;
        if (tier != nullptr) charged = charge_of(*tier, *record);
        counted = {record->volume, held_bytes(*record)};
    }
    catalog_->lose_object(id);
    if (forget(id, tier, charged)) volumes_.count(counted, 0);
    objects_.erase(entry);
    if (tier != nullptr && only_if_idle) ++counters_.store_evictions;
    room_.changed();
    return std::max(charged, in_dram);
}

void Cache::corrupt(ObjectId id, const std::string& what) {
    ++counters_.checksum_errors;
    drop_later(id, what);
}

/// The store does not give the object's bytes. Where the device has no more to say than that they
/// are lost, so is the file: a cache that answers EIO for ever is worse than a miss.
void Cache::unreadable(StoreTier& tier, ObjectId id, const Error& error) {
    constexpr std::array kLost{ENOENT, ENOTDIR, EIO,     ENXIO,   ENODEV,
                               ESTALE, EUCLEAN, EBADMSG, ENODATA, EREMOTEIO};
    if (error.code == EMFILE || error.code == ENFILE || error.code == ENOMEM) return;  // our own
    const bool lost = std::find(kLost.begin(), kLost.end(), error.code) != kLost.end();
    const Status there = error.code == ENOENT ? tier.store->present() : Status{};
    if (!there)
        degrade(tier, there.error().message());
    else if (error.code != ENOENT)
        store_failed(tier, id, "reading", error);
    if (lost)
        drop_later(id, tier.store->name() + " has lost object of inode " + std::to_string(id) +
                           " (" + error.message() + ")");
}

void Cache::drop_later(ObjectId id, const std::string& why) {
    spdlog::error("{}: the file is dropped", why);
    {
        const MutexLock lock(evict_mutex_);
        corrupt_.push_back(id);
    }
    evict_cv_.notify_all();
}

void Cache::kick_evictor() {
    {
        // Transfers may end while stop() lets go of the stores, one after the other.
        const MutexLock lock(evict_mutex_);
        if (evict_stop_) return;
    }
    if (arena_->used() <= part(options_.watermark_high, arena_->capacity())) {
        bool full = false;
        for (const auto& tier : stores_) {
            const MutexLock lock(tier->mutex);
            full |= tier->used > part(options_.watermark_high, tier->store->capacity());
        }
        if (!full && volumes_.over_hard().empty()) return;
    }
    ask_evictor();
}

void Cache::ask_evictor() {
    {
        const MutexLock lock(evict_mutex_);
        evict_asked_ = true;
    }
    evict_cv_.notify_all();
}

void Cache::evictor() {
    for (;;) {
        std::vector<ObjectId> bad;
        {
            MutexLock lock(evict_mutex_);
            while (!evict_stop_ && !evict_asked_ && corrupt_.empty()) evict_cv_.wait(lock);
            if (evict_stop_) return;
            evict_asked_ = false;
            bad.swap(corrupt_);
        }
        for (const ObjectId id : bad) lose(nullptr, id, false);
        // In steps, so that what follows does not wait for all of it.
        const bool gathers = gather_some();
        if (evict_excess() || gathers) ask_evictor();

        const auto over = [this](std::uint64_t used, std::uint64_t capacity) {
            return used > part(options_.watermark_high, capacity)
                       ? used - part(options_.watermark_low, capacity)
                       : 0;
        };
        if (const std::uint64_t bytes = over(arena_->used(), arena_->capacity()); bytes > 0)
            evict_from_dram(bytes);
        for (const auto& tier : stores_) {
            std::uint64_t used = 0;
            {
                const MutexLock lock(tier->mutex);
                used = tier->used;
            }
            if (const std::uint64_t bytes = over(used, tier->store->capacity()); bytes > 0)
                evict_from_store(*tier, bytes);
        }
    }
}

}  // namespace kvfs
