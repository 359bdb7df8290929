#include "fs/names/record.h"

#include <bit>
#include <type_traits>

namespace kvfs::record {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

constexpr std::uint8_t kInodeVersion = 2;
constexpr std::uint8_t kInodeWithQuotasVersion = 3;  // QuotaRecord before the name
constexpr std::uint8_t kPlacementVersion = 2;
// InodeRecord::flags
constexpr std::uint8_t kPinned = 1;
constexpr std::uint8_t kScratchInode = 2;
// PlacementRecord::flags
constexpr std::uint8_t kScratch = 1;

/// Followed by the name. Members are ordered so that there is no padding.
struct InodeRecord {
    std::uint8_t version;
    std::uint8_t flags;
    std::int8_t priority;
    std::uint8_t zero;
    std::uint32_t mode;
    std::uint32_t uid;
    std::uint32_t gid;
    std::uint32_t nlink;
    std::uint32_t ttl_s;
    std::uint64_t parent;
    std::uint64_t volume;
    std::uint64_t size;
    std::int64_t atime_ns;
    std::int64_t mtime_ns;
    std::int64_t ctime_ns;
    std::int64_t btime_ns;
    std::uint64_t hits;
    std::uint64_t chain_parent;
};
static_assert(sizeof(InodeRecord) == 96 && std::has_unique_object_representations_v<InodeRecord>);

/// Few inodes have one: it costs the others nothing.
struct QuotaRecord {
    std::uint64_t soft;
    std::uint64_t hard;
};
static_assert(sizeof(QuotaRecord) == 16);

/// Followed by the checksums.
struct PlacementRecord {
    std::uint8_t version;
    std::uint8_t flags;
    std::uint16_t zero;
    std::uint32_t chunks;
    std::uint64_t store_uid;
    std::uint64_t size;
    std::uint64_t held_bytes;
};
static_assert(sizeof(PlacementRecord) == 32 &&
              std::has_unique_object_representations_v<PlacementRecord>);

Error damaged(const char* what, Ino ino) {
    return Error{EIO, std::string("damaged ") + what + " of inode " + std::to_string(ino)};
}

}  // namespace

Ino ino_of(std::string_view key) {
    std::uint64_t big_endian = 0;
    std::memcpy(&big_endian, key.data(), sizeof big_endian);
    return __builtin_bswap64(big_endian);
}

std::string_view name_of(std::string_view key) { return key.substr(sizeof(Ino)); }

std::array<char, 12> encode(const Dentry& dentry) {
    std::array<char, 12> value;
    std::memcpy(value.data(), &dentry.ino, sizeof dentry.ino);
    std::memcpy(value.data() + sizeof dentry.ino, &dentry.type, sizeof dentry.type);
    return value;
}

Result<Dentry> decode_dentry(std::string_view value) {
    Dentry dentry;
    if (value.size() != sizeof dentry.ino + sizeof dentry.type) return Error{EIO, "damaged dentry"};
    std::memcpy(&dentry.ino, value.data(), sizeof dentry.ino);
    std::memcpy(&dentry.type, value.data() + sizeof dentry.ino, sizeof dentry.type);
    return dentry;
}

std::string encode(const Inode& inode) {
    InodeRecord fixed{};
    const QuotaRecord quotas{inode.soft_quota, inode.hard_quota};
    const bool has_quotas = quotas.soft != 0 || quotas.hard != 0;
    fixed.version = has_quotas ? kInodeWithQuotasVersion : kInodeVersion;
    fixed.flags = static_cast<std::uint8_t>((inode.pinned ? kPinned : 0) |
                                            (inode.scratch ? kScratchInode : 0));
    fixed.priority = static_cast<std::int8_t>(inode.priority);
    fixed.ttl_s = inode.ttl_s;
    fixed.mode = inode.mode;
    fixed.uid = inode.uid;
    fixed.gid = inode.gid;
    fixed.nlink = inode.nlink;
    fixed.parent = inode.parent;
    fixed.volume = inode.volume;
    fixed.size = inode.size;
    fixed.atime_ns = inode.atime_ns;
    fixed.mtime_ns = inode.mtime_ns;
    fixed.ctime_ns = inode.ctime_ns;
    fixed.btime_ns = inode.btime_ns;
    fixed.hits = inode.hits;
    fixed.chain_parent = inode.chain_parent;
    std::string value;
    value.reserve(sizeof fixed + sizeof quotas + inode.name.size());
    value.append(reinterpret_cast<const char*>(&fixed), sizeof fixed);
    if (has_quotas) value.append(reinterpret_cast<const char*>(&quotas), sizeof quotas);
    value.append(inode.name);
    return value;
}

Result<Inode> decode_inode(Ino ino, std::string_view value) {
    InodeRecord fixed{};
    if (value.size() < sizeof fixed) return damaged("attributes", ino);
    std::memcpy(&fixed, value.data(), sizeof fixed);
    value.remove_prefix(sizeof fixed);
    QuotaRecord quotas{};
    if (fixed.version == kInodeWithQuotasVersion && value.size() >= sizeof quotas) {
        std::memcpy(&quotas, value.data(), sizeof quotas);
        value.remove_prefix(sizeof quotas);
    } else if (fixed.version != kInodeVersion) {
        return damaged("attributes", ino);
    }
    if (fixed.priority < -1 || fixed.priority > 1) return damaged("attributes", ino);
    Inode inode;
    inode.ino = ino;
    inode.parent = fixed.parent;
    inode.volume = fixed.volume;
    inode.priority = static_cast<Priority>(fixed.priority);
    inode.ttl_s = fixed.ttl_s;
    inode.mode = fixed.mode;
    inode.uid = fixed.uid;
    inode.gid = fixed.gid;
    inode.nlink = fixed.nlink;
    inode.size = fixed.size;
    inode.atime_ns = fixed.atime_ns;
    inode.mtime_ns = fixed.mtime_ns;
    inode.ctime_ns = fixed.ctime_ns;
    inode.btime_ns = fixed.btime_ns;
    inode.hits = fixed.hits;
    inode.chain_parent = fixed.chain_parent;
    inode.pinned = (fixed.flags & kPinned) != 0;
    inode.scratch = (fixed.flags & kScratchInode) != 0;
    inode.soft_quota = quotas.soft;
    inode.hard_quota = quotas.hard;
    inode.name = value;
    return inode;
}

std::string encode(const Placement& placement) {
    PlacementRecord fixed{};
    fixed.version = kPlacementVersion;
    fixed.flags = placement.scratch ? kScratch : 0;
    fixed.chunks = static_cast<std::uint32_t>(placement.chunk_crcs.size());
    fixed.store_uid = placement.store_uid;
    fixed.size = placement.size;
    fixed.held_bytes = placement.held_bytes;
    const std::size_t crc_bytes = placement.chunk_crcs.size() * sizeof(std::uint32_t);
    std::string value(sizeof fixed + crc_bytes, '\0');
    std::memcpy(value.data(), &fixed, sizeof fixed);
    if (crc_bytes != 0) {
        std::memcpy(value.data() + sizeof fixed, placement.chunk_crcs.data(), crc_bytes);
    }
    return value;
}

Result<Placement> decode_placement(Ino ino, std::string_view value) {
    PlacementRecord fixed{};
    if (value.size() < sizeof fixed) return damaged("placement", ino);
    std::memcpy(&fixed, value.data(), sizeof fixed);
    const std::size_t crc_bytes = fixed.chunks * sizeof(std::uint32_t);
    if (fixed.version != kPlacementVersion || value.size() != sizeof fixed + crc_bytes) {
        return damaged("placement", ino);
    }
    Placement placement;
    placement.scratch = (fixed.flags & kScratch) != 0;
    placement.store_uid = fixed.store_uid;
    placement.size = fixed.size;
    placement.held_bytes = fixed.held_bytes;
    placement.chunk_crcs.resize(fixed.chunks);
    if (crc_bytes != 0) {
        std::memcpy(placement.chunk_crcs.data(), value.data() + sizeof fixed, crc_bytes);
    }
    return placement;
}

std::array<char, 8> encode_number(std::uint64_t number) {
    std::array<char, 8> value;
    std::memcpy(value.data(), &number, sizeof number);
    return value;
}

Result<std::uint64_t> decode_number(std::string_view value) {
    std::uint64_t number = 0;
    if (value.size() != sizeof number) return Error{EIO, "damaged number"};
    std::memcpy(&number, value.data(), sizeof number);
    return number;
}

}  // namespace kvfs::record
