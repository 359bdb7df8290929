// What people look at: user.kvfs.* and the daemon's statistics.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fs/base/crc32c.h"
#include "fs/files/files.h"

namespace kvfs {
namespace {

constexpr std::string_view kPrefix = "user.kvfs.";
constexpr std::array<std::string_view, 16> kKnown{
    "tier",  "resident", "hits",  "crc32c", "pin",    "scratch",    "ttl",        "priority",
    "stats", "socket",   "drain", "ssd",    "parent", "quota.soft", "quota.hard", "usage"};

bool of_stores(Ino ino, std::string_view key) {
    return ino == kRootIno && (key == "ssd" || key == "drain");
}

bool is_state(std::string_view name) { return name.starts_with(kPrefix); }

/// What setting `key` to `value` changes. Errors: EINVAL - the value does not parse; EPERM - it
/// cannot be set on such an inode; ENOTSUP - no such key.
Result<Namespace::Change> change_of(const Inode& inode, std::string_view key,
                                    std::string_view value) {
    Namespace::Change wanted;
    const bool regular = inode.is_regular(), directory = inode.is_directory();
    if ((key == "pin" && regular) || (key == "scratch" && directory)) {
        if (value != "0" && value != "1") return Error{EINVAL};
        (regular ? wanted.pinned : wanted.scratch) = value == "1";
    } else if (key == "ttl" && (regular || directory)) {
        std::uint32_t seconds = 0;
        const auto [end, error] = std::from_chars(value.begin(), value.end(), seconds);
        if (error != std::errc{} || end != value.end()) return Error{EINVAL};
        wanted.ttl_s = seconds;
    } else if (key == "priority" && (regular || directory)) {
        wanted.priority = priority_named(value);
        if (!wanted.priority) return Error{EINVAL};
    } else if ((key == "quota.soft" || key == "quota.hard") && inode.is_volume()) {
        std::int64_t bytes = 0;  // as file sizes are
        const auto [end, error] = std::from_chars(value.begin(), value.end(), bytes);
        if (error != std::errc{} || end != value.end() || bytes < 0 || value.front() == '-')
            return Error{EINVAL};
        (key == "quota.soft" ? wanted.soft_quota : wanted.hard_quota) =
            static_cast<std::uint64_t>(bytes);
    } else {
        return Error{std::ranges::find(kKnown, key) != kKnown.end() ? EPERM : ENOTSUP};
    }
    return wanted;
}

std::string hex(std::span<const std::uint32_t> crcs) {
    std::string text;
    std::array<char, 12> one{};
    for (const std::uint32_t crc : crcs) {
        std::snprintf(one.data(), one.size(), "%s%08x", text.empty() ? "" : ",", crc);
        text += one.data();
    }
    return text;
}

}  // namespace

std::string Files::tier_of(Ino ino, std::uint64_t* dram_bytes) const {
    std::string tiers;
    std::string store;
    if (const auto live = cache_.residency(ino)) {
        if (dram_bytes != nullptr) *dram_bytes = live->dram_bytes;
        if (live->dram_bytes > 0) tiers = "dram";
        store = live->store;
    } else if (const auto placement = names_.placement(ino)) {
        store = cache_.store_name(placement->store_uid);
    }
    if (!store.empty()) {
        if (!tiers.empty()) tiers += ',';
        tiers += store.substr(0, store.find(':'));
    }
    return tiers.empty() ? "none" : tiers;
}

Result<std::string> Files::state_xattr(const Inode& inode, std::string_view key) {
    if (inode.ino == kRootIno && key == "stats") return statistics();
    if (inode.ino == kRootIno && key == "socket") return socket_path_;
    if (of_stores(inode.ino, key)) return directories_of_stores(key == "drain");
    if (inode.is_directory() && key == "scratch") return std::string(inode.scratch ? "1" : "0");
    if (inode.is_volume()) {
        if (key == "quota.soft") return std::to_string(inode.soft_quota);
        if (key == "quota.hard") return std::to_string(inode.hard_quota);
        if (key == "usage") return std::to_string(cache_.volumes().used(inode.ino));
    }
    if (inode.is_symlink()) return Error{ENODATA};
    if (key == "ttl") return std::to_string(inode.ttl_s);
    if (key == "priority") return std::string(name_of(inode.priority));
    if (!inode.is_regular()) return Error{ENODATA};
    if (key == "pin") return std::string(inode.pinned ? "1" : "0");
    if (key == "parent") {
        const auto path = inode.chain_parent == 0 ? Error{ENOENT} : names_.path(inode.chain_parent);
        return path ? "/" + *path : Result<std::string>(Error{ENODATA});
    }
    if (key == "hits") return std::to_string(inode.hits + cache_.pending_use(inode.ino).hits);
    if (key == "scratch") {
        bool scratch = false;
        if (const auto live = cache_.residency(inode.ino))
            scratch = live->scratch;
        else if (const auto placement = names_.placement(inode.ino))
            scratch = placement->scratch;
        return std::string(scratch ? "1" : "0");
    }
    if (key == "tier") return tier_of(inode.ino, nullptr);
    if (key == "resident") {
        std::uint64_t dram_bytes = 0;
        static_cast<void>(tier_of(inode.ino, &dram_bytes));
        return std::to_string(dram_bytes);
    }
    if (key == "crc32c") {
        std::vector<std::uint32_t> crcs;
        if (auto live = cache_.residency(inode.ino))
            crcs = std::move(live->chunk_crcs);
        else if (auto placement = names_.placement(inode.ino))
            crcs = std::move(placement->chunk_crcs);
        if (crcs.empty()) return Error{ENODATA};
        return hex(crcs);
    }
    return Error{ENODATA};
}

/// The file at `path`: from the mount's root when it begins with a slash, else from where `inode`
/// is. "": none. Errors: EINVAL - there is no regular file, it is itself, or has ".."; EXDEV - in
/// another volume.
Result<Ino> Files::parent_named(const Inode& inode, std::string_view path) {
    if (path.empty()) return Ino{0};
    Result<Inode> at = names_.get(path.starts_with('/') ? kRootIno : inode.parent);
    while (at && !path.empty()) {
        const std::string_view name = path.substr(0, path.find('/'));
        path.remove_prefix(std::min(path.size(), name.size() + 1));
        if (!name.empty() && name != ".") at = names_.lookup(at->ino, name);
    }
    if (!at) return at.error().code == ENOENT ? Error{EINVAL} : at.error();
    if (!at->is_regular() || at->ino == inode.ino) return Error{EINVAL};
    if (at->volume != inode.volume) return Error{EXDEV};
    return at->ino;
}

Result<std::string> Files::xattr(Ino ino, std::string_view name) {
    if (!is_state(name)) return names_.xattr(ino, name);
    const auto inode = names_.get(ino);
    if (!inode) return inode.error();
    return state_xattr(*inode, name.substr(kPrefix.size()));
}

Status Files::act(Ino ino, std::string_view key, std::string_view value) {
    if (key == "evict" && value == "all") return cache_.drop(ino);
    if (key == "evict" && value == "dram") return cache_.leave_dram(ino);
    if (key != "prefetch" || value != "dram") return Error{EINVAL};
    auto object = cache_.acquire(ino);
    if (!object) return object.error();
    const Status begun = cache_.prefetch(*object);
    cache_.retire(std::move(*object));
    return begun;
}

Status Files::set_xattr(Ino ino, std::string_view name, std::string_view value,
                        Namespace::XattrMode mode, std::uint32_t uid) {
    if (!is_state(name)) return names_.set_xattr(ino, name, value, mode);
    const std::string_view key = name.substr(kPrefix.size());
    const auto inode = names_.get(ino);
    if (!inode) return inode.error();
    if (of_stores(ino, key)) return control_stores(key, value, uid);
    if (key == "evict" || key == "prefetch")
        return inode->is_regular() ? act(ino, key, value) : Error{EPERM};
    auto wanted = change_of(*inode, key, value);
    if (key == "parent" && inode->is_regular()) {
        const auto parent = parent_named(*inode, value);
        if (!parent) return parent.error();
        wanted = Namespace::Change{.chain_parent = *parent};
    }
    if (!wanted) return wanted.error();
    const auto changed = change(ino, *wanted);
    return changed ? Status{} : Status(changed.error());
}

Result<std::vector<std::string>> Files::xattrs(Ino ino) {
    // State is not listed: copying a file with its xattrs must not fail on those it may not set.
    return names_.xattrs(ino);
}

Status Files::remove_xattr(Ino ino, std::string_view name, std::uint32_t uid) {
    if (!is_state(name)) return names_.remove_xattr(ino, name);
    const std::string_view key = name.substr(kPrefix.size());
    if (key == "parent") return set_xattr(ino, name, "", Namespace::XattrMode::any, uid);
    if (key == "pin" || key == "scratch" || key == "ttl" || key.starts_with("quota."))
        return set_xattr(ino, name, "0", Namespace::XattrMode::any, uid);
    if (key == "priority")
        return set_xattr(ino, name, name_of(Priority::normal), Namespace::XattrMode::any, uid);
    if (ino == kRootIno && key == "drain") return control_stores(key, "", uid);
    return Error{EPERM};
}

std::string Files::statistics() const {
    using Json = nlohmann::ordered_json;
    Json tiers = Json::array();
    for (const auto& tier : cache_.usage())
        tiers.push_back({{"name", tier.name},
                         {"capacity_bytes", tier.capacity},
                         {"used_bytes", tier.used},
                         {"files", tier.files},
                         {"degraded", tier.degraded},
                         {"degraded_reason", tier.degraded_reason},
                         {"draining", tier.draining}});
    Json volumes = Json::array();
    for (const Volumes::Usage& volume : cache_.volumes().with_quota())
        if (const auto inode = names_.get(volume.volume))
            volumes.push_back({{"name", inode->name},
                               {"used_bytes", volume.used},
                               {"soft_quota_bytes", volume.quota.soft},
                               {"hard_quota_bytes", volume.quota.hard}});
    const CacheCounters& counted = cache_.counters();
    const auto counts = names_.counts();
    const std::chrono::duration<double> uptime = Clock::now() - started_;
    Json all{{"version", KVFS_VERSION},
             {"uptime_s", uptime.count()},
             {"socket", socket_path_},
             {"pages", cache_.arena().page_kind()},
             {"io_timeout_s", static_cast<double>(cache_.io_timeout().count()) / 1000},
             {"tiers", std::move(tiers)},
             {"volumes", std::move(volumes)},
             {"names",
              {{"files", counts.files},
               {"directories", counts.directories},
               {"bytes_on_disk", counts.bytes_on_disk}}},
             {"counters",
              {{"dram_read_bytes", counted.dram_read_bytes.load()},
               {"store_read_bytes", counted.store_read_bytes.load()},
               {"written_bytes", counted.written_bytes.load()},
               {"spilled_bytes", counted.spilled_bytes.load()},
               {"dram_hits", counted.dram_hits.load()},
               {"store_hits", counted.store_hits.load()},
               {"spills", counted.spills.load()},
               {"refusals", counted.refusals.load()},
               {"fills", counted.fills.load()},
               {"dram_evictions", counted.dram_evictions.load()},
               {"store_evictions", counted.store_evictions.load()},
               {"checksum_errors", counted.checksum_errors.load()},
               {"store_errors", counted.store_errors.load()},
               {"writer_waits", counted.writer_waits.load()},
               {"scrubbed_bytes", counted.scrubbed_bytes.load()},
               {"scrub_errors", counted.scrub_errors.load()},
               {"scrub_rounds", counted.scrub_rounds.load()},
               {"drained_bytes", counted.drained_bytes.load()}}}};
    {
        const MutexLock lock(refused_mutex_);
        if (refused_)
            all["refused"] = {
                {"key", refused_->key}, {"value", refused_->value}, {"why", refused_->why}};
    }
    // Paths of stores may hold bytes that are no UTF-8.
    return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kvfs
