// Reading and writing a file's bytes.
#include <algorithm>
#include <cstring>
#include <utility>

#include "fs/base/copy.h"
#include "fs/cache/cache.h"

namespace kvfs {
namespace {

/// A growing file asks for this much at most beyond what it needs now; sealing gives the rest back.
constexpr std::uint64_t kGrowAheadMax = 8 << 20;

void zero(const Content& content, std::uint64_t from, std::uint64_t to) {
    for (const auto& span : content.spans(from, to - from))
        std::memset(span.data(), 0, span.size());
}

void copy_in(const std::vector<std::span<std::byte>>& spans, std::span<const std::byte> bytes) {
    for (const auto& span : spans) {
        copy_to_memory(span.data(), bytes.data(), span.size());
        bytes = bytes.subspan(span.size());
    }
}

}  // namespace

Result<ReadView> Cache::read(const ObjectPtr& object, std::uint64_t offset, std::size_t length) {
    const Deadline until = deadline();
    MutexLock lock(object->mutex);
    for (;;) {
        if (object->state == Object::State::lost) return Error{EIO, "the file was lost"};
        if (object->backed > 0) measure(*object);
        if (offset >= object->size) return ReadView{};
        const std::size_t wanted = std::min<std::uint64_t>(length, object->size - offset);
        if (wanted == 0) return ReadView{};
        if (object->state == Object::State::scratch) {
            auto file = scratch_file(*object);
            StoreTier& tier = *object->store;
            const std::uint64_t size = object->size;
            lock.unlock();
            if (!file) return file.error();
            return read_chunks(tier, *file, object->id, size, {}, offset, wanted, until);
        }
        if (object->content != nullptr) {
            const std::shared_ptr<Content> content = Content::hold(object->content);
            ReadView view;
            for (const auto& span : content->spans(offset, wanted)) view.spans.emplace_back(span);
            lock.unlock();
            // What is still on its way counts as read from the store, by the fill.
            if (content->whole()) counters_.dram_read_bytes += wanted;
            if (Status landed = content->wait(offset, wanted, until); !landed)
                return landed.error();
            view.keep = content;
            return view;
        }
        if (object->converting || object->fill_starting) {
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited.error();
            continue;
        }
        // Who reads does not queue with writers for room, but goes past DRAM.
        const Status filling = start_fill(object, lock, Clock::now());
        if (filling || object->content != nullptr || object->store == nullptr) {
            if (!filling && object->store == nullptr) return filling.error();
            continue;
        }
        if (filling.error().code != ENOSPC) return filling.error();
        // DRAM is full of what may not go yet: serve this read past it.
        lock.unlock();
        return read_through(object, offset, wanted, until);
    }
}

Status Cache::prefetch(const ObjectPtr& object) {
    MutexLock lock(object->mutex);
    const bool only_stored = object->state == Object::State::sealed && object->content == nullptr &&
                             object->store != nullptr;
    if (!only_stored || object->converting || object->fill_starting) return {};
    return start_fill(object, lock, Clock::now());
}

Status Cache::grow(Object& object, MutexLock& lock, std::uint64_t end,
                   Deadline until) NO_THREAD_SAFETY_ANALYSIS {
    for (;;) {
        if (object.state != Object::State::writing) return {};  // the caller looks again
        const std::uint64_t have = object.content ? object.content->capacity() : 0;
        if (end <= have) return {};
        const std::uint64_t need = end - have;
        const std::uint64_t ahead = std::max(need, std::min(have, kGrowAheadMax));
        for (const std::uint64_t more : {std::min(ahead, options_.file_bytes_max), need}) {
            if (object.content != nullptr) {
                if (arena_->grow(object.content->memory(), more)) return {};
            } else if (auto memory = arena_->allocate(object.volume, more)) {
                object.content = std::make_shared<Content>(std::move(*memory), 0, room_);
                return {};
            }
        }
        const VolumeId volume = object.volume;
        lock.unlock();
        Status room = make_room(volume, need, until);
        lock.lock();
        if (!room) return room;
    }
}

Status Cache::write_content(Object& object, MutexLock& lock, std::uint64_t offset,
                            std::span<const std::byte> bytes,
                            Deadline until) NO_THREAD_SAFETY_ANALYSIS {
    const std::uint64_t end = offset + bytes.size();
    if (Status grown = grow(object, lock, end, until); !grown) return grown;
    if (object.state != Object::State::writing) return {};
    const std::shared_ptr<Content> content = object.content;
    const auto spans = content->spans(offset, bytes.size());
    if (end > object.size) {
        // Growing: under the lock, so that nobody reads what is not written yet.
        if (offset > object.size) zero(*content, object.size, offset);
        copy_in(spans, bytes);
        if (object.writes_in_flight == 0)
            content->checksums().wrote(offset, bytes);
        else
            content->checksums().changed(offset);  // and who is in flight may be writing here
        object.size = end;
        content->set_size(end);
        return {};
    }
    content->checksums().changed(offset);
    ++object.writes_in_flight;
    lock.unlock();
    copy_in(spans, bytes);
    lock.lock();
    if (--object.writes_in_flight == 0) object.changed.notify_all();
    return {};
}

Status Cache::write(const ObjectPtr& object, std::uint64_t offset,
                    std::span<const std::byte> bytes) {
    const Deadline until = deadline();
    if (bytes.empty()) return {};
    object->modified_ns = wall_ns();
    counters_.written_bytes += bytes.size();
    if (Status room = reserve(*object, offset, bytes.size(), until); !room) return room;
    MutexLock lock(object->mutex);
    const Recount recount(*this, *object);
    for (;;) {
        if (object->converting) {
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
            continue;
        }
        switch (object->state) {
            case Object::State::lost:
                return Error{ESTALE, "the file was lost"};
            case Object::State::scratch:
                return write_scratch(*object, lock, offset, bytes, until);
            case Object::State::sealed:
                if (Status changed = object->size == 0 ? empty(*object, lock, until)
                                                       : to_scratch(*object, lock, until);
                    !changed)
                    return changed;
                continue;
            case Object::State::writing:
                break;
        }
        if (offset + bytes.size() <= options_.file_bytes_max) {
            Status written = write_content(*object, lock, offset, bytes, until);
            if (object->state != Object::State::writing) continue;
            if (written || written.error().code != ENOSPC) return written;
            // DRAM holds nothing that could go: this file goes instead.
        }
        if (Status moved = to_scratch(*object, lock, until); !moved) return moved;
    }
}

Status Cache::empty(Object& object, MutexLock& lock, Deadline until) NO_THREAD_SAFETY_ANALYSIS {
    while (object.spilling || object.converting || object.fill_starting ||
           object.writes_in_flight > 0)
        if (Status waited = wait_changed(object, lock, until); !waited) return waited;
    if (object.state == Object::State::lost) return Error{ESTALE};
    if (object.state == Object::State::scratch && object.backed > 0) {
        // The kernel has its file, and would go on writing to that.
        Status cut = object.scratch_file->truncate(0);
        measure(object);
        return cut;
    }
    StoreTier* store = std::exchange(object.store, nullptr);
    const std::uint64_t charged = std::exchange(object.charged, 0);
    const bool saved = std::exchange(object.empty_saved, false) || store != nullptr;
    object.must_store = false;
    object.content.reset();
    object.scratch_file.reset();
    object.chunk_crcs.clear();
    object.size = 0;
    object.state = Object::State::writing;
    ++object.version;
    if (!saved) return {};
    object.converting = true;  // holds everybody off while the old bytes are given up
    lock.unlock();
    const Status unsaved = catalog_->unsave_object(object.id);
    forget(object.id, store, charged);
    lock.lock();
    object.converting = false;
    object.changed.notify_all();
    return unsaved || unsaved.error().code == ENOENT ? Status{} : unsaved;
}

Status Cache::truncate(const ObjectPtr& object, std::uint64_t size) {
    const Deadline until = deadline();
    bool spill = false;
    std::optional<ObjectRecord> record;
    object->modified_ns = wall_ns();
    if (Status room = reserve(*object, size, 0, until); !room) return room;
    {
        MutexLock lock(object->mutex);
        const Recount recount(*this, *object);
        for (;;) {
            if (object->state == Object::State::lost) return Error{ESTALE, "the file was lost"};
            if (object->converting) {
                if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
                continue;
            }
            if (size == object->size) return {};
            if (size == 0) {
                if (Status emptied = empty(*object, lock, until); !emptied) return emptied;
                break;
            }
            if (object->state == Object::State::writing && size <= options_.file_bytes_max) {
                Status grown = grow(*object, lock, size, until);
                if (object->state != Object::State::writing) continue;
                if (grown) {
                    if (size > object->size) zero(*object->content, object->size, size);
                    object->content->checksums().changed(size);
                    object->size = size;
                    object->content->set_size(size);
                    break;
                }
                if (grown.error().code != ENOSPC) return grown;
            }
            if (object->state == Object::State::scratch) {
                auto file = scratch_file(*object);
                if (!file) return file.error();
                if (Status cut = (*file)->truncate(size); !cut) return cut;
                measure(*object);
                record = record_of(*object);
                break;
            }
            if (object->state == Object::State::sealed && object->size == 0) {
                if (Status emptied = empty(*object, lock, until); !emptied) return emptied;
                continue;
            }
            if (Status moved = to_scratch(*object, lock, until); !moved) return moved;
        }
        if (object->writers == 0 && object->state == Object::State::writing) {
            seal(*object, lock);
            spill = true;
        }
    }
    if (spill) write_behind(object);
    if (record) return catalog_->save_object(object->id, *record);
    return {};
}

Status Cache::allocate(const ObjectPtr& object, std::uint64_t offset, std::uint64_t length,
                       bool keep_size) {
    const Deadline until = deadline();
    const std::uint64_t end = offset + length;
    if (Status room = reserve(*object, offset, length, until); !room) return room;
    MutexLock lock(object->mutex);
    const Recount recount(*this, *object);
    for (;;) {
        if (object->state == Object::State::lost) return Error{ESTALE, "the file was lost"};
        if (object->converting) {
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
            continue;
        }
        if (object->state == Object::State::sealed) {
            if (end <= object->size || keep_size) return {};
            if (Status changed = object->size == 0 ? empty(*object, lock, until)
                                                   : to_scratch(*object, lock, until);
                !changed)
                return changed;
            continue;
        }
        if (object->state == Object::State::scratch) {
            auto file = scratch_file(*object);
            if (!file) return file.error();
            Status made = (*file)->allocate(offset, length, keep_size);
            measure(*object);
            return made;
        }
        if (end <= options_.file_bytes_max) {
            Status grown = grow(*object, lock, end, until);
            if (object->state != Object::State::writing) continue;
            if (grown) {
                if (keep_size || end <= object->size) return {};
                zero(*object->content, object->size, end);
                object->size = end;
                object->content->set_size(end);
                return {};
            }
            if (grown.error().code != ENOSPC) return grown;
        }
        if (Status moved = to_scratch(*object, lock, until); !moved) return moved;
    }
}

Result<Lease> Cache::lease(const ObjectPtr& object, Fill fill) {
    Lease lease;
    StoreTier* store = nullptr;
    bool hit = false;
    VolumeId counted_in = 0;
    {
        MutexLock lock(object->mutex);
        if (Status filled = fill_for_lease(object, lock, fill); !filled) return filled.error();
        const bool readable = (object->state == Object::State::sealed && !object->unfinished) ||
                              (object->state == Object::State::scratch && object->writers == 0);
        if (!readable || object->converting) return Error{ENOENT, "not sealed"};
        lease.volume = object->volume;
        counted_in = object->counted.volume;
        lease.size = object->size;
        lease.chunk_crcs = object->chunk_crcs;
        store = object->store;
        if (object->content != nullptr) lease.content = Content::hold(object->content);
        hit = lease.content != nullptr || store != nullptr || object->empty_saved;
    }
    used(*object, counted_in, hit, lease.content != nullptr && lease.content->whole(), store);
    if (lease.content != nullptr || lease.size == 0) return lease;
    if (store == nullptr) return Error{ENOENT, "lost"};
    auto reader = open_stored(*object, store);
    if (!reader) {
        unreadable(*store, object->id, reader.error());
        return reader.error();
    }
    lease.reader = std::move(*reader);
    return lease;
}

Result<std::shared_ptr<Content>> Cache::draft(VolumeId volume, std::uint64_t size) {
    if (size > options_.file_bytes_max) return Error{EFBIG, "more than one file may have in DRAM"};
    const Deadline until = deadline();
    VolumeShare counted{volume};
    if (Status room = reserve(counted, size, until); !room) return room.error();
    auto share = std::make_unique<DraftShare>(volumes_, counted);
    for (;;) {
        auto memory = arena_->allocate(volume, std::max<std::uint64_t>(size, 1));
        if (memory) {
            auto content = std::make_shared<Content>(std::move(*memory), size, room_);
            content->hold_share(std::move(share));
            return content;
        }
        if (Status room = make_room(volume, size, until); !room) return room.error();
    }
}

}  // namespace kvfs
