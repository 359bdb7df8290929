#include "fs/cache/eviction_order.h"

#include <cassert>
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

// --- a policy for each priority
// -------------------------------------------------------------------

EvictionPolicy& EvictionOrder::Policies::of(Priority priority, const std::string& policy) {
    auto& one = by_priority_[index_of(priority)];
    if (one == nullptr) one = make_policy(policy);
    assert(one != nullptr);
    return *one;
}

void EvictionOrder::Policies::admitted(const FileUse& file, Priority priority,
                                       const std::string& policy) {
    for (const Priority other : kPriorities)
        if (other != priority && files(other) > 0) of(other, policy).removed(file.id);
    of(priority, policy).admitted(file);
}

bool EvictionOrder::Policies::removed(ObjectId id) {
    const std::size_t before = files();
    for (const auto& policy : by_priority_)
        if (policy != nullptr && policy->files() > 0) policy->removed(id);
    return files() < before;
}

bool EvictionOrder::Policies::rank(ObjectId id, Priority priority, const std::string& policy) {
    if (!removed(id)) return false;
    of(priority, policy).admitted({.id = id});
    return true;
}

std::size_t EvictionOrder::Policies::files() const {
    std::size_t all = 0;
    for (const Priority priority : kPriorities) all += files(priority);
    return all;
}

std::size_t EvictionOrder::Policies::files(Priority priority) const {
    const auto& policy = by_priority_[index_of(priority)];
    return policy == nullptr ? 0 : policy->files();
}

std::vector<ObjectId> EvictionOrder::Policies::victims(Priority priority, std::size_t count) const {
    if (count == 0 || files(priority) == 0) return {};
    return by_priority_[index_of(priority)]->victims(count);
}

// --- the tier
// -------------------------------------------------------------------------------------

EvictionOrder::EvictionOrder(std::string_view policy) : policy_(policy) {
    assert(make_policy(policy) != nullptr);
}

void EvictionOrder::admitted(const FileUse& file, Priority priority, VolumeId volume) {
    all_.admitted(file, priority, policy_);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end()) watched->second.admitted(file, priority, policy_);
}

void EvictionOrder::used(const FileUse& file, Priority priority, VolumeId volume) {
    if (all_.files(priority) > 0) all_.of(priority, policy_).used(file);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end() && watched->second.files(priority) > 0)
        watched->second.of(priority, policy_).used(file);
}

void EvictionOrder::removed(ObjectId id) {
    all_.removed(id);
    for (auto& [volume, policies] : volumes_) policies.removed(id);
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

void EvictionOrder::rank(ObjectId id, Priority priority) {
    if (!all_.rank(id, priority, policy_)) return;
    for (auto& [volume, policies] : volumes_)
        if (policies.rank(id, priority, policy_)) break;
}

void EvictionOrder::watch(VolumeId volume) { volumes_.try_emplace(volume); }

void EvictionOrder::unwatch(VolumeId volume) { volumes_.erase(volume); }

void EvictionOrder::join(const FileUse& file, Priority priority, VolumeId volume) {
    for (auto& [other, policies] : volumes_)
        if (other != volume) policies.removed(file.id);
    const auto watched = volumes_.find(volume);
    if (watched != volumes_.end()) watched->second.admitted(file, priority, policy_);
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
