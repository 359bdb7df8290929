// Write-behind: sealed files go to a store as soon as the store keeps up, so that evicting them
// from DRAM later costs nothing.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/cache/awaited.h"
#include "fs/cache/cache.h"

namespace kvfs {
namespace {

/// Engines write under a temporary name, close, and rename: by then the file is known by the name
/// that a policy may have seen before.
constexpr auto kNaming = std::chrono::milliseconds(10);

}  // namespace

void Cache::queue_spill(ObjectPtr object, bool urgent) {
    {
        const MutexLock lock(spill_mutex_);
        if (urgent)
            spill_queue_.push_front({std::move(object), Deadline::min()});
        else
            spill_queue_.push_back({std::move(object), deadline_after(kNaming)});
    }
    spill_cv_.notify_all();
}

void Cache::write_behind(ObjectPtr object) {
    if (save_empty(object))
        retire(std::move(object));
    else
        queue_spill(std::move(object), false);
}

/// True when it is empty and so needs no store: its record tells all, and is saved here.
bool Cache::save_empty(const ObjectPtr& object) {
    ObjectRecord record;
    {
        const MutexLock lock(object->mutex);
        if (object->state != Object::State::sealed || object->size > 0 || object->must_store)
            return false;
        if (object->store != nullptr || object->empty_saved || object->unlinked ||
            object->spilling || object->converting)
            return true;
        object->spilling = true;  // holds off who writes to it
        record = record_of(*object);
    }
    const Status saved = catalog_->save_object(object->id, record);
    {
        const MutexLock lock(object->mutex);
        object->spilling = object->renamed = false;
        object->empty_saved = saved.ok();
    }
    object->changed.notify_all();
    if (!saved && saved.error().code != ENOENT) {
        const MutexLock lock(spill_mutex_);
        spill_later_.push_back(object);
    }
    return true;
}

bool Cache::spills_pending() const {
    const MutexLock lock(spill_mutex_);
    return !spill_queue_.empty() || spills_in_flight_ > 0;
}

void Cache::spiller() {
    for (;;) {
        ObjectPtr object;
        {
            MutexLock lock(spill_mutex_);
            for (;;) {
                if (stopping_ && spill_queue_.empty()) return;
                if (spill_queue_.empty() || spills_in_flight_ >= kSpillsInFlightMax) {
                    spill_cv_.wait(lock);
                    continue;
                }
                const Deadline from = spill_queue_.front().from;
                if (stopping_ || from <= Clock::now()) break;
                spill_cv_.wait_until(lock, from);
            }
            object = spill_queue_.front().object.lock();
            spill_queue_.pop_front();
            if (object == nullptr) {
                spill_cv_.notify_all();  // who waits until nothing is queued
                continue;
            }
            ++spills_in_flight_;
        }
        spill(object);
        retire(std::move(object));
    }
}

void Cache::spill(const ObjectPtr& object) {
    std::shared_ptr<Content> content;
    ObjectRecord record;
    std::uint64_t version = 0;
    bool wanted = false;
    bool forced = false;
    {
        const MutexLock lock(object->mutex);
        forced = object->must_store;
        wanted = object->state == Object::State::sealed && object->store == nullptr &&
                 (object->size > 0 || object->must_store) && !object->unlinked &&
                 !object->spilling && !object->converting;
        if (wanted) {
            object->spilling = true;
            object->refused = false;
            if (object->content != nullptr) content = Content::hold(object->content);
            record = record_of(*object);
            version = object->version;
        }
    }
    if (!wanted) return spill_ended();
    if (!forced && !wanted_below(*object, record.size)) return refused(*object);
    if (content != nullptr) record.chunk_crcs = content->checksums().finish(*content, record.size);
    StoreTier* tier = charge_store(record.size);
    if (tier == nullptr) {
        static StoreTier none(make_lru);
        spilled(object, version, none, std::move(record), 0, Error{ENOSPC, "no store has room"});
        return;
    }
    const VolumeId admitted_in = volumes_.quota(record.volume).any() ? record.volume : 0;
    {
        const MutexLock lock(tier->mutex);
        ++tier->spills;
        // Now, so that what builds on it finds it there, whichever of them is written first.
        tier->order.admitted(object->use(tier->store->footprint(record.size)), object->priority,
                             admitted_in);
    }
    record.store_uid = tier->store->uid();
    std::vector<std::span<const std::byte>> pieces;
    if (content != nullptr)
        for (const auto& span : content->spans(0, record.size)) pieces.emplace_back(span);
    const ObjectLabel label = catalog_->label_object(object->id, record);
    tier->store->put(object->id, label, std::move(pieces),
                     [this, object = object, content, version, tier, record,
                      admitted_in](Status status) mutable {
                         content.reset();
                         spilled(std::move(object), version, *tier, std::move(record), admitted_in,
                                 std::move(status));
                     });
}

/// Whether the store that would take it has room, or its policy wants the file more than others.
bool Cache::wanted_below(const Object& object, std::uint64_t bytes) {
    const std::vector<StoreTier*> stores = stores_by_room();
    if (stores.empty()) return true;  // for charge_store to say
    StoreTier& tier = *stores.front();
    const std::uint64_t footprint = tier.store->footprint(bytes);
    const auto full = static_cast<std::uint64_t>(options_.watermark_low *
                                                 static_cast<double>(tier.store->capacity()));
    const MutexLock lock(tier.mutex);
    return tier.used + footprint <= full ||
           tier.order.admits(object.use(footprint), object.priority);
}

/// The file stays in DRAM only, and is gone when it has to leave that.
void Cache::refused(Object& object) {
    {
        const MutexLock lock(object.mutex);
        object.spilling = object.renamed = false;
        object.refused = true;
    }
    object.changed.notify_all();
    ++counters_.refusals;
    spill_ended();
}

void Cache::spill_ended() {
    const MutexLock lock(spill_mutex_);
    --spills_in_flight_;
    // Under the lock: stop() may end the cache as soon as it sees the count.
    spill_cv_.notify_all();
    room_.changed();
}

/// It was used again, or is known by another name: the policy may want it now.
void Cache::reconsider(const Object& object) {
    {
        const MutexLock lock(object.mutex);
        if (!object.refused) return;
    }
    if (ObjectPtr again = live(object.id)) queue_spill(std::move(again), false);
}

/// `admitted_in`: the volume, if it had a quota, among whose files the store has it already.
void Cache::spilled(ObjectPtr object, std::uint64_t version, StoreTier& tier, ObjectRecord record,
                    VolumeId admitted_in, Status status) {
    const bool charged = tier.store != nullptr;
    const bool stored = status.ok();
    const std::uint64_t bytes = charged ? tier.store->footprint(record.size) : 0;
    if (charged) {
        const MutexLock lock(tier.mutex);
        --tier.spills;
    }
    if (status) {
        // The record goes first: once the store shows up in the object, DRAM may be given up.
        status = save(object->id, record);
    } else if (charged) {
        store_failed(tier, object->id, "writing", status.error());
    }
    bool kept = false;
    bool again = false;
    std::optional<ObjectRecord> renamed;
    {
        const MutexLock lock(object->mutex);
        object->spilling = false;
        kept = status.ok() && version == object->version && !object->unlinked;
        again = !status && status.error().code != ENOENT && !object->unlinked;
        object->spill_failed = again;
        if (kept) {
            object->store = &tier;
            object->empty_saved = object->must_store = false;
            object->charged = bytes;
            object->chunk_crcs = std::move(record.chunk_crcs);
            if (object->renamed) renamed = record_of(*object);
            // Before anybody sees the store: who unlinks the file counts it out again.
            const MutexLock tier_lock(tier.mutex);
            if (object->counted.volume != admitted_in)  // another's by now, or it got a quota
                tier.order.join(object->use(bytes), object->priority, object->counted.volume);
            ++tier.files;
        }
        object->renamed = false;
    }
    object->changed.notify_all();
    if (kept) {
        ++counters_.spills;
        counters_.spilled_bytes += record.size;
        if (renamed) relabel(object->id, *renamed);
        kick_evictor();
    } else if (charged) {
        if (stored) static_cast<void>(tier.store->remove(object->id));  // unlinked meanwhile
        const MutexLock lock(tier.mutex);
        tier.order.removed(object->id);
        tier.used -= std::min(tier.used, bytes);
    }
    if (again) {
        const MutexLock lock(spill_mutex_);
        spill_later_.push_back(object);
    }
    spill_ended();
}

Status Cache::sync(const ObjectPtr& object) {
    const Deadline until = deadline();
    StoreTier* tier = nullptr;
    std::optional<ObjectRecord> record;
    {
        MutexLock lock(object->mutex);
        while (object->converting)
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
        if (object->unlinked) return {};  // nothing of it is to survive
        if (object->state == Object::State::writing) {
            object->unfinished = object->writers > 0;
            seal(*object, lock);
        }
        object->spill_failed = false;
        object->must_store = object->store == nullptr;
        while (object->state == Object::State::sealed && object->store == nullptr) {
            if (object->unlinked) return {};
            if (object->spill_failed) return Error{EIO, "no store took the file"};
            if (!object->spilling) {
                lock.unlock();
                queue_spill(object, true);
                lock.lock();
            }
            if (object->store != nullptr || object->spill_failed) continue;
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
        }
        if (object->state == Object::State::lost) return Error{EIO, "the file was lost"};
        tier = object->store;
        if (object->state == Object::State::scratch) {
            measure(*object);
            record = record_of(*object);
        }
    }
    if (record) relabel(object->id, *record);  // what a power loss leaves of it to go by
    const auto end = std::make_shared<Awaited>();
    tier->store->sync(object->id, [end](std::int64_t result) { end->finish(result); });
    if (const auto synced = end->wait(until, "syncing an object"); !synced) return synced.error();
    return record ? catalog_->save_object(object->id, *record) : Status{};
}

Status Cache::sync_stores() {
    const Deadline until = deadline();
    for (const auto& tier : stores_) {
        if (!tier->store->present()) continue;  // what it had is lost already
        const auto end = std::make_shared<Awaited>();
        tier->store->sync_all([end](std::int64_t result) { end->finish(result); });
        if (const auto synced = end->wait(until, "syncing a store"); !synced) return synced.error();
    }
    return {};
}

void Cache::stop_background() {
    {
        const MutexLock lock(scrub_mutex_);
        scrub_stop_ = true;
    }
    scrub_cv_.notify_all();
    {
        const MutexLock lock(keeper_mutex_);
        keeper_stop_ = true;
    }
    keeper_cv_.notify_all();
    if (scrubber_.joinable()) scrubber_.join();
    keeper_.join();
}

void Cache::stop() {
    if (!spiller_.joinable()) return;
    stop_background();
    const Deadline until = deadline();
    {
        MutexLock lock(spill_mutex_);
        stopping_ = true;
        spill_cv_.notify_all();
        while (!spill_queue_.empty() || spills_in_flight_ > 0)
            if (!spill_cv_.wait_until(lock, until)) break;
        if (!spill_queue_.empty())
            spdlog::warn("{} files were not spilled within {} s and are lost", spill_queue_.size(),
                         options_.io_timeout.count() / 1000);
        spill_queue_.clear();
        spill_later_.clear();
        spill_cv_.notify_all();
    }
    spiller_.join();
    {
        const MutexLock lock(evict_mutex_);
        evict_stop_ = true;
    }
    evict_cv_.notify_all();
    evictor_.join();
    // The bytes of a scratch file are in its file at once, how many they are is recorded at the
    // close. Who has it open still finds it as it left it, then; a file without any record was
    // never closed, and goes.
    for (const auto& [id, object] : objects_) {
        std::optional<ObjectRecord> record;
        {
            const MutexLock lock(object->mutex);
            if (object->state == Object::State::scratch && object->writers > 0 &&
                !object->unlinked) {
                measure(*object);
                record = record_of(*object);
            }
        }
        if (record && catalog_->find_object(id).ok())
            static_cast<void>(catalog_->save_object(id, *record));
    }
    flush_uses();
    stores_.clear();  // waits for transfers under way, whose completions use the rest
}

}  // namespace kvfs
