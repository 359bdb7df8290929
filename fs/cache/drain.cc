// Looking after stores: what they hold when they come, whether they are there, and draining one, so
// that its directory can be taken away.
#include <algorithm>

#include "fs/base/crc32c.h"
#include "fs/base/log.h"
#include "fs/cache/awaited.h"
#include "fs/cache/cache.h"
#include "fs/cache/checked_read.h"

namespace kvfs {

void Cache::recall(std::uint64_t store_uid, const StoredFile& file) {
    if (StoreTier* const tier = store_of(store_uid)) count(*tier, file);
}

void Cache::count(StoreTier& tier, const StoredFile& file) {
    VolumeShare counted{file.volume};
    volumes_.count(counted, file.bytes);
    const MutexLock lock(tier.mutex);
    tier.used += tier.store->footprint(file.bytes);
    ++tier.files;
    tier.order.admitted(use_of(file.id, file.standing, file.bytes), file.standing.priority,
                        file.volume);
}

Status Cache::may_add(const ObjectStore& store) const {
    if (stores_.size() == kStoresMax)
        return Error{E2BIG, "there are " + std::to_string(kStoresMax) + " stores already"};
    if (const StoreTier* const same = store_of(store.uid()))
        return Error{EEXIST, store.name() + " is a copy of " + same->store->name()};
    return {};
}

void Cache::add_store(std::unique_ptr<ObjectStore> store,
                      const std::deque<StoredFile>& coldest_first) {
    auto made = std::make_unique<StoreTier>(options_.policy);
    StoreTier& tier = *made;
    tier.store = std::move(store);
    if (tier.store->draining()) set_draining(tier, false);  // it is wanted again
    {
        const MutexLock quotas(quota_mutex_);
        for (const Volumes::Usage& volume : volumes_.with_quota()) {
            const MutexLock lock(tier.mutex);
            tier.order.watch(volume.volume);
        }
        for (const StoredFile& file : coldest_first) count(tier, file);
        stores_.push_back(std::move(made));
    }
    for (const StoredFile& file : coldest_first) drop_if_gone(tier, file);
    room_.changed();
    kick_evictor();
}

/// Of a file that was counted while nobody knew the store: whoever unlinked it left its bytes.
void Cache::drop_if_gone(StoreTier& tier, const StoredFile& file) {
    Table::accessor entry;
    if (!objects_.insert(entry, file.id)) return;  // used by now, and so accounted for
    const auto record = catalog_->find_object(file.id);
    const bool gone = !record || record->unlinked;
    if (gone && forget(file.id, &tier, tier.store->footprint(file.bytes))) {
        VolumeShare counted{file.volume, file.bytes};
        volumes_.count(counted, 0);
    }
    objects_.erase(entry);
}

Status Cache::drain(const std::string& store, bool on) {
    StoreTier* wanted = nullptr;
    bool others = false;
    for (const auto& tier : stores_) {
        if (tier->store->name() == store)
            wanted = tier.get();
        else
            others |= !tier->draining;
    }
    if (wanted == nullptr) return Error{ENOENT, store + " is no store of this daemon"};
    if (on && !others) return Error{EBUSY, store + " is the only one that is not drained"};
    set_drain_moves(*wanted);
    set_draining(*wanted, on);
    {
        const MutexLock lock(keeper_mutex_);
        keeper_asked_ = true;
    }
    keeper_cv_.notify_all();
    return {};
}

void Cache::set_draining(StoreTier& tier, bool on) {
    const std::string name = tier.store->name();
    if (tier.draining.exchange(on) != on)
        spdlog::info("{}: {}", name, on ? "is being drained" : "is no longer drained");
    if (const Status kept = tier.store->set_draining(on); !kept)
        spdlog::warn("{}: the next daemon will not know that it is {}drained: {}", name,
                     on ? "" : "no longer ", kept.error().message());
}

/// Goes on with what an earlier daemon has begun. Where that leaves no store to write to, people
/// have taken the others away: then there is nowhere to drain to.
void Cache::resume_drains() {
    bool others = false;
    for (const auto& tier : stores_) {
        tier->draining = tier->store->draining();
        others |= !tier->draining;
    }
    for (const auto& tier : stores_) {
        if (!tier->draining) continue;
        if (others)
            spdlog::info("{}: is being drained", tier->store->name());
        else
            set_draining(*tier, false);
        set_drain_moves(*tier);
    }
}

/// As much of it stays in the cache as would if the tiers had always been that small.
void Cache::set_drain_moves(StoreTier& tier) {
    std::uint64_t others = 0;
    for (const auto& other : stores_)
        if (other.get() != &tier && !other->draining) others += other->store->capacity();
    const auto all = static_cast<double>(others + tier.store->capacity());
    const MutexLock lock(tier.mutex);
    tier.drain_moves = static_cast<std::uint64_t>(static_cast<double>(others) / all *
                                                  static_cast<double>(tier.used));
}

void Cache::keeper() {
    constexpr auto kEvery = std::chrono::seconds(1);
    for (;;) {
        {
            MutexLock lock(keeper_mutex_);
            const Deadline until = deadline_after(kEvery);
            while (!keeper_stop_ && !keeper_asked_)
                if (!keeper_cv_.wait_until(lock, until)) break;
            if (keeper_stop_) return;
            keeper_asked_ = false;
        }
        for (const auto& tier : stores_) {
            if (const Status there = tier->store->present(); !there)
                degrade(*tier, there.error().message());
            else if (tier->draining)
                drain_some(*tier);
        }
    }
}

/// Goes through what the store holds once. What is busy stays for the next time.
void Cache::drain_some(StoreTier& tier) {
    std::vector<ObjectId> coldest_first;
    {
        const MutexLock lock(tier.mutex);
        coldest_first = tier.order.victims(tier.order.files());
    }
    for (const ObjectId id : coldest_first) {
        {
            const MutexLock lock(keeper_mutex_);
            if (keeper_stop_) return;
        }
        if (!tier.draining || !healthy(tier)) return;
        std::uint64_t used = 0, moves = 0;
        {
            const MutexLock lock(tier.mutex);
            used = tier.used;
            moves = tier.drain_moves;
        }
        // The coldest go for good, until the rest is what has room elsewhere.
        if (used > std::max(moves, free_elsewhere(tier)) && lose(&tier, id, true) > 0) continue;
        auto object = acquire(id);
        if (!object) continue;
        bool scratch = false;
        {
            const MutexLock lock((*object)->mutex);
            scratch = (*object)->state == Object::State::scratch;
        }
        if (scratch)
            move_scratch(tier, *object);
        else
            move_sealed(tier, *object);
        retire(*std::move(object));
    }
}

std::uint64_t Cache::free_elsewhere(const StoreTier& than) const {
    std::uint64_t bytes = 0;
    for (const auto& tier : stores_) {
        if (tier.get() == &than || tier->draining || !healthy(*tier)) continue;
        const auto full = static_cast<std::uint64_t>(options_.watermark_high *
                                                     static_cast<double>(tier->store->capacity()));
        const MutexLock lock(tier->mutex);
        bytes += full > tier->used ? full - tier->used : 0;
    }
    return bytes;
}

/// One object on its way from a store to another.
struct Cache::Move {
    StoreTier* from = nullptr;
    StoreTier* to = nullptr;
    ObjectRecord record;  ///< as it will be
    std::uint64_t version = 0;
    std::uint64_t charged = 0;
    std::vector<ReadView> bytes;
    Awaited end;
};

void Cache::move_sealed(StoreTier& from, const ObjectPtr& object) {
    const auto move = std::make_shared<Move>();
    move->from = &from;
    {
        const MutexLock lock(object->mutex);
        if (object->state != Object::State::sealed || object->store != &from || object->spilling ||
            object->converting || object->unlinked)
            return;
        object->spilling = true;  // holds off who would change it
        move->record = record_of(*object);
        move->version = object->version;
    }
    const Status read = read_for(*move, object->id);
    // Draining may just have been stopped: then this one, too, would be a store to go to.
    if (read) move->to = charge_store(move->record.size, &from);
    if (move->to == nullptr) {
        {
            const MutexLock lock(object->mutex);
            object->spilling = object->renamed = false;
        }
        object->changed.notify_all();
        return;
    }
    move->record.store_uid = move->to->store->uid();
    move->charged = move->to->store->footprint(move->record.size);
    std::vector<std::span<const std::byte>> pieces;
    for (const ReadView& view : move->bytes)
        pieces.insert(pieces.end(), view.spans.begin(), view.spans.end());
    move->to->store->put(object->id, catalog_->label_object(object->id, move->record),
                         std::move(pieces), [this, object, move](Status status) {
                             moved(*object, *move, std::move(status));
                             move->end.finish(0);
                         });
    // However long it takes: moved() uses both stores, and the cache's end waits for this thread.
    while (!move->end.wait(deadline(), "moving an object"))
        spdlog::warn("{}: an object that is moved there has not arrived yet",
                     move->to->store->name());
    give_up_old(*object, *move);
}

/// The bytes of the object, checked. Errors: it stays where it is, or has been found corrupt.
Status Cache::read_for(Move& move, ObjectId id) {
    auto opened = move.from->store->open(id);
    if (!opened) {
        unreadable(*move.from, id, opened.error());
        return opened.error();
    }
    const std::shared_ptr<ObjectReader> reader = *std::move(opened);
    for (std::uint64_t at = 0; at < move.record.size; at += kChunkBytes) {
        const std::size_t length = std::min<std::uint64_t>(kChunkBytes, move.record.size - at);
        auto view = read_chunks(*move.from, reader, id, move.record.size, move.record.chunk_crcs,
                                at, length, deadline());
        if (!view) return view.error();
        move.bytes.push_back(std::move(*view));
    }
    return {};
}

/// The put is over: on a thread of the store.
void Cache::moved(Object& object, const Move& move, Status status) {
    const bool stored = status.ok();
    if (stored)
        status = catalog_->save_object(object.id, move.record);
    else
        store_failed(*move.to, object.id, "writing", status.error());
    bool kept = false;
    std::optional<ObjectRecord> renamed;
    std::uint64_t was_charged = 0;
    {
        const MutexLock lock(object.mutex);
        object.spilling = false;
        kept = status.ok() && move.version == object.version && !object.unlinked &&
               object.store == move.from;
        if (kept) {
            object.store = move.to;
            was_charged = std::exchange(object.charged, move.charged);
            if (object.renamed) renamed = record_of(object);
            const MutexLock tier_lock(move.to->mutex);
            move.to->order.admitted(object.use(move.charged), object.priority,
                                    object.counted.volume);
            ++move.to->files;
        }
        object.renamed = false;
    }
    object.changed.notify_all();
    if (kept) {
        if (renamed) relabel(object.id, *renamed);
        left_store(*move.from, object.id, was_charged);
        counters_.drained_bytes += move.record.size;
        kick_evictor();
        return;
    }
    if (stored) static_cast<void>(move.to->store->remove(object.id));  // unlinked meanwhile
    const MutexLock lock(move.to->mutex);
    move.to->used -= std::min(move.to->used, move.charged);
}

/// False: drop_if_gone() was here before.
bool Cache::left_store(StoreTier& tier, ObjectId id, std::uint64_t charged) {
    const MutexLock lock(tier.mutex);
    if (!tier.order.removed(id)) return false;
    tier.used -= std::min(tier.used, charged);
    tier.files -= std::min<std::uint64_t>(tier.files, 1);
    return true;
}

/// Removes the object from where it was, once no fill is about to open it there.
void Cache::give_up_old(Object& object, const Move& move) {
    {
        MutexLock lock(object.mutex);
        if (object.store != move.to) return;
        while (object.fill_starting)
            if (!wait_changed(object, lock, deadline())) break;
    }
    if (const Status removed = move.from->store->remove(object.id); !removed)
        store_failed(*move.from, object.id, "removing", removed.error());
}

}  // namespace kvfs
