// Scratch files: rewritten in place, so they live in a store's file and not in DRAM.
#include <algorithm>
#include <cstring>

#include "fs/base/crc32c.h"
#include "fs/base/mapping.h"
#include "fs/cache/awaited.h"
#include "fs/cache/cache.h"
#include "fs/cache/checked_read.h"

namespace kvfs {
namespace {

Status write_all(const std::shared_ptr<ObjectFile>& file, std::span<const std::byte> bytes,
                 std::uint64_t offset, Deadline until) {
    // A copy: a write that is not over in time goes on, and the caller's memory is then others'.
    struct Writing {
        std::shared_ptr<ObjectFile> file;
        Mapping bytes;
        Awaited end;
    };
    auto memory = Mapping::anonymous(bytes.size());
    if (!memory) return memory.error();
    const auto writing = std::make_shared<Writing>();
    writing->file = file;
    writing->bytes = std::move(*memory);
    std::memcpy(writing->bytes.data(), bytes.data(), bytes.size());
    file->write(offset, writing->bytes.bytes(),
                [writing](std::int64_t result) { writing->end.finish(result); });
    const auto written = writing->end.wait(until, "writing a scratch file");
    if (!written) return written.error();
    if (*written < bytes.size()) return Error{EIO, "writing a scratch file made no progress"};
    return {};
}

/// What is all zeros stays a hole.
Status copy_with_holes(const std::shared_ptr<ObjectFile>& from,
                       const std::shared_ptr<ObjectFile>& to, std::uint64_t size,
                       std::chrono::milliseconds timeout) {
    if (Status cut = to->truncate(size); !cut) return cut;
    for (std::uint64_t at = 0; at < size; at += kChunkBytes) {
        const std::size_t length = std::min<std::uint64_t>(kChunkBytes, size - at);
        const auto read = read_checked(from, size, {}, at, length, deadline_after(timeout));
        if (!read) return read.error();
        std::uint64_t to_offset = at;
        for (const auto& span : read->view.spans) {
            const bool is_hole = std::all_of(span.begin(), span.end(),
                                             [](std::byte byte) { return byte == std::byte{}; });
            if (!is_hole)
                if (Status done = write_all(to, span, to_offset, deadline_after(timeout)); !done)
                    return done;
            to_offset += span.size();
        }
    }
    return {};
}

/// What keeps all victims of a full store busy, a spill, a fill or a lease, is over in moments;
/// what is not is open or pinned, and not worth waiting for.
template <typename Charge>
bool charge_soon(Deadline until, Room& room, Charge charge) {
    constexpr auto kMoments = std::chrono::seconds(1);
    constexpr auto kPause = std::chrono::milliseconds(20);  // not every end is told to `room`
    const Deadline patience = std::min(until, deadline_after(kMoments));
    while (!charge()) {
        if (Clock::now() >= patience) return false;
        room.wait(room.changes(), deadline_after(kPause));
    }
    return true;
}

}  // namespace

Result<std::shared_ptr<ObjectFile>> Cache::scratch_file(Object& object) {
    if (object.scratch_file == nullptr) {
        // To open it would make it, empty, if it is gone.
        if (const auto there = object.store->store->extent(object.id);
            !there && there.error().code == ENOENT) {
            unreadable(*object.store, object.id, there.error());
            return Error{EIO, object.store->store->name() + " has lost it"};
        }
        auto file = object.store->store->open_in_place(object.id);
        if (!file) return file.error();
        object.scratch_file = std::move(*file);
    }
    return object.scratch_file;
}

std::uint64_t Cache::charge_of(const StoreTier& tier, const ObjectRecord& record) {
    return record.scratch ? record.held_bytes : tier.store->footprint(record.size);
}

/// Takes its size and what it takes from the file itself: the kernel may have written to it, and
/// holes cost nothing.
void Cache::measure(Object& object) const {
    if (object.state != Object::State::scratch || object.scratch_file == nullptr) return;
    const auto extent = object.scratch_file->extent();
    if (!extent) return;
    object.size = extent->size;
    if (object.backed > 0 && extent->mtime_ns > object.backing_mtime_ns)
        object.modified_ns = object.backing_mtime_ns = extent->mtime_ns;
    const MutexLock lock(object.store->mutex);
    object.store->used += extent->held_bytes;
    object.store->used -= std::min(object.store->used, object.charged);
    object.charged = extent->held_bytes;
    count(object);
}

void Cache::measure_backed() {
    std::vector<std::weak_ptr<Object>> all;
    {
        const MutexLock lock(backed_mutex_);
        all.swap(backed_);
    }
    std::erase_if(all, [this](const std::weak_ptr<Object>& one) {
        const ObjectPtr object = one.lock();
        if (object == nullptr) return true;
        const MutexLock lock(object->mutex);
        measure(*object);
        return object->backed == 0;
    });
    if (!all.empty()) kick_evictor();
    const MutexLock lock(backed_mutex_);
    backed_.insert(backed_.end(), all.begin(), all.end());
}

std::shared_ptr<ObjectFile> Cache::back(Object& object, bool worth_it) {
    const ObjectPtr self = live(object.id);  // before the object's mutex: so locks are ordered
    const MutexLock lock(object.mutex);
    if (object.state != Object::State::scratch || object.converting) return nullptr;
    if (object.backed == 0 && (!worth_it || object.handles > 1)) return nullptr;
    const auto file = scratch_file(object);
    if (!file || (*file)->backing_fd() < 0) return nullptr;
    if (++object.backed == 1) {
        const auto extent = (*file)->extent();
        object.backing_mtime_ns = extent ? extent->mtime_ns : 0;
        const MutexLock backed_lock(backed_mutex_);
        backed_.emplace_back(self);
    }
    return *file;
}

void Cache::not_backed(Object& object) {
    const MutexLock lock(object.mutex);
    --object.backed;
}

Status Cache::make_scratch(const ObjectPtr& object) {
    MutexLock lock(object->mutex);
    return to_scratch(*object, lock, deadline());
}

Status Cache::write_scratch(Object& object, MutexLock& lock, std::uint64_t offset,
                            std::span<const std::byte> bytes,
                            Deadline until) NO_THREAD_SAFETY_ANALYSIS {
    auto file = scratch_file(object);
    if (!file) return file.error();
    StoreTier& tier = *object.store;
    ++object.writes_in_flight;
    lock.unlock();
    // Room is made before, and what was really taken is counted after.
    const auto charged = [&] { return charge(tier, bytes.size()); };
    Status written = charge_soon(until, room_, charged)
                         ? write_all(*file, bytes, offset, until)
                         : Status(Error{ENOSPC, tier.store->name() + " holds nothing to evict"});
    if (written || written.error().code != ENOSPC) {
        const MutexLock tier_lock(tier.mutex);
        tier.used -= std::min<std::uint64_t>(tier.used, bytes.size());
    }
    lock.lock();
    measure(object);
    if (--object.writes_in_flight == 0) object.changed.notify_all();
    return written;
}

/// A file on its way from DRAM, or from a whole object, to a file that is written in place.
struct Cache::Conversion {
    std::shared_ptr<Content> content;
    StoreTier* from = nullptr;  ///< the store that has it as a whole object; null: none
    std::uint64_t from_charged = 0;
    std::vector<std::uint32_t> chunk_crcs;
    std::uint64_t size = 0;
    bool empty_saved = false;  ///< no store has it, but its record says that it is empty

    StoreTier* to = nullptr;  ///< set once it is charged
    std::shared_ptr<ObjectFile> file;
};

Status Cache::copy_to_file(ObjectId id, const Conversion& from,
                           const std::shared_ptr<ObjectReader>& reader, Deadline until) {
    if (from.content != nullptr) {
        if (Status whole = from.content->wait(0, from.size, until); !whole) return whole;
        std::uint64_t at = 0;
        for (auto span : from.content->spans(0, from.size)) {
            while (!span.empty()) {
                const auto piece = span.first(std::min(span.size(), kChunkBytes));
                // Each in its time: a large file takes as long as it takes.
                if (Status written = write_all(from.file, piece, at, deadline()); !written)
                    return written;
                at += piece.size();
                span = span.subspan(piece.size());
            }
        }
        return {};
    }
    for (std::uint64_t at = 0; reader != nullptr && at < from.size; at += kChunkBytes) {
        const std::size_t length = std::min<std::uint64_t>(kChunkBytes, from.size - at);
        auto view =
            read_chunks(*from.from, reader, id, from.size, from.chunk_crcs, at, length, deadline());
        if (!view) return view.error();
        std::uint64_t to = at;
        for (const auto& span : view->spans) {
            if (Status written = write_all(from.file, span, to, deadline()); !written)
                return written;
            to += span.size();
        }
    }
    return {};
}

Status Cache::convert(ObjectId id, Conversion& conversion, Deadline until) {
    std::shared_ptr<ObjectReader> reader;
    if (conversion.from != nullptr && conversion.content == nullptr) {
        auto opened = conversion.from->store->open(id);
        if (!opened) return opened.error();
        reader = std::move(*opened);
    }
    const auto charged = [&] {
        conversion.to = charge_store(conversion.size);
        return conversion.to != nullptr;
    };
    if (!charge_soon(until, room_, charged))
        return Error{ENOSPC, "no store has room for a scratch file"};
    if (conversion.from != nullptr || conversion.empty_saved) {
        // The old object is removed and not rewritten: mapper clients may be reading it.
        static_cast<void>(catalog_->unsave_object(id));
        forget(id, conversion.from, conversion.from_charged);
    }
    auto opened = conversion.to->store->open_in_place(id);
    if (!opened) return opened.error();
    conversion.file = std::move(*opened);
    return copy_to_file(id, conversion, reader, until);
}

Status Cache::to_scratch(Object& object, MutexLock& lock,
                         Deadline until) NO_THREAD_SAFETY_ANALYSIS {
    while (object.spilling || object.converting || object.fill_starting ||
           object.writes_in_flight > 0)
        if (Status waited = wait_changed(object, lock, until); !waited) return waited;
    if (object.state != Object::State::writing && object.state != Object::State::sealed) return {};

    object.converting = true;
    const ObjectRecord empty = record_of(object);  // what it is until then, if it has no bytes
    Conversion conversion;
    conversion.content = object.content;
    conversion.from = object.store;
    conversion.from_charged = object.charged;
    conversion.chunk_crcs = object.chunk_crcs;
    conversion.size = object.size;
    conversion.empty_saved = std::exchange(object.empty_saved, false);
    lock.unlock();
    const Status converted = convert(object.id, conversion, until);
    if (!converted && conversion.to != nullptr) {
        conversion.file.reset();
        static_cast<void>(conversion.to->store->remove(object.id));
        const std::uint64_t charged = conversion.to->store->footprint(conversion.size);
        const MutexLock tier_lock(conversion.to->mutex);
        conversion.to->used -= std::min(conversion.to->used, charged);
    }
    if (!converted && conversion.empty_saved)
        conversion.empty_saved = catalog_->save_object(object.id, empty).ok();
    lock.lock();
    object.converting = false;
    object.changed.notify_all();
    if (converted) {
        become_scratch(object, conversion);
    } else if (conversion.empty_saved) {
        object.empty_saved = true;
    } else if (conversion.to != nullptr && conversion.from != nullptr) {  // the old object is gone
        object.store = nullptr;
        object.charged = 0;
        if (object.content == nullptr) object.state = Object::State::lost;
    }
    count(object);
    return converted;
}

void Cache::become_scratch(Object& object, Conversion& conversion) {
    StoreTier& tier = *conversion.to;
    object.state = Object::State::scratch;
    object.scratch_file = std::move(conversion.file);
    object.content.reset();
    object.store = &tier;
    object.charged = tier.store->footprint(conversion.size);
    object.chunk_crcs.clear();
    ++object.version;
    {
        const MutexLock dram_lock(dram_mutex_);
        dram_order_.removed(object.id);
    }
    const MutexLock tier_lock(tier.mutex);
    tier.order.admitted(object.use(object.charged), object.priority, object.counted.volume);
    ++tier.files;
}

void Cache::move_scratch(StoreTier& from, const ObjectPtr& object) {
    std::shared_ptr<ObjectFile> old;
    ObjectRecord record;
    {
        const MutexLock lock(object->mutex);
        if (object->state != Object::State::scratch || object->store != &from ||
            object->handles > 0 || object->converting || object->writes_in_flight > 0 ||
            object->unlinked)
            return;
        auto file = scratch_file(*object);
        if (!file) return;
        old = std::move(*file);
        measure(*object);
        record = record_of(*object);
        object->converting = true;  // holds off who would write to it
    }
    StoreTier* const to = charge_store(record.held_bytes, &from);
    std::shared_ptr<ObjectFile> file;
    const auto copied = [&]() -> Status {
        if (to == nullptr) return Error{ENOSPC, "no other store has room"};
        auto made = to->store->open_in_place(object->id);
        if (!made) return made.error();
        file = *std::move(made);
        if (Status done = copy_with_holes(old, file, record.size, options_.io_timeout); !done)
            return done;
        record.store_uid = to->store->uid();
        relabel(object->id, record);
        return catalog_->save_object(object->id, record);
    }();
    bool moved = false;
    std::uint64_t was_charged = 0;
    {
        const MutexLock lock(object->mutex);
        object->converting = false;
        moved = copied.ok() && object->store == &from && !object->unlinked;
        if (moved) {
            object->store = to;
            object->scratch_file = file;
            was_charged = std::exchange(object->charged, to->store->footprint(record.held_bytes));
            {
                const MutexLock tier_lock(to->mutex);
                to->order.admitted(object->use(object->charged), object->priority,
                                   object->counted.volume);
                ++to->files;
            }
            measure(*object);
        }
    }
    object->changed.notify_all();
    if (moved) {
        relabel(object->id, record);  // it may have been renamed
        left_store(from, object->id, was_charged);
        static_cast<void>(from.store->remove(object->id));
        counters_.drained_bytes += record.held_bytes;
    } else if (to != nullptr) {
        static_cast<void>(to->store->remove(object->id));
        const std::uint64_t charged = to->store->footprint(record.held_bytes);
        const MutexLock lock(to->mutex);
        to->used -= std::min(to->used, charged);
    }
}

}  // namespace kvfs
