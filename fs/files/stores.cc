// What people change about stores while the daemon runs: one comes, one is drained.
#include <unistd.h>

#include "fs/base/log.h"
#include "fs/files/files.h"

namespace kvfs {

Status Files::control_stores(std::string_view key, std::string_view value, std::uint32_t uid) {
    if (uid != 0 && uid != ::geteuid()) return Error{EPERM};
    Status done;
    if (key == "ssd")
        done = add_store(value);
    else if (value.empty())
        done = stop_draining();
    else
        done = cache_.drain("ssd:" + std::string(value), true);
    const MutexLock lock(refused_mutex_);
    refused_.reset();
    if (done) return {};
    refused_ = {std::string(key), std::string(value), done.error().message()};
    // Of an attribute's inode, ENOENT would mean that the root is gone.
    return done.error().code == ENOENT ? Error{ENXIO, done.error().what} : done;
}

Status Files::add_store(std::string_view spec) {
    if (store_maker_ == nullptr) return Error{ENOTSUP, "no directory can be added to this daemon"};
    const MutexLock lock(adding_mutex_);
    auto store = store_maker_(spec);
    if (!store) return store.error();
    const std::string name = (*store)->name();
    const std::uint64_t uid = (*store)->uid();
    const std::unique_lock volumes_stay(volumes_mutex_);
    const Held held = std::move(held_by_stores(uid)[uid]);
    cache_.add_store(*std::move(store), held);
    spdlog::info("{}: added; holds {} files", name, held.size());
    return {};
}

Status Files::stop_draining() {
    Status all;
    for (const auto& tier : cache_.usage())
        if (tier.draining)
            if (Status stopped = cache_.drain(tier.name, false); !stopped) all = stopped;
    return all;
}

/// A line each.
std::string Files::directories_of_stores(bool drained_only) const {
    std::string all;
    for (const auto& tier : cache_.usage())
        if (tier.name.starts_with("ssd:") && (tier.draining || !drained_only))
            all += tier.name.substr(tier.name.find(':') + 1) + "\n";
    return all;
}

}  // namespace kvfs
