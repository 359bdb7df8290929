#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

/// What the daemon and libgpumap say to each other: one Unix SEQPACKET socket, little-endian
/// structs, Linux errno values as status.
///
/// A request is one packet: Header, then `bytes` of payload. A reply is one or more packets with
/// the request's number; all but the last carry kMore, and their payloads and descriptors
/// (SCM_RIGHTS), put together in order, are the reply: records may be cut anywhere. Requests are
/// answered in order, except `await`, which is answered when there is something to tell; no reply
/// comes within another. The client may send on without waiting for replies.
///
///     op       request payload                    reply payload
///     hello    Hello                              Welcome
///     lookup   count x path                       count x LookupEntry
///     lease    count x uint64 inode               records, see Entry; count leases among them
///     release  count x Release                    none is sent
///     draft    DraftRequest, path, parent's path  records, see Entry; one lease among them
///     await    Await                              Landed
///     set      path, key, value                   -
///     publish  uint64 lease                       uint64 inode
///     discard  count x uint64 lease               none is sent
///     stats    -                                  JSON text
///     bye      -                                  none is sent
///
/// A path is uint16 length, then as many bytes, without NUL: relative to the mount's root.
/// A draft's parent is the file before it in its prompt, "": none; one that cannot be found is
/// none. hello comes first, and only once; a version that the daemon does not speak is answered
/// with EPROTONOSUPPORT and the daemon's version in the header, and that is the last packet. What
/// breaks these rules ends the connection without an answer.
///
/// A connection that ends after bye, or whose process ends, gives back its leases and drafts. One
/// that ends otherwise keeps them until its process has ended: a device may still be reading.
namespace kvfs::protocol {

static_assert(std::endian::native == std::endian::little, "the socket speaks little-endian");

inline constexpr std::uint32_t kMagic = 0x7366766b;  ///< "kvfs"
inline constexpr std::uint16_t kVersion = 3;
/// No packet, with its header, is larger.
inline constexpr std::size_t kPacketBytesMax = 64 << 10;
/// Descriptors in one packet.
inline constexpr std::size_t kPacketFdsMax = 64;
/// Bytes of a path; the kernel's PATH_MAX.
inline constexpr std::size_t kPathBytesMax = 4096;
/// Of one client at a time; beyond, a lease is refused with EAGAIN: give some back, ask again.
inline constexpr std::uint32_t kLeasesMax = 65536;
/// Of these, such as come with a descriptor of their own.
inline constexpr std::uint32_t kFileLeasesMax = 256;
/// Drafts of one client at a time, EAGAIN beyond.
inline constexpr std::uint32_t kDraftsMax = 256;

enum class Op : std::uint16_t {
    hello = 1,
    lookup = 2,
    lease = 3,
    release = 4,
    draft = 5,
    publish = 6,
    discard = 7,
    stats = 8,
    bye = 9,
    await = 10,
    set = 11,  ///< the attribute user.kvfs.KEY of a file or directory
};

/// Header::flags of a reply: another packet of it follows.
inline constexpr std::uint32_t kMore = 1;

struct Header {
    std::uint32_t magic = kMagic;
    std::uint16_t version = kVersion;
    Op op{};
    std::uint64_t request = 0;  ///< the client's number for it; the reply has the same
    std::uint32_t count = 0;    ///< of things in the request; the reply's is the request's
    std::uint32_t bytes = 0;    ///< of payload in this packet
    std::uint32_t status = 0;   ///< of a reply: errno, and then there is no payload; 0 in requests
    std::uint32_t flags = 0;    ///< kMore; 0 in requests
};
static_assert(sizeof(Header) == 32 && offsetof(Header, version) == 4 && offsetof(Header, op) == 6 &&
              offsetof(Header, request) == 8 && offsetof(Header, count) == 16 &&
              offsetof(Header, bytes) == 20 && offsetof(Header, status) == 24 &&
              offsetof(Header, flags) == 28);

inline constexpr std::size_t kPayloadBytesMax = kPacketBytesMax - sizeof(Header);

struct Hello {
    std::uint32_t chunk_bytes = 0;  ///< that the client verifies checksums over
    std::uint32_t reserved = 0;
};
static_assert(sizeof(Hello) == 8);

struct Welcome {
    std::uint32_t chunk_bytes = 0;
    std::uint32_t slab_count = 0;
    std::uint64_t slab_bytes = 0;
};
static_assert(sizeof(Welcome) == 16 && offsetof(Welcome, slab_count) == 4 &&
              offsetof(Welcome, slab_bytes) == 8);

enum class Tier : std::uint32_t { none = 0, dram = 1, ssd = 2 };

struct LookupEntry {
    std::uint32_t status = 0;  ///< ENOENT: absent, or not sealed; EISDIR, EACCES, ...
    Tier tier = Tier::none;    ///< the fastest that has all of it
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::uint64_t hits = 0;
    std::int64_t mtime_ns = 0;  ///< with `size`: tells a file that was rewritten under its number
};
static_assert(sizeof(LookupEntry) == 40 && offsetof(LookupEntry, tier) == 4 &&
              offsetof(LookupEntry, inode) == 8 && offsetof(LookupEntry, size) == 16 &&
              offsetof(LookupEntry, hits) == 24 && offsetof(LookupEntry, mtime_ns) == 32);

/// Kinds of record in the reply to lease and draft.
enum class EntryKind : std::uint32_t {
    refused = 0,  ///< LeaseEntry; `status` says why
    dram = 1,     ///< LeaseEntry, then `parts` Segments in file order, which make up `size`
    file = 2,     ///< LeaseEntry, then `parts` uint32 CRC32C, one for each chunk, none: not
                  ///< checksummed; and one read-only O_DIRECT descriptor
    slab = 3,  ///< SlabEntry and one descriptor, before the first segment that lies in it; once a
               ///< client, slab and generation, and again when it became writable
    filling = 4,  ///< as dram, but the bytes are still coming from SSD: see Await
};

struct LeaseEntry {
    EntryKind kind = EntryKind::refused;
    std::uint32_t status = 0;
    std::uint64_t lease = 0;  ///< this connection's number for it; never 0, never used again
    std::uint64_t inode = 0;  ///< 0: a draft
    std::uint64_t size = 0;   ///< of the file, bytes
    std::int64_t mtime_ns = 0;
    std::uint32_t parts = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(LeaseEntry) == 48 && offsetof(LeaseEntry, status) == 4 &&
              offsetof(LeaseEntry, lease) == 8 && offsetof(LeaseEntry, inode) == 16 &&
              offsetof(LeaseEntry, size) == 24 && offsetof(LeaseEntry, mtime_ns) == 32 &&
              offsetof(LeaseEntry, parts) == 40);

struct SlabEntry {
    EntryKind kind = EntryKind::slab;
    std::uint32_t slab = 0;
    std::uint64_t generation = 0;
    std::uint64_t bytes = 0;
    std::uint32_t writable = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(SlabEntry) == 32 && offsetof(SlabEntry, slab) == 4 &&
              offsetof(SlabEntry, generation) == 8 && offsetof(SlabEntry, bytes) == 16 &&
              offsetof(SlabEntry, writable) == 24);

struct Segment {
    std::uint32_t slab = 0;
    std::uint32_t reserved = 0;
    std::uint64_t generation = 0;
    std::uint64_t offset = 0;  ///< in the slab, bytes
    std::uint64_t length = 0;  ///< bytes
};
static_assert(sizeof(Segment) == 32 && offsetof(Segment, generation) == 8 &&
              offsetof(Segment, offset) == 16 && offsetof(Segment, length) == 24);

struct Release {
    std::uint64_t lease = 0;  ///< one that the client does not hold is ignored
    std::uint64_t bytes = 0;  ///< that it has read through it, for the statistics
};
static_assert(sizeof(Release) == 16 && offsetof(Release, bytes) == 8);

/// Waits until the first `bytes` bytes of a lease of kind filling (or dram) are in place. Only one
/// for a lease at a time. The reply's status is ENOENT - no such lease on DRAM (any more); EINVAL -
/// beyond the file; EBADMSG - the bytes on SSD do not match their checksum; EIO - they cannot be
/// read; ETIMEDOUT.
struct Await {
    std::uint64_t lease = 0;
    std::uint64_t bytes = 0;
};
static_assert(sizeof(Await) == 16 && offsetof(Await, bytes) == 8);

struct Landed {
    std::uint64_t bytes = 0;  ///< from the front of the file, that are in place; at least as asked
};
static_assert(sizeof(Landed) == 8);

/// DraftRequest::flags: make the directories on the way.
inline constexpr std::uint32_t kMakeDirectories = 1;

struct DraftRequest {
    std::uint64_t size = 0;  ///< bytes, at least 1
    std::uint32_t mode = 0;  ///< permission bits
    std::uint32_t flags = 0;
};
static_assert(sizeof(DraftRequest) == 16 && offsetof(DraftRequest, mode) == 8 &&
              offsetof(DraftRequest, flags) == 12);

template <typename T>
concept Wire = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>;
static_assert(Wire<Header> && Wire<Hello> && Wire<Welcome> && Wire<LookupEntry> &&
              Wire<LeaseEntry> && Wire<SlabEntry> && Wire<Segment> && Wire<Release> &&
              Wire<DraftRequest> && Wire<Await> && Wire<Landed>);

}  // namespace kvfs::protocol
