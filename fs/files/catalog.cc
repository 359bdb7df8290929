// What the cache asks of and tells the namespace, and what is done about an earlier daemon's end.
#include <algorithm>
#include <deque>
#include <map>

#include "fs/base/log.h"
#include "fs/files/files.h"
#include "fs/files/notifier.h"

namespace kvfs {

Standing Files::standing_of(const Inode& inode) {
    const auto name = static_cast<std::uint32_t>(Lineage::name(inode.parent, inode.name));
    return {inode.priority, name, inode.chain_parent};
}

Result<ObjectRecord> Files::find_object(ObjectId id) {
    auto inode = names_.get(id);
    if (!inode) return inode.error();
    auto placement = names_.placement(id);
    if (!placement) return placement.error();
    ObjectRecord record;
    record.volume = inode->volume;
    record.pinned = inode->pinned;
    record.standing = standing_of(*inode);
    record.unlinked = inode->nlink == 0;
    record.scratch = placement->scratch;
    record.store_uid = placement->store_uid;
    record.size = placement->size;
    record.held_bytes = placement->held_bytes;
    record.chunk_crcs = std::move(placement->chunk_crcs);
    return record;
}

Status Files::save_object(ObjectId id, const ObjectRecord& record) {
    Placement placement;
    placement.scratch = record.scratch;
    placement.store_uid = record.store_uid;
    placement.size = record.size;
    placement.held_bytes = record.held_bytes;
    placement.chunk_crcs = record.chunk_crcs;
    return names_.set_placement(id, placement);
}

Status Files::unsave_object(ObjectId id) { return names_.set_placement(id, std::nullopt); }

ObjectLabel Files::label_object(ObjectId id, const ObjectRecord& record) {
    ObjectLabel label;
    label.size = record.size;
    label.chunk_crcs = record.chunk_crcs;
    if (const auto inode = names_.get(id)) {
        label.mode = inode->mode;
        label.uid = inode->uid;
        label.gid = inode->gid;
        label.mtime_ns = inode->mtime_ns;
    }
    if (auto path = names_.path(id)) label.path = std::move(*path);
    return label;
}

void Files::lose_object(ObjectId id) {
    const auto was = names_.remove(id);
    if (was) {
        lineage_.gone(Lineage::name(was->parent, was->name), id);
        if (was->parent != 0) notifier_->changed({was->parent, was->name, id});
    } else if (was.error().code != ENOENT) {
        spdlog::error("inode {} cannot be removed: {}", id, was.error().message());
    }
}

Result<std::vector<ObjectId>> Files::stored_objects(ObjectId from, std::size_t count) {
    std::vector<ObjectId> found;
    const Status scanned = names_.scan_placements(
        [&](const Inode& inode, const Placement&) {
            found.push_back(inode.ino);
            return found.size() < count;
        },
        std::max<ObjectId>(from, kRootIno));
    if (!scanned) return scanned.error();
    return found;
}

void Files::record_uses(const std::vector<ObjectUse>& uses) {
    std::vector<Namespace::Use> known;
    known.reserve(uses.size());
    for (const ObjectUse& use : uses) known.push_back({use.id, use.atime_ns, use.hits});
    if (Status recorded = names_.record_uses(known); !recorded)
        spdlog::error("the last uses of {} files are not recorded: {}", uses.size(),
                      recorded.error().message());
    std::unordered_set<Ino> unseen;
    {
        const MutexLock lock(unseen_mutex_);
        unseen.swap(unseen_uses_);
    }
    for (const Ino ino : unseen) notifier_->changed({.ino = ino});
}

void Files::drop_expired() {
    constexpr std::size_t kAtOnce = 1024, kStepsMax = 16;
    for (std::size_t step = 0; step < kStepsMax; ++step) {
        const auto expired = names_.expired(wall_ns(), kAtOnce);
        if (!expired) {
            spdlog::error("files whose time has passed stay: {}", expired.error().message());
            return;
        }
        for (const Inode& inode : *expired)
            static_cast<void>(cache_.drop(inode.ino));  // busy: it is named again later
        if (expired->size() < kAtOnce) return;
    }
}

Status Files::clean_up() {
    const auto unsettled = names_.unsettled();
    if (!unsettled) return unsettled.error();
    for (const Inode& inode : *unsettled) {
        const auto removed = names_.remove(inode.ino);
        if (!removed && removed.error().code != ENOENT) return removed.error();
        cache_.purge(inode.ino);
    }
    if (!unsettled->empty())
        spdlog::info("dropped {} files that an earlier daemon had not finished", unsettled->size());
    return {};
}

void Files::recall_quotas() {
    std::vector<Ino> volumes;
    const Status listed = names_.list(kRootIno, "", [&](const Namespace::Entry& entry) {
        if (entry.type == S_IFDIR) volumes.push_back(entry.ino);
        return true;
    });
    if (!listed) spdlog::error("volumes cannot be listed: {}", listed.error().message());
    for (const Ino volume : volumes)
        if (const auto inode = names_.get(volume); inode && quota_of(*inode).any())
            cache_.set_quota(volume, quota_of(*inode));
}

/// What each store holds by the records, coldest first; of one store only, if `wanted` names it.
std::map<std::uint64_t, Files::Held> Files::held_by_stores(std::uint64_t wanted) const {
    // By the time of last use. In a deque, which gives its memory back in small pieces while the
    // cache's lists grow by such: there may be 10^7 files.
    std::map<std::uint64_t, std::deque<std::pair<std::int64_t, Cache::StoredFile>>> dated;
    const Status scanned =
        names_.scan_placements([&](const Inode& inode, const Placement& placement) {
            if (wanted == 0 || placement.store_uid == wanted)
                dated[placement.store_uid].push_back(
                    {inode.atime_ns,
                     {inode.ino, placement.scratch ? placement.held_bytes : placement.size,
                      inode.volume, standing_of(inode)}});
            return true;
        });
    if (!scanned) spdlog::error("files on SSD cannot be listed: {}", scanned.error().message());
    std::map<std::uint64_t, Held> held;
    for (auto& [store_uid, files] : dated) {
        std::sort(files.begin(), files.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
        for (; !files.empty(); files.pop_front()) held[store_uid].push_back(files.front().second);
    }
    return held;
}

/// After the quotas: so each volume's files are in their order of use.
void Files::recall() {
    for (auto& [store_uid, files] : held_by_stores(0))
        for (; !files.empty(); files.pop_front()) cache_.recall(store_uid, files.front());
}

}  // namespace kvfs
