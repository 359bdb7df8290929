#include "daemon/wire.h"

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <utility>
#include <vector>

#include "fs/base/log.h"
#include "fs/base/mutex.h"
#include "fs/base/size.h"
#include "fs/files/rebuild.h"
#include "fs/store/arena.h"
#include "fs/store/ssd_store.h"

namespace kvfs {
namespace {

using Stores = std::vector<std::unique_ptr<ObjectStore>>;

/// Lets each store's transfers use the arena's memory without the kernel pinning it every time.
class Registration {
  public:
    /// In this order: memory that is exchanged meanwhile is registered by one of the two.
    void add(Ring& ring, const Arena& arena) {
        {
            const MutexLock lock(mutex_);
            rings_.push_back(&ring);
        }
        for (const auto& region : arena.memory()) try_to(ring, region);
    }
    void memory_changed(std::span<std::byte> region) {
        std::vector<Ring*> rings;
        {
            const MutexLock lock(mutex_);
            rings = rings_;
        }
        for (Ring* ring : rings) try_to(*ring, region);
    }

  private:
    void try_to(Ring& ring, std::span<std::byte> region) {
        const Status registered = ring.register_region(region);
        if (!registered && !warned_.exchange(true))
            spdlog::warn("SSD transfers will cost more processor time: {}",
                         registered.error().message());
    }

    Mutex mutex_;
    std::vector<Ring*> rings_ GUARDED_BY(mutex_);
    std::atomic<bool> warned_ = false;
};

/// How a store is made that comes while the daemon runs.
Files::StoreMaker store_maker(const Options& options, const Cache& cache, const Arena& arena,
                              std::shared_ptr<Registration> registration) {
    return [&options, &cache, &arena, registration = std::move(registration)](
               std::string_view spec) -> Result<std::unique_ptr<ObjectStore>> {
        const auto ssd = parse_added_ssd(spec, options);
        if (!ssd) return ssd.error();
        std::error_code ignored;
        const auto path = std::filesystem::weakly_canonical(ssd->directory, ignored).string();
        for (const auto& tier : cache.usage())
            if (tier.name == "ssd:" + path)
                return Error{EEXIST, path + " is a directory of this kvfsd already"};
        auto store = SsdStore::open(*ssd);
        if (!store) return store.error();
        if (auto fits = cache.may_add(**store); !fits) return fits.error();
        registration->add((*store)->ring(), arena);
        return std::unique_ptr<ObjectStore>(*std::move(store));
    };
}

Status rebuild(Namespace& names, const Stores& stores) {
    spdlog::warn("the machine went down while kvfsd ran: rebuilding names from objects");
    const auto rebuilt = rebuild_names(names, stores);
    if (!rebuilt) return rebuilt.error();
    spdlog::warn("{} files are back; removed {} objects of replaced files and {} unreadable ones",
                 rebuilt->files, rebuilt->replaced, rebuilt->unreadable);
    return names.finish_rebuild();
}

void log_tiers(const Parts& parts) {
    const Arena& arena = parts.cache->arena();
    const auto tiers = parts.cache->usage();
    spdlog::info("{}: {} in {} slabs of {}, pages of {}", tiers.front().name,
                 format_size(arena.capacity()), arena.slab_count(), format_size(arena.slab_bytes()),
                 arena.page_kind());
    for (std::size_t i = 1; i < tiers.size(); ++i)
        spdlog::info("{}: {}, holds {} in {} files", tiers[i].name, format_size(tiers[i].capacity),
                     format_size(tiers[i].used), tiers[i].files);
    const auto counts = parts.names->counts();
    spdlog::info("names: {} files in {} directories", counts.files, counts.directories);
}

/// The folder that default_socket() puts sockets into; one that people name is theirs to make.
void make_socket_directory(const std::string& socket) {
    const std::string directory = std::filesystem::path(socket).parent_path();
    if (!directory.ends_with("/kvfs") || ::mkdir(directory.c_str(), 0700) != 0) return;
    ::chmod(directory.c_str(), 0755);  // whatever the umask: clients are other users
}

Status wire_tiers(const Options& options, Parts& parts) {
    Stores stores;
    std::vector<Ring*> rings;
    for (const auto& ssd : options.ssds) {
        auto store = SsdStore::open(ssd);
        if (!store) return store.error();
        rings.push_back(&(*store)->ring());
        stores.push_back(*std::move(store));
    }
    auto names = Namespace::open({.directory = options.ssds.front().directory + "/names"});
    if (!names) return names.error();
    parts.names = *std::move(names);
    if (parts.names->needs_rebuild())
        if (auto rebuilt = rebuild(*parts.names, stores); !rebuilt) return rebuilt;

    auto arena = Arena::create({.bytes = options.dram_bytes});
    if (!arena) return arena.error();
    const auto registration = std::make_shared<Registration>();
    (*arena)->set_slab_listener(
        [registration](std::span<std::byte> region) { registration->memory_changed(region); });
    for (Ring* ring : rings) registration->add(*ring, **arena);
    parts.cache = std::make_unique<Cache>(*std::move(arena), std::move(stores),
                                          Cache::Options{
                                              .io_timeout = options.io_timeout,
                                              .policy = policy_named(options.policy),
                                              .scrub_bytes_per_s = options.scrub_bytes_per_s,
                                          });
    auto files = Files::open(*parts.names, *parts.cache);
    if (!files) return files.error();
    parts.files = *std::move(files);
    parts.files->set_socket_path(options.socket);
    parts.files->set_store_maker(
        store_maker(options, *parts.cache, parts.cache->arena(), registration));
    return {};
}

Status wire_fronts(const Options& options, Parts& parts) {
    make_socket_directory(options.socket);
    parts.awake = std::make_unique<Awake>(options.keep_awake);
    const auto on_request = [&awake = *parts.awake] { awake.note_request(); };
    auto mapper = MapperServer::start(*parts.files,
                                      {.socket_path = options.socket, .on_request = on_request});
    if (!mapper) return mapper.error();
    parts.mapper = *std::move(mapper);
    if (options.no_mount) return {};
    auto mount = FuseMount::mount(*parts.files, {.mountpoint = options.mount_point,
                                                 .mount_options = options.fuse_options,
                                                 .on_request = on_request});
    if (!mount) return mount.error();
    parts.mount = *std::move(mount);
    return {};
}

}  // namespace

Result<Parts> wire(const Options& options) {
    Parts parts;
    if (auto wired = wire_tiers(options, parts); !wired) return wired.error();
    log_tiers(parts);
    if (auto wired = wire_fronts(options, parts); !wired) return wired.error();
    return parts;
}

}  // namespace kvfs
