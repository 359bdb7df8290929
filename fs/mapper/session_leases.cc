#include <algorithm>
#include <atomic>
#include <span>
#include <utility>

#include "fs/mapper/session.h"

namespace kvfs::mapper {
namespace {

using protocol::EntryKind;

/// In a store, with a descriptor; not in DRAM, and not empty.
bool is_file_lease(const Lease& lease) { return lease.content == nullptr && lease.size > 0; }

protocol::LeaseEntry refusal(Ino ino, const Error& error) {
    protocol::LeaseEntry entry;
    entry.kind = EntryKind::refused;
    entry.status = static_cast<std::uint32_t>(error.code);
    entry.inode = ino;
    return entry;
}

/// Appends `entry` and where the bytes of `content` are, or will be; null: of an empty file.
void append_dram_lease(Arena& arena, Reply& reply, protocol::LeaseEntry entry,
                       const Content* content) {
    std::vector<protocol::Segment> segments;
    std::uint64_t missing = entry.size;
    if (content != nullptr) {
        for (const Extent& extent : content->extents()) {
            if (missing == 0) break;
            const std::uint64_t length = std::min(extent.length, missing);
            segments.push_back({.slab = extent.slab,
                                .generation = arena.generation(extent.slab),
                                .offset = extent.offset,
                                .length = length});
            missing -= length;
        }
    }
    const bool is_whole = content == nullptr || content->whole();
    entry.kind = is_whole ? EntryKind::dram : EntryKind::filling;
    entry.parts = static_cast<std::uint32_t>(segments.size());
    reply.append(entry);
    reply.append(std::as_bytes(std::span(segments)));
}

}  // namespace

Status Session::lease(const Request& request) {
    Reply reply(socket_.get(), request.header);
    Access access(files_, peer_.caller);
    for (const Ino ino : request.numbers) {
        auto leased = take_lease(access, ino);
        if (!leased) {
            reply.append(refusal(ino, leased.error()));
            continue;
        }
        const Status granted = grant(access, reply, ino, std::move(*leased));
        if (!granted) reply.append(refusal(ino, granted.error()));
    }
    return reply.finish();
}

Result<Session::Leased> Session::take_lease(Access& access, Ino ino) {
    if (holdings_.size() >= protocol::kLeasesMax) return Error{EAGAIN};
    if (const auto readable = access.readable_file(ino); !readable) return readable.error();
    auto lease = files_.lease(ino, clients_ > 1 ? Fill::if_room : Fill::running);
    // A store that has no descriptor to give.
    const auto needs_dram = [&] {
        return lease && is_file_lease(*lease) && lease->reader->direct_fd() < 0;
    };
    if (needs_dram()) lease = files_.lease(ino, Fill::always);
    if (needs_dram()) return Error{EIO, "a file that does not stay in DRAM"};
    if (!lease) return lease.error();
    if (is_file_lease(*lease) && file_leases_ >= protocol::kFileLeasesMax) return Error{EAGAIN};
    // Asked for after the bytes are held: if the file was rewritten in between, this is the later
    // time, and the client finds the lease stale; it never takes new bytes for old ones.
    const auto attributes = files_.attributes(ino);
    if (!attributes) return attributes.error();
    return Leased{std::move(*lease), attributes->inode.mtime_ns};
}

Status Session::grant(Access& access, Reply& reply, Ino ino, Leased leased) {
    Lease& lease = leased.lease;
    protocol::LeaseEntry entry;
    entry.lease = next_lease_;
    entry.inode = ino;
    entry.size = lease.size;
    entry.mtime_ns = leased.mtime_ns;
    if (is_file_lease(lease)) {
        entry.kind = EntryKind::file;
        entry.parts = static_cast<std::uint32_t>(lease.chunk_crcs.size());
        reply.append(entry);
        reply.append(std::as_bytes(std::span(lease.chunk_crcs)));
        reply.attach(lease.reader->direct_fd());
        ++file_leases_;
    } else {
        if (lease.content != nullptr) {
            Status sent = send_slabs(access, reply, *lease.content, lease.volume, false);
            if (!sent) return sent;
        }
        if (lease.content != nullptr && !lease.content->whole()) {
            if (Status listening = listen(*lease.content); !listening) return listening;
        }
        append_dram_lease(files_.cache().arena(), reply, entry, lease.content.get());
    }
    holdings_.emplace(next_lease_++, std::move(lease));
    return {};
}

/// The slabs under `content` that the client does not have yet. They go for writing to whoever may
/// write the volume: devices cannot register what is mapped for reading only.
Status Session::send_slabs(Access& access, Reply& reply, const Content& content, VolumeId volume,
                           bool write) {
    if (Status allowed = access.volume(volume, write); !allowed) return allowed;
    Arena& arena = files_.cache().arena();
    for (const Extent& extent : content.extents()) {
        const auto given = given_.find(extent.slab);
        if (given != given_.end() && given->second.generation == arena.generation(extent.slab) &&
            (given->second.writable || !write))
            continue;
        const bool writable = access.volume(volume, true).ok();
        auto shared = arena.share(extent.slab, writable);
        if (!shared) return shared.error();
        // A file that was moved to another volume just now.
        if (shared->volume != volume) return Error{EAGAIN};
        reply.append(protocol::SlabEntry{.slab = extent.slab,
                                         .generation = shared->generation,
                                         .bytes = arena.slab_bytes(),
                                         .writable = writable ? 1U : 0U});
        reply.attach(std::move(shared->fd));
        given_[extent.slab] = {shared->generation, writable};
    }
    return {};
}

Status Session::draft(const Request& request) {
    Reply reply(socket_.get(), request.header);
    const std::string_view path = request.paths[0];
    const std::string_view parent = request.paths[1];
    Status status;
    if (drafts_ >= protocol::kDraftsMax || holdings_.size() >= protocol::kLeasesMax)
        status = Error{EAGAIN};
    if (status.ok() && (request.draft.flags & protocol::kMakeDirectories) != 0)
        status = files_.make_directories(path, peer_.caller);
    if (status.ok()) {
        auto draft = files_.draft(path, request.draft.size, request.draft.mode & 0777U,
                                  peer_.caller, parent);
        status = draft ? grant_draft(reply, std::move(*draft)) : Status(draft.error());
    }
    if (!status) reply.append(refusal(0, status.error()));
    return reply.finish();
}

Status Session::grant_draft(Reply& reply, Files::Draft draft) {
    Access access(files_, peer_.caller);
    Status sent = send_slabs(access, reply, *draft.content, draft.volume, true);
    if (!sent) return sent;
    protocol::LeaseEntry entry;
    entry.lease = next_lease_;
    entry.size = draft.content->size();
    append_dram_lease(files_.cache().arena(), reply, entry, draft.content.get());
    holdings_.emplace(next_lease_++, std::move(draft));
    ++drafts_;
    return {};
}

Status Session::publish(const Request& request) {
    Reply reply(socket_.get(), request.header);
    const auto found = holdings_.find(request.numbers.front());
    if (found == holdings_.end() || !std::holds_alternative<Files::Draft>(found->second))
        return reply.finish(ENOENT);
    Files::Draft draft = std::move(std::get<Files::Draft>(found->second));
    holdings_.erase(found);
    --drafts_;
    const auto published = files_.publish(std::move(draft));
    if (!published) return reply.finish(published.error().code);
    reply.append(std::uint64_t{published->inode.ino});
    return reply.finish();
}

void Session::release(const Request& request) {
    CacheCounters& counters = files_.cache().counters();
    for (const protocol::Release& released : request.releases) {
        const auto found = holdings_.find(released.lease);
        if (found == holdings_.end() || !std::holds_alternative<Lease>(found->second)) continue;
        const Lease& lease = std::get<Lease>(found->second);
        // The client's word, and no more than a whole reading of the file.
        const std::uint64_t bytes = std::min(released.bytes, lease.size);
        (lease.content != nullptr ? counters.dram_read_bytes : counters.store_read_bytes) += bytes;
        if (is_file_lease(lease)) --file_leases_;
        holdings_.erase(found);
    }
}

void Session::discard(const Request& request) {
    for (const std::uint64_t lease : request.numbers) {
        const auto found = holdings_.find(lease);
        if (found == holdings_.end() || !std::holds_alternative<Files::Draft>(found->second))
            continue;
        holdings_.erase(found);
        --drafts_;
    }
}

}  // namespace kvfs::mapper
