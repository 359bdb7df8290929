#include "gpumap/daemon.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>
#include <utility>

#include "fs/base/crc32c.h"
#include "gpumap/gate.h"

namespace kvfs::gpumap {

using protocol::kPayloadBytesMax;
using protocol::Op;

namespace {

template <protocol::Wire T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

void append_path(std::vector<std::byte>& payload, std::string_view path) {
    const auto length = static_cast<std::uint16_t>(path.size());
    const auto head = bytes_of(length);
    payload.insert(payload.end(), head.begin(), head.end());
    const auto body = std::as_bytes(std::span(path.data(), path.size()));
    payload.insert(payload.end(), body.begin(), body.end());
}

/// How many of `paths` fit into one packet, whose payload they become.
std::size_t pack_paths(std::span<const std::string_view> paths, std::vector<std::byte>& payload) {
    std::size_t count = 0;
    for (const std::string_view path : paths) {
        if (payload.size() + sizeof(std::uint16_t) + path.size() > kPayloadBytesMax) break;
        append_path(payload, path);
        ++count;
    }
    return count;
}

Error no_daemon() { return {ENOTCONN, "the daemon is lost"}; }
Error broken(const char* what) { return {EPROTO, std::string("the daemon sent ") + what}; }

/// Takes the records of a reply one by one.
class Records {
  public:
    Records(Answer answer, Slabs& slabs) : answer_(std::move(answer)), slabs_(slabs) {}

    Result<std::vector<LeaseAnswer>> parse() {
        std::vector<LeaseAnswer> answers;
        while (at_ < answer_.payload.size()) {
            protocol::EntryKind kind{};
            if (left() < sizeof kind) return broken("half a record");
            std::memcpy(&kind, answer_.payload.data() + at_, sizeof kind);
            if (kind == protocol::EntryKind::slab) {
                if (Status added = take_slab(); !added) return added.error();
                continue;
            }
            auto lease = take_lease();
            if (!lease) return lease.error();
            answers.push_back(std::move(*lease));
        }
        return answers;
    }

  private:
    std::size_t left() const { return answer_.payload.size() - at_; }

    template <protocol::Wire T>
    bool take(T& value) {
        if (left() < sizeof value) return false;
        std::memcpy(&value, answer_.payload.data() + at_, sizeof value);
        at_ += sizeof value;
        return true;
    }

    UniqueFd take_fd() {
        return next_fd_ < answer_.fds.size() ? std::move(answer_.fds[next_fd_++]) : UniqueFd();
    }

    Status take_slab() {
        protocol::SlabEntry entry;
        if (!take(entry)) return broken("half a slab");
        const UniqueFd memory = take_fd();
        if (!memory) return broken("a slab without its descriptor");
        return slabs_.add(entry, memory);
    }

    Result<LeaseAnswer> take_lease() {
        protocol::LeaseEntry entry;
        if (!take(entry)) return broken("half a lease");
        LeaseAnswer answer{entry.inode, static_cast<int>(entry.status), nullptr};
        if (entry.kind == protocol::EntryKind::refused) {
            if (answer.status == 0) return broken("a refusal without a reason");
            return answer;
        }
        auto lease = std::make_shared<FileLease>();
        lease->number = entry.lease;
        lease->inode = entry.inode;
        lease->size = entry.size;
        lease->mtime_ns = entry.mtime_ns;
        Status taken = broken("a record of an unknown kind");
        lease->filling = entry.kind == protocol::EntryKind::filling;
        if (entry.kind == protocol::EntryKind::dram || lease->filling)
            taken = take_segments(entry.parts, *lease);
        if (entry.kind == protocol::EntryKind::file) taken = take_file(entry.parts, *lease);
        if (!taken) return taken.error();
        answer.lease = std::move(lease);
        return answer;
    }

    Status take_segments(std::uint32_t count, FileLease& lease) {
        if (count > left() / sizeof(protocol::Segment)) return broken("half a lease");
        lease.segments.reserve(count);
        std::uint64_t at = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            protocol::Segment segment;
            take(segment);
            auto slab = slabs_.find(segment.slab, segment.generation);
            if (!slab) return slab.error();
            const std::uint64_t size = (*slab)->memory.size();
            if (segment.offset > size || segment.length > size - segment.offset ||
                segment.length > lease.size - at)
                return broken("a segment outside of its slab");
            lease.segments.push_back(
                {at, (*slab)->memory.data() + segment.offset, segment.length, std::move(*slab)});
            at += segment.length;
        }
        if (at != lease.size) return broken("segments that do not make up the file");
        return {};
    }

    Status take_file(std::uint32_t count, FileLease& lease) {
        if (count > left() / sizeof(std::uint32_t)) return broken("half a lease");
        lease.chunk_crcs.resize(count);
        if (count > 0)
            std::memcpy(lease.chunk_crcs.data(), answer_.payload.data() + at_, count * 4UL);
        at_ += count * sizeof(std::uint32_t);
        const std::uint64_t chunks = lease.size / kChunkBytes + (lease.size % kChunkBytes != 0);
        if (count != 0 && count != chunks) return broken("checksums that are not the file's");
        lease.file = take_fd();
        if (!lease.file) return broken("a lease without its descriptor");
        return {};
    }

    Answer answer_;
    Slabs& slabs_;
    std::size_t at_ = 0;
    std::size_t next_fd_ = 0;
};

}  // namespace

Result<std::vector<LeaseAnswer>> parse_leases(Answer answer, Slabs& slabs) {
    return Records(std::move(answer), slabs).parse();
}

void Daemon::look_up(std::span<const std::string_view> paths, std::function<void(Lookups)> done) {
    /// Answers come in order, on one thread; the last one to come has them all.
    struct Gathering {
        Lookups lookups;
        std::atomic<std::size_t> packets_left = 0;
        std::function<void(Lookups)> done;
    };
    auto gathering = std::make_shared<Gathering>();
    gathering->lookups.resize(paths.size());
    gathering->done = std::move(done);
    std::vector<std::vector<std::byte>> packets;
    std::vector<std::size_t> counts;
    for (std::size_t at = 0; at < paths.size(); at += counts.back())
        counts.push_back(pack_paths(paths.subspan(at), packets.emplace_back()));
    if (packets.empty()) return gathering->done({});
    gathering->packets_left = packets.size();
    std::size_t first = 0;
    for (std::size_t i = 0; i < packets.size(); first += counts[i++]) {
        connection_.request(
            Op::lookup, static_cast<std::uint32_t>(counts[i]), packets[i],
            [gathering, first, count = counts[i]](Answer answer) {
                const auto into = std::span(gathering->lookups).subspan(first, count);
                if (answer.status == 0 && answer.payload.size() != into.size_bytes())
                    answer.status = EPROTO;
                if (answer.status == 0)
                    std::memcpy(into.data(), answer.payload.data(), into.size_bytes());
                else
                    for (auto& entry : into)
                        entry.status = static_cast<std::uint32_t>(answer.status);
                if (--gathering->packets_left == 0) gathering->done(std::move(gathering->lookups));
            });
    }
}

Result<Daemon::Lookups> Daemon::look_up(std::span<const std::string_view> paths) {
    for (const std::string_view path : paths) {
        if (path.size() > protocol::kPathBytesMax) return Error{ENAMETOOLONG, "too long a path"};
    }
    Lookups lookups;
    Gate answered;
    look_up(paths, [&](Lookups found) {
        lookups = std::move(found);
        answered.open();
    });
    answered.wait();
    for (const protocol::LookupEntry& entry : lookups) {
        if (entry.status == ENOTCONN || entry.status == EPROTO) return no_daemon();
    }
    return lookups;
}

void Daemon::lease(std::span<const std::uint64_t> inodes,
                   std::function<void(std::vector<LeaseAnswer>)> done) {
    constexpr std::size_t kInodesMax = kPayloadBytesMax / sizeof(std::uint64_t);
    const auto shared =
        std::make_shared<std::function<void(std::vector<LeaseAnswer>)>>(std::move(done));
    while (!inodes.empty()) {
        const auto part = inodes.first(std::min(inodes.size(), kInodesMax));
        inodes = inodes.subspan(part.size());
        connection_.request(
            Op::lease, static_cast<std::uint32_t>(part.size()), std::as_bytes(part),
            [this, shared, asked = std::vector(part.begin(), part.end())](Answer answer) {
                int status = answer.status;
                if (status == 0) {
                    auto answers = parse_leases(std::move(answer), slabs_);
                    if (answers && answers->size() == asked.size())
                        return (*shared)(std::move(*answers));
                    status = answers ? EPROTO : answers.error().code;
                }
                std::vector<LeaseAnswer> none;
                for (const std::uint64_t inode : asked) none.push_back({inode, status, nullptr});
                (*shared)(std::move(none));
            });
    }
}

void Daemon::await(std::uint64_t lease, std::uint64_t bytes,
                   std::function<void(int, std::uint64_t)> done) {
    const protocol::Await wanted{lease, bytes};
    connection_.request(Op::await, 1, bytes_of(wanted),
                        [bytes, done = std::move(done)](const Answer& answer) {
                            protocol::Landed landed;
                            if (answer.status != 0) return done(answer.status, 0);
                            if (answer.payload.size() != sizeof landed) return done(EPROTO, 0);
                            std::memcpy(&landed, answer.payload.data(), sizeof landed);
                            done(landed.bytes < bytes ? EPROTO : 0, landed.bytes);
                        });
}

void Daemon::release(std::span<const protocol::Release> releases) {
    constexpr std::size_t kReleasesMax = kPayloadBytesMax / sizeof(protocol::Release);
    while (!releases.empty()) {
        const auto part = releases.first(std::min(releases.size(), kReleasesMax));
        releases = releases.subspan(part.size());
        connection_.notify(Op::release, static_cast<std::uint32_t>(part.size()),
                           std::as_bytes(part));
    }
}

Result<std::shared_ptr<const FileLease>> Daemon::draft(std::string_view path,
                                                       std::string_view parent, std::uint64_t size,
                                                       std::uint32_t mode, bool make_directories) {
    if (path.size() > protocol::kPathBytesMax) return Error{ENAMETOOLONG, "too long a path"};
    const protocol::DraftRequest request{
        .size = size, .mode = mode, .flags = make_directories ? protocol::kMakeDirectories : 0};
    const auto head = bytes_of(request);
    std::vector<std::byte> payload(head.begin(), head.end());
    append_path(payload, path);
    append_path(payload, parent.size() <= protocol::kPathBytesMax ? parent : std::string_view());
    // Taken apart on the receiving thread: the next reply may count on the slabs in this one.
    Result<std::vector<LeaseAnswer>> answers = no_daemon();
    Gate answered;
    connection_.request(Op::draft, 2, payload, [&](Answer answer) {
        if (answer.status == 0) answers = parse_leases(std::move(answer), slabs_);
        answered.open();
    });
    answered.wait();
    if (!answers) return answers.error();
    if (answers->size() != 1) return broken("no draft");
    const LeaseAnswer& draft = answers->front();
    if (draft.lease == nullptr) return Error{draft.status, {}};
    for (const FileLease::Segment& segment : draft.lease->segments) {
        if (!segment.slab->writable) return broken("a draft that cannot be written");
    }
    if (draft.lease->size != size || draft.lease->on_ssd())
        return broken("a draft of another size");
    return draft.lease;
}

Status Daemon::set(std::string_view path, std::string_view key, std::string_view value) {
    std::vector<std::byte> payload;
    for (const std::string_view text : {path, key, value}) {
        if (text.size() > protocol::kPathBytesMax) return Error{ENAMETOOLONG, "too long a path"};
        append_path(payload, text);
    }
    const Answer answer = connection_.call(Op::set, 3, payload);
    return answer.status == 0 ? Status() : Error{answer.status, {}};
}

void Daemon::publish(std::uint64_t lease, std::function<void(int)> done) {
    connection_.request(Op::publish, 1, bytes_of(lease),
                        [done = std::move(done)](const Answer& answer) { done(answer.status); });
}

void Daemon::discard(std::uint64_t lease) { connection_.notify(Op::discard, 1, bytes_of(lease)); }

Result<std::string> Daemon::statistics() {
    const Answer answer = connection_.call(Op::stats, 0, {});
    if (answer.status != 0) return no_daemon();
    return std::string(reinterpret_cast<const char*>(answer.payload.data()), answer.payload.size());
}

}  // namespace kvfs::gpumap
