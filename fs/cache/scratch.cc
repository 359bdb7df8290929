// Scratch files: rewritten in place, so they live in a store's file and not in DRAM.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "fs/base/crc32c.h"
#include "fs/cache/cache.h"

namespace kvfs {
namespace {

Status write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error("writing a scratch file");
        if (n == 0) return Error{EIO, "writing a scratch file made no progress"};
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return {};
}

}  // namespace

Result<std::shared_ptr<UniqueFd>> Cache::scratch_file(Object& object) {
    if (object.scratch_file == nullptr) {
        auto fd = object.store->store->open_in_place(object.id);
        if (!fd) return fd.error();
        object.scratch_file = std::make_shared<UniqueFd>(std::move(*fd));
    }
    return object.scratch_file;
}

Result<ReadView> Cache::read_scratch(const std::shared_ptr<UniqueFd>& file, std::uint64_t offset,
                                     std::size_t length) {
    auto buffer = std::shared_ptr<std::byte[]>(new std::byte[length]);
    std::size_t done = 0;
    while (done < length) {
        const ssize_t n = ::pread(file->get(), buffer.get() + done, length - done,
                                  static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error("reading a scratch file");
        if (n == 0) break;  // truncated meanwhile
        done += static_cast<std::size_t>(n);
    }
    counters_.store_read_bytes += done;
    return ReadView{{std::span<const std::byte>(buffer.get(), done)}, buffer};
}

void Cache::recharge(Object& object) {
    struct stat file {};
    if (object.scratch_file == nullptr || ::fstat(object.scratch_file->get(), &file) != 0) return;
    // What it takes, not what it spans: a sparse file costs nothing until it is written.
    const std::uint64_t now = static_cast<std::uint64_t>(file.st_blocks) * 512;
    const MutexLock lock(object.store->mutex);
    object.store->used += now;
    object.store->used -= std::min(object.store->used, object.charged);
    object.charged = now;
}

Status Cache::write_scratch(Object& object, MutexLock& lock, std::uint64_t offset,
                            std::span<const std::byte> bytes) NO_THREAD_SAFETY_ANALYSIS {
    auto file = scratch_file(object);
    if (!file) return file.error();
    StoreTier& tier = *object.store;
    ++object.writes_in_flight;
    lock.unlock();
    // Room is made before, and what was really taken is counted after.
    Status written = charge(tier, bytes.size())
                         ? write_all((*file)->get(), bytes, offset)
                         : Status(Error{ENOSPC, tier.store->name() + " holds nothing to evict"});
    if (written || written.error().code != ENOSPC) {
        const MutexLock tier_lock(tier.mutex);
        tier.used -= std::min<std::uint64_t>(tier.used, bytes.size());
    }
    lock.lock();
    if (written && object.state == Object::State::scratch) {
        object.size = std::max(object.size, offset + bytes.size());
        recharge(object);
    }
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
    ObjectRecord none;  ///< what is recorded while it is on its way

    StoreTier* to = nullptr;  ///< set once it is charged
    UniqueFd file;
};

Status Cache::copy_to_file(ObjectId id, const Conversion& from,
                           const std::shared_ptr<ObjectReader>& reader, Deadline until) {
    if (from.content != nullptr) {
        if (Status whole = from.content->wait(0, from.size, until); !whole) return whole;
        std::uint64_t at = 0;
        for (const auto& span : from.content->spans(0, from.size)) {
            if (Status written = write_all(from.file.get(), span, at); !written) return written;
            at += span.size();
        }
        return {};
    }
    for (std::uint64_t at = 0; reader != nullptr && at < from.size; at += kChunkBytes) {
        const std::size_t length = std::min<std::uint64_t>(kChunkBytes, from.size - at);
        auto view = read_chunks(reader, id, from.size, from.chunk_crcs, at, length, until);
        if (!view) return view.error();
        std::uint64_t to = at;
        for (const auto& span : view->spans) {
            if (Status written = write_all(from.file.get(), span, to); !written) return written;
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
    conversion.to = charge_store(conversion.size);
    if (conversion.to == nullptr) return Error{ENOSPC, "no store has room for a scratch file"};
    if (conversion.from != nullptr) {
        // The old object is removed and not rewritten: mapper clients may be reading it.
        static_cast<void>(catalog_->save_object(id, conversion.none));
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
    Conversion conversion;
    conversion.content = object.content;
    conversion.from = object.store;
    conversion.from_charged = object.charged;
    conversion.chunk_crcs = object.chunk_crcs;
    conversion.size = object.size;
    conversion.none = record_of(object);
    conversion.none.store_uid = 0;
    lock.unlock();
    const Status converted = convert(object.id, conversion, until);
    if (!converted && conversion.to != nullptr) {
        conversion.file.reset();
        static_cast<void>(conversion.to->store->remove(object.id));
        const std::uint64_t charged = conversion.to->store->footprint(conversion.size);
        const MutexLock tier_lock(conversion.to->mutex);
        conversion.to->used -= std::min(conversion.to->used, charged);
    }
    lock.lock();
    object.converting = false;
    object.changed.notify_all();
    if (converted) {
        become_scratch(object, conversion);
    } else if (conversion.to != nullptr && conversion.from != nullptr) {  // the old object is gone
        object.store = nullptr;
        object.charged = 0;
        if (object.content == nullptr) object.state = Object::State::lost;
    }
    return converted;
}

void Cache::become_scratch(Object& object, Conversion& conversion) {
    StoreTier& tier = *conversion.to;
    object.state = Object::State::scratch;
    object.scratch_file = std::make_shared<UniqueFd>(std::move(conversion.file));
    object.content.reset();
    object.store = &tier;
    object.charged = tier.store->footprint(conversion.size);
    object.chunk_crcs.clear();
    ++object.version;
    {
        const MutexLock dram_lock(dram_mutex_);
        dram_policy_->removed(object.id);
    }
    const MutexLock tier_lock(tier.mutex);
    tier.policy->admitted(object.id, object.charged);
    ++tier.files;
}

}  // namespace kvfs
