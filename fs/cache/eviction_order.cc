#include "fs/cache/eviction_order.h"

namespace kvfs {

EvictionOrder::EvictionOrder(MakePolicy make) {
    for (auto& one : by_priority_) one = make();
}

EvictionPolicy& EvictionOrder::of(Priority priority) {
    return *by_priority_[static_cast<std::size_t>(static_cast<int>(priority) + 1)];
}

bool EvictionOrder::admits(const FileUse& file, Priority priority) {
    for (const Priority lower : kPriorities)
        if (lower < priority && of(lower).files() > 0) return true;
    return of(priority).admits(file);
}

void EvictionOrder::admitted(const FileUse& file, Priority priority) {
    for (const Priority other : kPriorities)
        if (other != priority && of(other).files() > 0) of(other).removed(file.id);
    of(priority).admitted(file);
}

void EvictionOrder::used(const FileUse& file, Priority priority) { of(priority).used(file); }

bool EvictionOrder::removed(ObjectId id) {
    const std::size_t before = files();
    for (const auto& policy : by_priority_)
        if (policy->files() > 0) policy->removed(id);
    return files() < before;
}

std::vector<ObjectId> EvictionOrder::victims(std::size_t count) {
    std::vector<ObjectId> all;
    for (const auto& policy : by_priority_) {
        if (all.size() == count || policy->files() == 0) continue;
        const std::vector<ObjectId> some = policy->victims(count - all.size());
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

std::size_t EvictionOrder::files() const {
    std::size_t all = 0;
    for (const auto& policy : by_priority_) all += policy->files();
    return all;
}

void EvictionOrder::changed(const FileUse& file, Priority priority) {
    bool moved = false;
    for (const Priority other : kPriorities)
        if (other != priority && of(other).files() > 0) {
            const std::size_t before = of(other).files();
            of(other).removed(file.id);
            moved |= of(other).files() < before;
        }
    moved ? of(priority).admitted(file) : of(priority).changed(file);
}

}  // namespace kvfs
