#pragma once
#include <linux/fuse.h>

#include <cstdint>

// FUSE over io_uring as the kernel defines it in include/uapi/linux/fuse.h since Linux 6.14: here,
// because Debian 12's copy of that header is older.

namespace kvfs::fuse {

/// Of the 64 flags of FUSE_INIT; the upper half is in flags2.
inline constexpr std::uint64_t kOverIoUring = std::uint64_t{1} << 41;

enum RingCommand : std::uint32_t {
    kRegister = 1,        ///< here is a buffer: put a request into it
    kCommitAndFetch = 2,  ///< the buffer has the answer: take it, and put the next request there
};

/// What a command carries in its SQE.
struct RingCommandArguments {
    std::uint64_t flags;
    std::uint64_t commit_id;  ///< of the request being answered
    std::uint16_t queue;      ///< the CPU
    std::uint8_t padding[6];
};
static_assert(sizeof(RingCommandArguments) == 24);

/// The half of a buffer that has the headers; the other has the payload: the bytes of a read or
/// write, names, and all else that follows the operation's own header.
struct RingHeaders {
    union {
        fuse_in_header in;
        fuse_out_header out;
        std::byte message[128];
    };
    std::byte operation[128];  ///< the operation's own header: fuse_read_in, ...
    std::uint64_t flags;
    std::uint64_t commit_id;
    std::uint32_t payload_bytes;
    std::uint32_t padding;
    std::uint64_t reserved;
};
static_assert(sizeof(RingHeaders) == 288);

/// The least a payload may have room for (FUSE_MIN_READ_BUFFER).
inline constexpr std::size_t kPayloadBytesMin = 8192;

}  // namespace kvfs::fuse
