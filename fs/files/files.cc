#include "fs/files/files.h"

#include <algorithm>
#include <utility>

#include "fs/base/log.h"
#include "fs/files/notifier.h"

namespace kvfs {

Files::Files(Namespace& names, Cache& cache)
    : names_(names), cache_(cache), notifier_(std::make_unique<Notifier>()) {}

Files::~Files() { cache_.stop(); }

Result<std::unique_ptr<Files>> Files::open(Namespace& names, Cache& cache) {
    std::unique_ptr<Files> files(new Files(names, cache));
    if (Status clean = files->clean_up(); !clean) return clean.error();
    files->recall_quotas();
    files->recall();
    cache.start(*files);
    return files;
}

/// Surely a scratch file, if it has bytes; smaller ones may have become one.
bool Files::in_place(const Inode& inode) const {
    return inode.scratch || inode.size > cache_.file_bytes_max();
}

/// What was not live is as `inode` says if that was read later: so it is not `settled` here.
Attributes Files::describe(Inode inode) const {
    const auto live = inode.is_regular() ? cache_.residency(inode.ino) : std::nullopt;
    Attributes shown = describe(std::move(inode), live);
    if (!live) shown.settled = false;
    return shown;
}

Attributes Files::describe(Inode inode, const std::optional<Cache::Residency>& live) const {
    Attributes shown;
    if (inode.is_regular()) {
        std::uint64_t held = inode.size;
        shown.settled = live ? live->sealed && !live->scratch : !in_place(inode);
        if (live) {
            inode.size = live->size;
            inode.mtime_ns = std::max(inode.mtime_ns, live->modified_ns);
            held = live->held_bytes;
        } else if (in_place(inode)) {
            if (const auto placement = names_.placement(inode.ino); placement && placement->scratch)
                held = placement->held_bytes;
        }
        const ObjectUse use = cache_.pending_use(inode.ino);
        inode.atime_ns = std::max(inode.atime_ns, use.atime_ns);
        inode.hits += use.hits;
        shown.blocks = (held + 4095) / 4096 * 8;
    }
    shown.inode = std::move(inode);
    return shown;
}

Result<Attributes> Files::lookup(Ino parent, std::string_view name, Lineage::Client client) {
    auto inode = names_.lookup(parent, name);
    if (inode ? inode->is_regular() : inode.error().code == ENOENT)
        lineage_.asked(client, Lineage::name(parent, name), inode ? inode->ino : 0);
    if (!inode) return inode.error();
    return describe(std::move(*inode));
}

Result<Attributes> Files::attributes(Ino ino) {
    const auto live = cache_.residency(ino);
    auto inode = names_.get(ino);
    if (!inode) return inode.error();
    return describe(std::move(*inode), live);
}

Result<Attributes> Files::change(Ino ino, const Namespace::Change& change) {
    Namespace::Change rest = change;
    if (change.size) {
        const auto inode = names_.get(ino);
        if (!inode) return inode.error();
        if (inode->is_directory()) return Error{EISDIR};
        if (!inode->is_regular()) return Error{EINVAL};
        auto object = cache_.acquire(ino);
        if (!object) return Error{ESTALE};
        const Status cut = cache_.truncate(*object, *change.size);
        cache_.retire(std::move(*object));
        if (!cut) return cut.error();
        if (!rest.mtime_ns) rest.mtime_ns = wall_ns();
    }
    if (change.atime_ns) cache_.forget_access_time(ino);
    const MutexLock lock(times_mutexes_[ino % times_mutexes_.size()]);
    auto inode = names_.change(ino, rest);
    if (!inode) return inode.error();
    if (change.pinned) cache_.set_pinned(ino, *change.pinned);
    if (change.priority || change.chain_parent) cache_.set_standing(ino, standing_of(*inode));
    if (change.soft_quota || change.hard_quota) cache_.set_quota(ino, quota_of(*inode));
    if (change.mtime_ns && !change.size)
        if (const ObjectPtr object = cache_.live(ino)) {
            static_cast<void>(cache_.residency(ino));  // what the kernel wrote was before this
            object->modified_ns = *change.mtime_ns;
        }
    return describe(std::move(*inode));
}

Result<Attributes> Files::make(Ino parent, std::string_view name, const Namespace::NewInode& what) {
    if (S_ISREG(what.mode)) {
        auto created = create(parent, name, what);
        if (!created) return created.error();
        release(std::move(created->handle));
        return std::move(created->attributes);
    }
    auto inode = names_.create(parent, name, what);
    if (!inode) return inode.error();
    return describe(std::move(*inode));
}

void Files::drop(const Inode& orphan) {
    if (orphan.is_directory()) return cache_.set_quota(orphan.ino, {});
    if (orphan.is_regular() && !cache_.unlinked(orphan.ino)) return;  // its last release erases it
    if (Status erased = names_.erase(orphan.ino); !erased)
        spdlog::error("inode {} cannot be erased: {}", orphan.ino, erased.error().message());
}

Status Files::unlink(Ino parent, std::string_view name) {
    const auto orphan = names_.unlink(parent, name);
    if (!orphan) return orphan.error();
    drop(*orphan);
    return {};
}

Status Files::rmdir(Ino parent, std::string_view name) {
    const auto removed = names_.rmdir(parent, name);
    if (!removed) return removed.error();
    if (parent == kRootIno) cache_.set_quota(removed->ino, {});
    return {};
}

Status Files::rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                     Namespace::RenameFlag flag) {
    // Live from before to after, so that the cache knows which volume it comes from.
    ObjectPtr source, target;
    std::shared_lock volumes_stay(volumes_mutex_, std::defer_lock);
    if (parent != new_parent) {
        volumes_stay.lock();
        source = live_file(parent, name);
        target = live_file(new_parent, new_name);
    }
    const auto renamed = names_.rename(parent, name, new_parent, new_name, flag);
    if (renamed && renamed->replaced) {
        target.reset();  // drop() needs it to be nobody's
        drop(*renamed->replaced);
    }
    if (renamed)
        for (const Inode& moved : {renamed->moved, renamed->exchanged.value_or(Inode{})})
            was_moved(moved);
    for (ObjectPtr* file : {&source, &target})
        if (*file != nullptr) cache_.retire(std::move(*file));
    return renamed ? Status{} : Status(renamed.error());
}

ObjectPtr Files::live_file(Ino parent, std::string_view name) {
    const auto inode = names_.lookup(parent, name);
    if (!inode || !inode->is_regular()) return nullptr;
    auto object = cache_.acquire(inode->ino);
    return object ? std::move(*object) : nullptr;
}

void Files::was_moved(const Inode& moved) {
    if (moved.is_directory() && !moved.is_volume()) cache_.set_quota(moved.ino, {});
    if (!moved.is_regular()) return;
    lineage_.is(Lineage::name(moved.parent, moved.name), moved.ino);
    cache_.set_standing(moved.ino, standing_of(moved));
    if (Status done = cache_.renamed(moved.ino, moved.volume); !done)
        spdlog::warn("inode {} keeps its bytes in its old volume's memory: {}", moved.ino,
                     done.error().message());
}

/// Files that a client makes in a row are guessed to be one prompt's while they are a small part of
/// DRAM: there, too, the oldest are to leave first, not the youngest.
std::size_t Files::longest_guess() const { return cache_.dram_files() / 8; }

// --- bytes ---------------------------------------------------------------------------------------

/// Without a store for it, it is as other files are.
void Files::born_scratch(const Handle& handle) {
    if (const Status made = cache_.make_scratch(handle.object); !made)
        spdlog::warn("inode {} is no scratch file: {}", handle.ino, made.error().message());
}

Result<std::unique_ptr<Handle>> Files::open(Ino ino, OpenFlags flags) {
    const auto inode = names_.get(ino);
    if (!inode) return inode.error().code == ENOENT ? Error{ESTALE} : inode.error();
    if (inode->is_directory()) return Error{EISDIR};
    if (!inode->is_regular()) return Error{ELOOP};
    lineage_.asked(flags.client, Lineage::name(inode->parent, inode->name), ino);
    // A close can be overtaken by this open: the file would go on being written, and not be sealed.
    if (flags.write) static_cast<void>(cache_.await_closed(ino));
    auto object = cache_.acquire(ino);
    if (!object) return object.error().code == ENOENT ? Error{ESTALE} : object.error();
    if (Status opened = cache_.opened(**object, flags.write); !opened) return opened.error();
    auto handle = std::make_unique<Handle>(ino, std::move(*object), flags.write);
    if (flags.truncate) {
        if (Status cut = cache_.truncate(handle->object, 0); !cut) {
            release(std::move(handle));
            return cut.error();
        }
        if (inode->scratch) born_scratch(*handle);
    }
    // Small ones are served by us: they need no alignment then, as cache files do not (R2).
    if (flags.backing) handle->backing = cache_.back(*handle->object, in_place(*inode));
    return handle;
}

Result<Files::Created> Files::create(Ino parent, std::string_view name, Namespace::NewInode what,
                                     bool backing, Lineage::Client client) {
    const Lineage::Name known_by = Lineage::name(parent, name);
    lineage_.makes(client, known_by, longest_guess());
    what.chain_parent = lineage_.parent_of(known_by);
    auto inode = names_.create(parent, name, what);
    if (!inode) return inode.error();
    lineage_.is(known_by, inode->ino);
    ObjectPtr object = cache_.add(inode->ino, inode->volume, standing_of(*inode));
    if (Status opened = cache_.opened(*object, true); !opened) return opened.error();
    auto handle = std::make_unique<Handle>(inode->ino, std::move(object), true);
    handle->use_is_known = true;
    if (inode->scratch) {
        born_scratch(*handle);
        if (backing) handle->backing = cache_.back(*handle->object, true);
    }
    return Created{describe(std::move(*inode)), std::move(handle)};
}

void Files::closing(Handle& handle) {
    if (handle.writes && !handle.closing.exchange(true)) cache_.closing(*handle.object, true);
}

/// It was closed, but not for the last time.
void Files::goes_on(Handle& handle) {
    if (handle.closing.load(std::memory_order_relaxed) && handle.closing.exchange(false))
        cache_.closing(*handle.object, false);
}

void Files::release(std::unique_ptr<Handle> handle) {
    const Ino ino = handle->ino;
    if (handle->writes) {
        // Before the close that seals: whoever finds the file sealed finds its size and time right.
        const MutexLock lock(times_mutexes_[ino % times_mutexes_.size()]);
        const auto live = cache_.residency(ino);
        if (live && live->modified_ns != 0)
            static_cast<void>(
                names_.change(ino, {.size = live->size, .mtime_ns = live->modified_ns}));
    }
    if (!handle->use_is_known.load(std::memory_order_relaxed)) used_unseen(ino);
    const Cache::Closing how{handle->writes, handle->closing, handle->backing != nullptr};
    if (cache_.closed(std::move(handle->object), how))
        if (Status erased = names_.erase(ino); !erased)
            spdlog::error("inode {} cannot be erased: {}", ino, erased.error().message());
}

void Files::not_backed(Handle& handle) {
    if (std::exchange(handle.backing, nullptr) != nullptr) cache_.not_backed(*handle.object);
}

Result<ReadView> Files::read(Handle& handle, std::uint64_t offset, std::size_t length) {
    if (!handle.use_is_known.load(std::memory_order_relaxed)) handle.use_is_known = true;
    return cache_.read(handle.object, offset, length);
}

Status Files::write(Handle& handle, std::uint64_t offset, std::span<const std::byte> bytes) {
    if (!handle.writes) return Error{EBADF};
    if (offset + bytes.size() > static_cast<std::uint64_t>(INT64_MAX)) return Error{EFBIG};
    goes_on(handle);
    return cache_.write(handle.object, offset, bytes);
}

Status Files::allocate(Handle& handle, std::uint64_t offset, std::uint64_t length, bool keep_size) {
    if (!handle.writes) return Error{EBADF};
    if (length == 0) return Error{EINVAL};
    if (offset + length > static_cast<std::uint64_t>(INT64_MAX)) return Error{EFBIG};
    return cache_.allocate(handle.object, offset, length, keep_size);
}

// The database is not trusted after a power loss, but made anew from the objects' labels.
Status Files::sync(Handle& handle) { return cache_.sync(handle.object); }

Status Files::sync_names() { return cache_.sync_stores(); }

Files::Capacity Files::capacity() const {
    Capacity all;
    const auto tiers = cache_.usage();
    for (const auto& tier : tiers) {
        if (tier.name == "dram" && tiers.size() > 1) continue;  // it holds copies
        all.bytes += tier.capacity;
        all.bytes_used += tier.used;
    }
    const auto counts = names_.counts();
    all.files = counts.files + counts.directories;
    return all;
}

void Files::used_unseen(Ino ino) {
    const MutexLock lock(unseen_mutex_);
    unseen_uses_.insert(ino);
}

void Files::set_listener(Listener listener) { notifier_->set_listener(std::move(listener)); }

}  // namespace kvfs
