// From a store into DRAM, and past DRAM when it has no room; every chunk is checked on the way.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "fs/base/crc32c.h"
#include "fs/cache/cache.h"
#include "fs/cache/checked_read.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;  // what O_DIRECT goes by

std::uint64_t aligned_up(std::uint64_t bytes) {
    return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

/// For who reads a file that is there, by its name.
Error unread(const Error& error) {
    return error.code == ENOENT ? Error{EIO, "its object is missing"} : error;
}

}  // namespace

/// One fill: the content, the object being read, and what each chunk still waits for.
///
/// A few chunks are read at a time, in the file's order: a device that is given a whole file at
/// once gives all of it back late, and who reads from the front waits for the end. A reader who
/// waits for another place in the file moves the order there.
struct Cache::Filling {
    ObjectPtr object;
    std::shared_ptr<Content> content;
    std::unique_ptr<ObjectReader> reader;
    StoreTier* tier = nullptr;
    std::vector<std::uint32_t> crcs;
    std::uint64_t size = 0;
    struct Chunk {
        std::atomic<unsigned> reads{0};
        std::atomic<int> error{0};
    };
    std::vector<Chunk> chunks;
    std::atomic<std::size_t> chunks_left{0};
    Mutex mutex;
    std::vector<bool> asked GUARDED_BY(mutex);  ///< by chunk: given to the store
    std::size_t next GUARDED_BY(mutex) = 0;     ///< where to go on looking for one that was not
    bool failed GUARDED_BY(mutex) = false;

    void fail(Error error) {
        {
            const MutexLock lock(mutex);
            failed = true;
        }
        content->fail(std::move(error));
    }

    /// The chunk to be read next; none when all are asked for, or the fill has failed.
    std::optional<std::size_t> take() {
        const MutexLock lock(mutex);
        if (failed) return std::nullopt;
        if (const auto wanted = content->wanted(); wanted && !asked[*wanted]) next = *wanted;
        for (std::size_t tried = 0; tried < asked.size(); ++tried, ++next) {
            if (next == asked.size()) next = 0;
            if (asked[next]) continue;
            asked[next] = true;
            return next++;
        }
        return std::nullopt;
    }

    std::uint64_t length(std::size_t chunk) const {
        return std::min<std::uint64_t>(kChunkBytes, size - chunk * kChunkBytes);
    }
};

Status Cache::start_fill(const ObjectPtr& object, MutexLock& lock,
                         Deadline for_room) NO_THREAD_SAFETY_ANALYSIS {
    if (object->store == nullptr) return Error{EIO, "the file is in no tier"};
    object->fill_starting = true;
    auto fill = std::make_shared<Filling>();
    fill->object = object;
    fill->tier = object->store;
    fill->crcs = object->chunk_crcs;
    fill->size = object->size;
    const VolumeId volume = object->volume;
    lock.unlock();

    const auto prepare = [&]() -> Status {
        if (fill->size > options_.file_bytes_max)
            return Error{ENOSPC, "more than one file may have in DRAM"};
        auto reader = open_stored(*object, fill->tier);
        if (!reader) {
            unreadable(*fill->tier, object->id, reader.error());
            return unread(reader.error());
        }
        fill->reader = std::move(*reader);
        for (;;) {
            if (auto memory = arena_->allocate(volume, fill->size)) {
                fill->content = std::make_shared<Content>(std::move(*memory), fill->size, room_);
                return {};
            }
            if (!make_room(volume, fill->size, for_room))
                return Error{ENOSPC, "DRAM has no room now"};
        }
    };
    const Status prepared = prepare();

    lock.lock();
    object->fill_starting = false;
    object->changed.notify_all();
    if (!prepared) return prepared;
    if (object->state != Object::State::sealed || object->store == nullptr) return {};
    const std::size_t chunks = (fill->size + kChunkBytes - 1) / kChunkBytes;
    fill->chunks = std::vector<Filling::Chunk>(chunks);
    fill->chunks_left = chunks;
    {
        const MutexLock filling(fill->mutex);
        fill->asked.assign(chunks, false);
    }
    fill->content->start_fill(chunks);
    object->content = std::move(fill->content);
    fill->content = Content::hold(object->content);
    admit(*object, fill->size);
    ++counters_.fills;
    lock.unlock();
    const std::uint64_t window = fill->tier->store->window_bytes();
    for (std::uint64_t asked = 0; asked < window; asked += kChunkBytes) ask_next(fill);
    lock.lock();
    return {};
}

/// Returns with the object's content in place, or without it, when a store's copy will do.
Status Cache::fill_for_lease(const ObjectPtr& object, MutexLock& lock,
                             Fill how) NO_THREAD_SAFETY_ANALYSIS {
    const Deadline until = deadline();
    while (object->state == Object::State::sealed && object->content == nullptr &&
           object->store != nullptr && !object->converting && how != Fill::running) {
        if (object->fill_starting) {
            if (Status waited = wait_changed(*object, lock, until); !waited) return waited;
            continue;
        }
        const Deadline for_room = how == Fill::always ? until : Clock::now();
        if (Status started = start_fill(object, lock, for_room); !started)
            return how == Fill::always ? started : Status();
    }
    return {};
}

void Cache::ask_next(const std::shared_ptr<Filling>& fill) {
    const auto chunk = fill->take();
    if (!chunk) return;
    // The tail of the last chunk is read to a whole sector; the memory is there (arena units).
    std::uint64_t at = *chunk * kChunkBytes;
    const auto spans = fill->content->spans(at, aligned_up(fill->length(*chunk)));
    fill->chunks[*chunk].reads = static_cast<unsigned>(spans.size());
    for (const auto& span : spans) {
        const std::uint64_t wanted = std::min<std::uint64_t>(span.size(), fill->size - at);
        fill->reader->read(at, span, [this, fill, chunk = *chunk, wanted](std::int64_t result) {
            const bool enough = result >= static_cast<std::int64_t>(wanted);
            chunk_done(fill, chunk, enough || result < 0 ? result : -EIO);
        });
        at += span.size();
    }
}

void Cache::chunk_done(const std::shared_ptr<Filling>& fill, std::size_t chunk,
                       std::int64_t result) {
    Filling::Chunk& state = fill->chunks[chunk];
    if (result < 0) state.error = static_cast<int>(-result);
    if (state.reads.fetch_sub(1) != 1) return;  // this chunk's other extents are still on the way
    ask_next(fill);  // before summing: the device is not to wait for that

    const std::uint64_t length = fill->length(chunk);
    Error error{state.error, {}};
    if (error.code != 0) {
        unreadable(*fill->tier, fill->object->id, error);
        error = Error{EIO, fill->tier->store->name() + " could not be read"};
    } else {
        counters_.store_read_bytes += length;
        std::uint32_t crc = 0;
        for (const auto& span : fill->content->spans(chunk * kChunkBytes, length))
            crc = crc32c(span, crc);
        if (chunk < fill->crcs.size() && crc != fill->crcs[chunk]) {
            error = Error{EBADMSG, "checksum mismatch"};
            corrupt(fill->object->id, fill->tier->store->name() + ": object of inode " +
                                          std::to_string(fill->object->id) +
                                          " has a bad checksum in its chunk " +
                                          std::to_string(chunk));
        }
    }
    if (error.code == 0) {
        fill->content->landed(chunk);
    } else {
        {
            // First, so that who reads again after the error starts a new fill.
            const MutexLock lock(fill->object->mutex);
            if (fill->object->content == fill->content) fill->object->content.reset();
        }
        fill->fail(error);
    }
    if (fill->chunks_left.fetch_sub(1) == 1 || error.code != 0) kick_evictor();
}

Result<ReadView> Cache::read_chunks(StoreTier& tier, const std::shared_ptr<ObjectReader>& reader,
                                    ObjectId id, std::uint64_t size,
                                    const std::vector<std::uint32_t>& crcs, std::uint64_t offset,
                                    std::size_t length, Deadline until) {
    auto read = read_checked(reader, size, crcs, offset, length, until);
    if (!read && read.error().code == EBADMSG) {
        corrupt(id, "object of inode " + std::to_string(id) + " has a bad checksum");
        return Error{EIO, read.error().what};
    }
    // Of a file that is rewritten in place, what can be read is worth keeping.
    if (!read && !crcs.empty()) unreadable(tier, id, read.error());
    if (!read) return read.error();
    counters_.store_read_bytes += read->read_bytes;
    return std::move(read->view);
}

Result<std::unique_ptr<ObjectReader>> Cache::open_stored(const Object& object, StoreTier*& tier) {
    for (;;) {
        auto reader = tier->store->open(object.id);
        if (reader || reader.error().code != ENOENT) return reader;
        const MutexLock lock(object.mutex);
        if (object.store == nullptr || object.store == tier) return reader;
        tier = object.store;
    }
}

Result<ReadView> Cache::read_through(const ObjectPtr& object, std::uint64_t offset,
                                     std::size_t length, Deadline until) {
    StoreTier* tier = nullptr;
    std::uint64_t size = 0;
    std::vector<std::uint32_t> crcs;
    {
        const MutexLock lock(object->mutex);
        if (object->store == nullptr) return Error{EIO, "the file was lost"};
        tier = object->store;
        size = object->size;
        crcs = object->chunk_crcs;
    }
    auto reader = open_stored(*object, tier);
    if (!reader) {
        unreadable(*tier, object->id, reader.error());
        return unread(reader.error());
    }
    return read_chunks(*tier, std::move(*reader), object->id, size, crcs, offset, length, until);
}

}  // namespace kvfs
