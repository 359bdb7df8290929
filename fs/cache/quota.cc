// Quotas of volumes: what their files hold is counted, beyond the hard quota their own files make
// room, and the tiers know the order among the files of each volume that has one.
#include <algorithm>

#include "fs/base/log.h"
#include "fs/cache/cache.h"

namespace kvfs {
namespace {

/// Records looked at before the evictor sees to the rest of its work.
constexpr std::size_t kGatherStep = 1024;

}  // namespace

void Cache::set_quota(VolumeId volume, VolumeQuota quota) {
    if (!quota.any() && !volumes_.quota(volume).any()) return;
    const MutexLock quotas(quota_mutex_);
    const bool had = volumes_.quota(volume).any();
    // The tiers' orders are there before anybody relies on them.
    const auto tell = [&](EvictionOrder& order) {
        if (quota.any())
            order.watch(volume);
        else
            order.unwatch(volume);
    };
    if (had != quota.any()) {
        for (const auto& tier : stores_) {
            const MutexLock lock(tier->mutex);
            tell(tier->order);
        }
        const MutexLock lock(dram_mutex_);
        tell(dram_order_);
    }
    {
        const MutexLock lock(evict_mutex_);
        if (!quota.any()) gathering_.erase(volume);
        if (!had && quota.any() && catalog_ != nullptr) {  // else recall() is still to come
            gathering_.insert(volume);
            gathered_below_ = 0;
        }
    }
    volumes_.set_quota(volume, quota);
    if (quota.any()) ask_evictor();
}

void Cache::count(Object& object) const { volumes_.count(object.counted, held_bytes(object)); }

/// Bytes that the file will hold besides; what it takes in a store is known only afterwards, so
/// there it is the most that they may be.
std::uint64_t Cache::growth(const Object& object, std::uint64_t offset,
                            std::uint64_t length) const {
    const std::uint64_t end = offset + length;
    const std::uint64_t beyond = end > object.size ? end - object.size : 0;
    const bool in_dram = object.state == Object::State::writing ||
                         (object.state == Object::State::sealed && object.size == 0);
    if (in_dram && end <= options_.file_bytes_max) return beyond;
    const bool has_holes = held_bytes(object) < object.size;
    return has_holes ? length : std::min(beyond, length);
}

Status Cache::reserve(Object& object, std::uint64_t offset, std::uint64_t length, Deadline until) {
    for (;;) {
        VolumeShare file;
        std::uint64_t more = 0;
        {
            const MutexLock lock(object.mutex);
            more = growth(object, offset, length);
            if (volumes_.charge(object.counted, more)) return {};
            file = object.counted;
        }
        if (Status room = make_room_in_volume(file, more, until); !room) return room;
    }
}

Status Cache::reserve(VolumeShare& draft, std::uint64_t bytes, Deadline until) {
    while (!volumes_.charge(draft, bytes))
        if (Status room = make_room_in_volume(draft, bytes, until); !room) return room;
    return {};
}

/// What keeps the volume's files busy is over in moments: a close or a lease, or else it is not
/// worth waiting for. What is on its way to a store can go as soon as it is there.
Status Cache::make_room_in_volume(const VolumeShare& file, std::uint64_t more, Deadline until) {
    constexpr auto kMoments = std::chrono::seconds(1);
    constexpr auto kPause = std::chrono::milliseconds(20);  // not every end is told to `room_`
    const Deadline patience = std::min(until, deadline_after(kMoments));
    ++counters_.writer_waits;
    for (;;) {
        const std::uint64_t seen = room_.changes();
        const std::uint64_t hard = volumes_.quota(file.volume).hard;
        if (hard != 0 && (more > hard || file.bytes > hard - more))
            return Error{EDQUOT, "more than the volume's quota"};  // and nothing has to go for it
        const VolumeEviction evicted = evict_from_volume(file.volume, more);
        if (volumes_.excess(file.volume, more) == 0) return {};
        const bool soon = evicted.moving || evicted.bytes > 0 || gathering(file.volume);
        if (!soon && (!evicted.busy || Clock::now() >= patience))
            return Error{EDQUOT, "the volume holds nothing that may be evicted"};
        if (Clock::now() >= until)
            return Error{ETIMEDOUT, "no room in the volume within the I/O timeout"};
        if (evicted.bytes == 0) room_.wait(seen, deadline_after(kPause));
    }
}

/// Of a volume that has just got a quota, gather_some() finds the files that have a record. Whoever
/// saves one later puts the file where it belongs.
Status Cache::save(ObjectId id, const ObjectRecord& record) {
    Status saved = catalog_->save_object(id, record);
    if (saved && volumes_.quota(record.volume).any()) regroup(id);
    return saved;
}

/// Puts the file among those of its volume, in all tiers that have it.
void Cache::regroup(ObjectId id) {
    // The entry is held: nobody makes it live, or removes it, meanwhile.
    Table::accessor entry;
    if (!objects_.insert(entry, id)) {
        const ObjectPtr object = entry->second;
        const MutexLock lock(object->mutex);
        const VolumeId volume = object->counted.volume;
        if (object->state == Object::State::sealed && object->content != nullptr) {
            const MutexLock dram_lock(dram_mutex_);
            dram_order_.join(object->use(object->content->size()), object->priority, volume);
        }
        if (object->store != nullptr) {
            const MutexLock tier_lock(object->store->mutex);
            object->store->order.join(object->use(object->charged), object->priority, volume);
        }
        return;
    }
    const auto record = catalog_->find_object(id);
    StoreTier* const tier = record && !record->unlinked ? store_of(record->store_uid) : nullptr;
    if (tier != nullptr) {
        const MutexLock lock(tier->mutex);
        tier->order.join(use_of(id, record->standing, held_bytes(*record)),
                         record->standing.priority, record->volume);
    }
    objects_.erase(entry);
}

bool Cache::gathering(VolumeId volume) {
    const MutexLock lock(evict_mutex_);
    return gathering_.contains(volume);
}

/// True when there is more to be done.
bool Cache::gather_some() {
    std::set<VolumeId> volumes;
    ObjectId from = 0;
    {
        const MutexLock lock(evict_mutex_);
        if (gathering_.empty()) return false;
        volumes = gathering_;
        from = gathered_below_;
    }
    const auto ids = catalog_->stored_objects(from, kGatherStep);
    if (!ids) spdlog::error("a volume's files are not found: {}", ids.error().message());
    const bool last = !ids || ids->empty();
    for (std::size_t i = 0; !last && i < ids->size(); ++i) {
        const auto record = catalog_->find_object((*ids)[i]);
        if (record && volumes.contains(record->volume)) regroup((*ids)[i]);
    }
    {
        const MutexLock lock(evict_mutex_);
        if (gathering_ != volumes || gathered_below_ != from) {
            gathered_below_ = 0;  // another volume meanwhile
            return !gathering_.empty();
        }
        if (!last) {
            gathered_below_ = ids->back() + 1;
            return true;
        }
        gathering_.clear();
    }
    room_.changed();
    return false;
}

/// True when more can go.
bool Cache::evict_excess() {
    bool goes_on = false;
    for (const VolumeId volume : volumes_.over_hard()) {
        const bool some = evict_from_volume(volume, 0).bytes > 0;
        goes_on |= some && volumes_.excess(volume) > 0;
    }
    return goes_on;
}

}  // namespace kvfs
