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
        const ssize_t n =
            ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
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
                            std::span<const std::byte> bytes) {
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

Status Cache::copy_to(Object& object, const std::shared_ptr<Content>& content,
                      const std::shared_ptr<ObjectReader>& reader,
                      const std::vector<std::uint32_t>& crcs, std::uint64_t size, int fd,
                      Deadline until) {
    if (content != nullptr) {
        if (Status whole = content->wait(0, size, until); !whole) return whole;
        std::uint64_t at = 0;
        for (const auto& span : content->spans(0, size)) {
            if (Status written = write_all(fd, span, at); !written) return written;
            at += span.size();
        }
        return {};
    }
    for (std::uint64_t at = 0; reader != nullptr && at < size; at += kChunkBytes) {
        const std::size_t length = std::min<std::uint64_t>(kChunkBytes, size - at);
        auto view = read_chunks(reader, object.id, size, crcs, at, length, until);
        if (!view) return view.error();
        std::uint64_t to = at;
        for (const auto& span : view->spans) {
            if (Status written = write_all(fd, span, to); !written) return written;
            to += span.size();
        }
    }
    return {};
}

Status Cache::to_scratch(Object& object, MutexLock& lock, Deadline until) {
    while (object.spilling || object.converting || object.fill_starting ||
           object.writes_in_flight > 0)
        if (Status waited = wait_changed(object, lock, until); !waited) return waited;
    if (object.state != Object::State::writing && object.state != Object::State::sealed) return {};

    object.converting = true;
    const std::shared_ptr<Content> content = object.content;
    StoreTier* const old_store = object.store;
    const std::uint64_t old_charged = object.charged;
    const std::vector<std::uint32_t> crcs = object.chunk_crcs;
    const std::uint64_t size = object.size;
    ObjectRecord none = record_of(object);
    none.store_uid = 0;
    lock.unlock();

    // The old object, if any, is unlinked and not rewritten: mapper clients may be reading it.
    StoreTier* tier = nullptr;
    UniqueFd file;
    const auto convert = [&]() -> Status {
        std::shared_ptr<ObjectReader> reader;
        if (old_store != nullptr && content == nullptr) {
            auto opened = old_store->store->open(object.id);
            if (!opened) return opened.error();
            reader = std::move(*opened);
        }
        tier = charge_store(size);
        if (tier == nullptr) return Error{ENOSPC, "no store has room for a scratch file"};
        if (old_store != nullptr) {
            static_cast<void>(catalog_->save_object(object.id, none));
            forget(object.id, old_store, old_charged);
        }
        auto opened = tier->store->open_in_place(object.id);
        if (!opened) return opened.error();
        file = std::move(*opened);
        return copy_to(object, content, reader, crcs, size, file.get(), until);
    };
    Status converted = convert();
    const std::uint64_t charged = tier == nullptr ? 0 : tier->store->footprint(size);
    if (!converted && tier != nullptr) {
        file.reset();
        forget(object.id, nullptr, 0);
        static_cast<void>(tier->store->remove(object.id));
        const MutexLock tier_lock(tier->mutex);
        tier->used -= std::min(tier->used, charged);
    }

    lock.lock();
    object.converting = false;
    object.changed.notify_all();
    if (!converted) {
        const bool old_gone = tier != nullptr && old_store != nullptr;
        if (!old_gone) return converted;
        object.store = nullptr;
        object.charged = 0;
        if (content == nullptr) object.state = Object::State::lost;
        return converted;
    }
    object.state = Object::State::scratch;
    object.scratch_file = std::make_shared<UniqueFd>(std::move(file));
    object.content.reset();
    object.store = tier;
    object.charged = charged;
    object.chunk_crcs.clear();
    ++object.version;
    {
        const MutexLock dram_lock(dram_mutex_);
        dram_policy_->removed(object.id);
    }
    const MutexLock tier_lock(tier->mutex);
    tier->policy->admitted(object.id, charged);
    ++tier->files;
    return {};
}

}  // namespace kvfs
