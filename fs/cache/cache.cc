#include "fs/cache/cache.h"

#include <algorithm>
#include <utility>

#include "fs/base/log.h"

namespace kvfs {

Cache::Cache(std::unique_ptr<Arena> arena, std::vector<std::unique_ptr<ObjectStore>> stores,
             Options options)
    : options_(options), arena_(std::move(arena)), dram_order_(options.policy) {
    if (options_.file_bytes_max == 0) options_.file_bytes_max = arena_->capacity() / 4;
    for (auto& store : stores) {
        auto tier = std::make_unique<StoreTier>(options.policy);
        tier->store = std::move(store);
        stores_.push_back(std::move(tier));
    }
}

Cache::~Cache() { stop(); }

void Cache::start(Catalog& catalog) {
    catalog_ = &catalog;
    resume_drains();
    spiller_ = std::thread([this] { spiller(); });
    evictor_ = std::thread([this] { evictor(); });
    keeper_ = std::thread([this] { keeper(); });
    if (options_.scrub_bytes_per_s > 0) scrubber_ = std::thread([this] { scrubber(); });
}

void Cache::purge(ObjectId id) {
    for (const auto& tier : stores_)
        if (const Status removed = tier->store->remove(id); !removed)
            store_failed(*tier, id, "removing", removed.error());
}

ObjectPtr Cache::add(ObjectId id, VolumeId volume, const Standing& standing) {
    auto object = std::make_shared<Object>(id, volume);
    object->set_standing(standing);
    Table::accessor entry;
    objects_.insert(entry, id);
    entry->second = object;
    return object;
}

ObjectPtr Cache::live(ObjectId id) const {
    Table::const_accessor entry;
    return objects_.find(entry, id) ? entry->second : nullptr;
}

Result<ObjectPtr> Cache::acquire(ObjectId id) {
    if (ObjectPtr object = live(id)) return object;
    // The entry is held while the record is read: whoever evicts the file from its store holds it
    // too.
    Table::accessor entry;
    if (!objects_.insert(entry, id)) return entry->second;
    auto record = catalog_->find_object(id);
    StoreTier* tier = record ? store_of(record->store_uid) : nullptr;
    const bool empty = record && record->store_uid == 0;
    if ((tier == nullptr && !empty) || record->unlinked) {
        objects_.erase(entry);
        if (!record) return record.error();
        if (record->unlinked) return Error{ENOENT};
        return Error{ENOENT, "the store that holds it is not among the daemon's"};
    }
    auto object = std::make_shared<Object>(id, record->volume);
    const MutexLock lock(object->mutex);
    object->state = record->scratch ? Object::State::scratch : Object::State::sealed;
    object->size = record->size;
    object->store = tier;
    object->empty_saved = empty;
    object->charged = empty ? 0 : charge_of(*tier, *record);
    object->counted.bytes = held_bytes(*record);  // and is counted already
    object->chunk_crcs = std::move(record->chunk_crcs);
    object->pinned = record->pinned;
    object->set_standing(record->standing);
    entry->second = object;
    return object;
}

Status Cache::opened(Object& object, bool writes) {
    bool in_dram = false;
    bool hit = false;
    StoreTier* store = nullptr;
    VolumeId volume = 0;
    {
        const MutexLock lock(object.mutex);
        volume = object.counted.volume;
        if (object.state == Object::State::lost) return Error{ESTALE};
        ++object.handles;
        if (writes) ++object.writers;
        in_dram = object.content != nullptr;
        store = object.store;
        hit = in_dram || store != nullptr || object.empty_saved;
    }
    used(object, volume, hit, in_dram, store);
    return {};
}

void Cache::closing(Object& object, bool is) {
    const MutexLock lock(object.mutex);
    object.closing += is ? 1 : -1U;
}

bool Cache::await_closed(ObjectId id) const {
    // A close is on its way for microseconds; unless its program has another descriptor of it open.
    constexpr auto kMoment = std::chrono::milliseconds(50);
    const ObjectPtr object = live(id);
    if (object == nullptr) return false;
    const Deadline until = deadline_after(kMoment);
    bool waited = false;
    MutexLock lock(object->mutex);
    while ((object->state == Object::State::writing || object->unfinished) && object->writers > 0 &&
           object->closing == object->writers) {
        waited = true;
        if (!object->changed.wait_until(lock, until)) break;
    }
    return waited;
}

bool Cache::closed(ObjectPtr object, const Closing& how) {
    bool spill = false;
    bool gone = false;
    std::optional<ObjectRecord> record;
    {
        MutexLock lock(object->mutex);
        assert(object->handles > 0);
        --object->handles;
        if (how.writes) --object->writers;
        if (how.announced) --object->closing;
        if (how.backed) {
            measure(*object);
            --object->backed;
        }
        if (object->writers == 0 && std::exchange(object->unfinished, false))
            object->changed.notify_all();
        gone = object->unlinked && object->handles == 0;
        if (how.writes && object->writers == 0 && !gone) {
            if (object->state == Object::State::writing) {
                seal(*object, lock);
                spill = true;
            } else if (object->state == Object::State::scratch) {
                measure(*object);
                record = record_of(*object);
            }
        }
    }
    if (record) {
        static_cast<void>(save(object->id, *record));
        relabel(object->id, *record);
    }
    if (spill) write_behind(object);
    if (gone) discard(object);
    retire(std::move(object));
    return gone;
}

bool Cache::unlinked(ObjectId id) {
    if (ObjectPtr object = live(id)) {
        {
            const MutexLock lock(object->mutex);
            object->unlinked = true;
            if (object->handles > 0) return false;
        }
        discard(object);
        return true;
    }
    Table::accessor entry;
    if (!objects_.insert(entry, id)) {  // became live meanwhile
        entry.release();
        return unlinked(id);
    }
    if (const auto record = catalog_->find_object(id)) {
        StoreTier* tier = store_of(record->store_uid);
        if (tier != nullptr) {
            VolumeShare counted{record->volume, held_bytes(*record)};
            if (forget(id, tier, charge_of(*tier, *record))) volumes_.count(counted, 0);
        }
    }
    objects_.erase(entry);
    return true;
}

Status Cache::renamed(ObjectId id, VolumeId volume) {
    std::optional<ObjectRecord> record;
    const ObjectPtr object = live(id);
    if (object != nullptr) {
        const MutexLock lock(object->mutex);
        object->renamed = object->spilling;
        if (object->store != nullptr) record = record_of(*object);
    } else if (auto found = catalog_->find_object(id)) {
        record = std::move(*found);
    }
    if (record) relabel(id, *record);
    if (object == nullptr) return {};
    bool counts_elsewhere = false;
    {
        const MutexLock lock(object->mutex);
        counts_elsewhere = object->counted.volume != volume;
        if (counts_elsewhere) volumes_.move(object->counted, volume);
    }
    if (counts_elsewhere) {
        regroup(id);
        kick_evictor();
    }
    return move_to_volume(*object, volume);
}

void Cache::relabel(ObjectId id, const ObjectRecord& record) {
    StoreTier* const tier = store_of(record.store_uid);
    if (tier == nullptr) return;
    const Status done = tier->store->relabel(id, catalog_->label_object(id, record));
    // ENOENT: evicted or rewritten meanwhile.
    if (!done && done.error().code != ENOENT) store_failed(*tier, id, "relabelling", done.error());
}

Status Cache::move_to_volume(Object& object, VolumeId volume) {
    const Deadline until = deadline();
    MutexLock lock(object.mutex);
    if (object.volume == volume) return {};
    while (object.converting || object.fill_starting || object.spilling ||
           object.writes_in_flight > 0) {
        if (Status waited = wait_changed(object, lock, until); !waited) return waited;
    }
    const std::shared_ptr<Content> old = object.content;
    object.volume = volume;
    if (old == nullptr) return {};
    if (object.store != nullptr) {  // the store's copy serves; a fill brings it back
        object.content.reset();
        return {};
    }
    // Slabs are a volume's own, so the bytes must change places.
    for (;;) {
        auto memory = arena_->allocate(volume, old->capacity());
        if (memory) {
            const auto from = old->spans(0, old->size());
            auto to = memory->spans(0, old->size());
            std::size_t piece = 0;
            std::size_t done = 0;
            for (const auto& source : from) {
                for (std::size_t at = 0; at < source.size();) {
                    const std::size_t step = std::min(source.size() - at, to[piece].size() - done);
                    std::copy_n(source.data() + at, step, to[piece].data() + done);
                    at += step;
                    done += step;
                    if (done == to[piece].size()) ++piece, done = 0;
                }
            }
            object.content = std::make_shared<Content>(std::move(*memory), old->size(), room_);
            return {};
        }
        object.converting = true;  // keeps writers and evictions away while the lock is open
        lock.unlock();
        Status room = make_room(volume, old->capacity(), until);
        lock.lock();
        object.converting = false;
        object.changed.notify_all();
        if (!room) return room;
    }
}

std::optional<Cache::Residency> Cache::residency(ObjectId id) const {
    const ObjectPtr object = live(id);
    if (object == nullptr) return std::nullopt;
    const MutexLock lock(object->mutex);
    if (object->state == Object::State::lost) return std::nullopt;
    if (object->backed > 0) measure(*object);
    Residency now;
    now.size = object->size;
    now.dram_bytes = object->content ? object->content->size() : 0;
    if (object->store != nullptr) now.store = object->store->store->name();
    now.held_bytes = held_bytes(*object);
    now.modified_ns = object->modified_ns;
    now.sealed = object->state != Object::State::writing && object->writers == 0;
    now.scratch = object->state == Object::State::scratch;
    now.chunk_crcs = object->chunk_crcs;
    return now;
}

std::string Cache::store_name(std::uint64_t store_uid) const {
    const StoreTier* tier = store_of(store_uid);
    return tier == nullptr ? "" : tier->store->name();
}

void Cache::set_standing(ObjectId id, const Standing& standing) {
    const ObjectPtr object = live(id);
    if (object != nullptr) object->set_standing(standing);
    const FileUse file = use_of(id, standing, 0);
    {
        const MutexLock lock(dram_mutex_);
        dram_order_.changed(file, standing.priority);
    }
    for (const auto& tier : stores_) {
        const MutexLock lock(tier->mutex);
        tier->order.changed(file, standing.priority);
    }
    if (object != nullptr) reconsider(*object);
}

void Cache::set_pinned(ObjectId id, bool pinned) {
    if (const ObjectPtr object = live(id)) object->pinned = pinned;
}

std::size_t Cache::dram_files() const {
    const MutexLock lock(dram_mutex_);
    return dram_order_.files();
}

ObjectUse Cache::pending_use(ObjectId id) const {
    const MutexLock lock(uses_mutex_);
    const auto found = uses_.find(id);
    return found == uses_.end() ? ObjectUse{id, 0, 0} : found->second;
}

void Cache::forget_access_time(ObjectId id) {
    const MutexLock lock(uses_mutex_);
    if (const auto found = uses_.find(id); found != uses_.end()) found->second.atime_ns = 0;
}

void Cache::flush_uses() {
    std::vector<ObjectUse> uses;
    {
        const MutexLock lock(uses_mutex_);
        uses.reserve(uses_.size());
        for (const auto& [id, use] : uses_) uses.push_back(use);
        uses_.clear();
    }
    if (!uses.empty()) catalog_->record_uses(uses);
    measure_backed();
    if (!volumes_.over_hard().empty()) ask_evictor();  // what could not go may go now

    std::vector<std::weak_ptr<Object>> again;
    {
        const MutexLock lock(spill_mutex_);
        again.swap(spill_later_);
    }
    for (const auto& failed : again)
        if (ObjectPtr object = failed.lock()) write_behind(std::move(object));
}

std::vector<Cache::TierUsage> Cache::usage() const {
    std::vector<TierUsage> tiers;
    {
        const MutexLock lock(dram_mutex_);
        tiers.push_back({"dram", arena_->capacity(), arena_->used(), dram_order_.files()});
    }
    for (const auto& tier : stores_) {
        const MutexLock lock(tier->mutex);
        const bool degraded = !healthy(*tier);
        tiers.push_back({tier->store->name(), tier->store->capacity(), tier->used, tier->files,
                         degraded, degraded ? tier->failure : "", tier->draining});
    }
    return tiers;
}

void Cache::used(const Object& object, VolumeId volume, bool hit, bool in_dram, StoreTier* store) {
    {
        const MutexLock lock(uses_mutex_);
        ObjectUse& use = uses_[object.id];
        use.id = object.id;
        use.atime_ns = wall_ns_coarse();
        if (hit) ++use.hits;
    }
    if (in_dram) {
        ++counters_.dram_hits;
        const MutexLock lock(dram_mutex_);
        dram_order_.used(object.use(), object.priority, volume);
    } else if (store != nullptr) {
        ++counters_.store_hits;
    }
    if (store != nullptr) {
        const MutexLock lock(store->mutex);
        store->order.used(object.use(), object.priority, volume);
    } else if (hit) {
        reconsider(object);
    }
}

void Cache::admit(const Object& object, std::uint64_t bytes) {
    const MutexLock lock(dram_mutex_);
    dram_order_.admitted(object.use(bytes), object.priority, object.counted.volume);
}

/// True: the store counted it until now.
bool Cache::forget(ObjectId id, StoreTier* store, std::uint64_t charged) {
    {
        const MutexLock lock(dram_mutex_);
        dram_order_.removed(id);
    }
    if (store == nullptr) return false;
    if (const Status removed = store->store->remove(id); !removed)
        store_failed(*store, id, "removing", removed.error());
    return left_store(*store, id, charged);
}

void Cache::retire(ObjectPtr object) {
    Table::accessor entry;
    if (!objects_.find(entry, object->id) || entry->second != object) return;
    object.reset();
    if (entry->second.use_count() != 1) return;
    {
        const Object& idle = *entry->second;
        const MutexLock lock(idle.mutex);
        const bool record_tells =
            (idle.store != nullptr || idle.empty_saved) && idle.content == nullptr;
        if (idle.handles > 0 || !(record_tells || idle.state == Object::State::lost)) return;
    }
    objects_.erase(entry);
}

void Cache::discard(const ObjectPtr& object) {
    StoreTier* store = nullptr;
    std::uint64_t charged = 0;
    {
        const MutexLock lock(object->mutex);
        object->state = Object::State::lost;
        object->content.reset();
        object->scratch_file.reset();
        ++object->version;
        store = std::exchange(object->store, nullptr);
        charged = std::exchange(object->charged, 0);
        count(*object);
    }
    object->changed.notify_all();
    forget(object->id, store, charged);
    objects_.erase(object->id);  // numbers are never reused, so no other object can be meant
}

void Cache::seal(Object& object, MutexLock& lock) {
    // A write that is under way on another thread was issued before the close; it ends by itself.
    while (object.writes_in_flight > 0) object.changed.wait(lock);
    object.state = Object::State::sealed;
    object.chunk_crcs.clear();
    if (object.size == 0) object.content.reset();  // room that was reserved, and not used
    if (object.content != nullptr) {
        if (object.content.use_count() == 1) object.content->memory().shrink(object.size);
        admit(object, object.content->size());
    }
    object.changed.notify_all();
}

ObjectRecord Cache::record_of(const Object& object) const {
    ObjectRecord record;
    record.volume = object.counted.volume;
    record.scratch = object.state == Object::State::scratch;
    record.pinned = object.pinned;
    record.standing = object.standing();
    record.store_uid = object.store == nullptr ? 0 : object.store->store->uid();
    record.size = object.size;
    record.held_bytes = object.charged;
    record.chunk_crcs = object.chunk_crcs;
    return record;
}

Status Cache::wait_changed(Object& object, MutexLock& lock, Deadline deadline) {
    if (object.changed.wait_until(lock, deadline)) return {};
    return Error{ETIMEDOUT, "the file was busy for longer than the I/O timeout"};
}

ObjectPtr Cache::adopt(ObjectId id, VolumeId volume, const Standing& standing,
                       std::shared_ptr<Content> content) {
    ObjectPtr object = add(id, volume, standing);
    counters_.written_bytes += content->size();
    {
        MutexLock lock(object->mutex);
        object->size = content->size();
        object->counted = {volume, content->take_share().bytes};
        const Recount recount(*this, *object);
        if (object->size > 0) object->content = std::move(content);
        seal(*object, lock);
    }
    return object;
}

}  // namespace kvfs
