#include "fs/cache/eviction_order.h"

#include <unordered_set>

namespace kvfs {
namespace {

std::size_t index_of(Priority priority) {
    return static_cast<std::size_t>(static_cast<int>(priority) + 1);
}

void append(std::vector<ObjectId>& to, const std::vector<ObjectId>& ids) {
    to.insert(to.end(), ids.begin(), ids.end());
}

}  // namespace

// A policy for each priority

EvictionPolicy* EvictionOrder::Policies::made(Priority priority) const {
    return by_priority_[index_of(priority)].get();
}

EvictionPolicy& EvictionOrder::Policies::of(Priority priority, MakePolicy make) {
    auto& one = by_priority_[index_of(priority)];
    if (one == nullptr) one = make();
    return *one;
}

void EvictionOrder::Policies::admitted(const FileUse& file, Priority priority, MakePolicy make) {
    if (!has(file.id, priority)) removed(file.id);
    of(priority, make).admitted(file);
}

void EvictionOrder::Policies::used(const FileUse& file, Priority priority) {
    if (made(priority) != nullptr) made(priority)->used(file);
}

void EvictionOrder::Policies::changed(const FileUse& file, Priority priority, MakePolicy make) {
    if (has(file.id, priority))
        made(priority)->changed(file);
    else if (removed(file.id))
        of(priority, make).admitted(file);
}

void EvictionOrder::Policies::joined(const FileUse& file, Priority priority, MakePolicy make) {
    if (has(file.id, priority))
        made(priority)->changed(file);
    else
        admitted(file, priority, make);
}

bool EvictionOrder::Policies::removed(ObjectId id) {
    for (const auto& policy : by_priority_)
        if (policy != nullptr && policy->has(id)) {
            policy->removed(id);
            return true;
        }
    return false;
}

bool EvictionOrder::Policies::has(ObjectId id, Priority priority) const {
    return made(priority) != nullptr && made(priority)->has(id);
}

std::size_t EvictionOrder::Policies::files() const {
    std::size_t all = 0;
    for (const Priority priority : kPriorities) all += files(priority);
    return all;
}

std::size_t EvictionOrder::Policies::files(Priority priority) const {
    return made(priority) == nullptr ? 0 : made(priority)->files();
}

std::vector<ObjectId> EvictionOrder::Policies::victims(Priority priority, std::size_t count) const {
    if (count == 0 || files(priority) == 0) return {};
    return made(priority)->victims(count);
}

// The tier

bool EvictionOrder::admits(const FileUse& file, Priority priority) {
    for (const Priority lower : kPriorities)
        if (lower < priority && all_.files(lower) > 0) return true;
    return all_.of(priority, make_).admits(file);
}

void EvictionOrder::admitted(const FileUse& file, Priority priority, VolumeId volume) {
    all_.admitted(file, priority, make_);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end()) watched->second.admitted(file, priority, make_);
}

void EvictionOrder::used(const FileUse& file, Priority priority, VolumeId volume) {
    all_.used(file, priority);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end()) watched->second.used(file, priority);
}

bool EvictionOrder::removed(ObjectId id) {
    for (auto& [volume, policies] : volumes_) policies.removed(id);
    return all_.removed(id);
}

std::vector<ObjectId> EvictionOrder::victims(std::size_t count, std::span<const VolumeId> over) {
    std::vector<ObjectId> ids;
    for (const Priority priority : kPriorities) {
        const std::size_t wanted = count - ids.size();
        if (over.empty()) {
            append(ids, all_.victims(priority, wanted));
            continue;
        }
        std::unordered_set<ObjectId> named;
        const auto name = [&](const std::vector<ObjectId>& some) {
            for (const ObjectId id : some)
                if (ids.size() < count && named.insert(id).second) ids.push_back(id);
        };
        for (const VolumeId volume : over) {
            const auto watched = volumes_.find(volume);
            if (watched != volumes_.end()) name(watched->second.victims(priority, wanted));
        }
        name(all_.victims(priority, wanted));
    }
    return ids;
}

std::size_t EvictionOrder::files() const { return all_.files(); }

void EvictionOrder::changed(const FileUse& file, Priority priority) {
    all_.changed(file, priority, make_);
    for (auto& [volume, policies] : volumes_) policies.changed(file, priority, make_);
}

void EvictionOrder::watch(VolumeId volume) { volumes_.try_emplace(volume); }

void EvictionOrder::unwatch(VolumeId volume) { volumes_.erase(volume); }

void EvictionOrder::join(const FileUse& file, Priority priority, VolumeId volume) {
    for (auto& [other, policies] : volumes_)
        if (other != volume) policies.removed(file.id);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end()) watched->second.joined(file, priority, make_);
}

std::vector<ObjectId> EvictionOrder::victims_of(VolumeId volume, std::size_t count) {
    std::vector<ObjectId> ids;
    const auto watched = volumes_.find(volume);
    if (watched == volumes_.end()) return ids;
    for (const Priority priority : kPriorities)
        append(ids, watched->second.victims(priority, count - ids.size()));
    return ids;
}

std::size_t EvictionOrder::files_of(VolumeId volume) const {
    const auto watched = volumes_.find(volume);
    return watched == volumes_.end() ? 0 : watched->second.files();
}

}  // namespace kvfs
