// The scrub: reads what lies in stores, slowly, so that damage is found before a reader finds it.
#include <algorithm>
#include <memory>

#include "fs/base/crc32c.h"
#include "fs/base/log.h"
#include "fs/cache/cache.h"
#include "fs/cache/checked_read.h"

namespace kvfs {
namespace {

/// Records asked of the catalog at a time.
constexpr std::size_t kRecordsAtOnce = 256;
/// What an object counts for at least: to open one costs more than to read its few bytes.
constexpr std::uint64_t kLeastBytes = 128 << 10;

}  // namespace

void Cache::scrubber() {
    Deadline due = Clock::now();  // of the next chunk, also when it is the first of a round
    // By the start of a round: one that takes longer is followed by the next at once.
    for (Deadline next = due; pause_scrub(next);) {
        next = deadline_after(options_.scrub_round);
        if (!scrub_stores(due)) return;
        ++counters_.scrub_rounds;
    }
}

/// False when the scrub is to end.
bool Cache::pause_scrub(Deadline until) {
    MutexLock lock(scrub_mutex_);
    while (!scrub_stop_)
        if (!scrub_cv_.wait_until(lock, until)) return !scrub_stop_;
    return false;
}

bool Cache::scrub_stores(Deadline& due) {
    for (ObjectId from = 0;;) {
        const auto ids = catalog_->stored_objects(from, kRecordsAtOnce);
        if (!ids || ids->empty()) return true;
        for (const ObjectId id : *ids)
            if (!scrub(id, due)) return false;
        from = ids->back() + 1;
    }
}

/// Reads one object, chunk by chunk, each when it is `due`. False when the scrub is to end.
bool Cache::scrub(ObjectId id, Deadline& due) {
    const auto record = catalog_->find_object(id);
    StoreTier* const tier = record ? store_of(record->store_uid) : nullptr;
    const bool wanted = tier != nullptr && healthy(*tier) && !record->unlinked &&
                        !record->scratch && !record->chunk_crcs.empty();
    if (!wanted) return true;
    std::shared_ptr<ObjectReader> reader;
    for (std::uint64_t at = 0; at < record->size; at += kChunkBytes) {
        if (!pause_scrub(due)) return false;
        const std::uint64_t length = std::min<std::uint64_t>(kChunkBytes, record->size - at);
        const double seconds = static_cast<double>(std::max(length, kLeastBytes)) /
                               static_cast<double>(options_.scrub_bytes_per_s);
        due = Clock::now() +
              std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
        const auto scrubbed = [&]() -> Status {
            if (reader == nullptr) {
                auto opened = tier->store->open(id);
                if (!opened) return opened.error();
                reader = *std::move(opened);
            }
            const auto read =
                read_checked(reader, record->size, record->chunk_crcs, at, length, deadline());
            return read ? Status{} : Status(read.error());
        }();
        if (!scrubbed) {
            scrub_failed(*tier, id, *record, scrubbed.error());
            return true;
        }
        counters_.scrubbed_bytes += length;
    }
    return true;
}

void Cache::scrub_failed(StoreTier& tier, ObjectId id, const ObjectRecord& record,
                         const Error& error) {
    // Rewritten, moved or gone meanwhile: then the object is not the one of this record.
    const auto now = catalog_->find_object(id);
    if (!now || now->unlinked || now->scratch || now->store_uid != record.store_uid ||
        now->chunk_crcs != record.chunk_crcs)
        return;
    ++counters_.scrub_errors;
    if (error.code == EBADMSG)
        corrupt(id, "scrub: " + tier.store->name() + ": object of inode " + std::to_string(id) +
                        " has a bad checksum");
    else
        unreadable(tier, id, error);
}

}  // namespace kvfs
