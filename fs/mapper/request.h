#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "kvfs/protocol.h"

namespace kvfs::mapper {

/// A client's packet, taken apart. Which members are filled in depends on header.op; `paths` point
/// into the packet.
struct Request {
    protocol::Header header;
    protocol::Hello hello{};
    protocol::DraftRequest draft{};
    protocol::Await await{};
    std::vector<std::string_view> paths;  ///< lookup; draft: and parent; set: and key, value
    std::vector<std::uint64_t> numbers;   ///< lease: inodes; publish, discard: leases
    std::vector<protocol::Release> releases;
};

/// Takes one packet apart. Nothing in it is trusted: what is returned has been checked for lengths,
/// counts, flags and operation; not for what paths and numbers mean.
/// Errors: EPROTONOSUPPORT - another version, and header.op was hello; EBADMSG - no message of this
/// protocol, with a sentence that says why.
Result<Request> parse_request(std::span<const std::byte> packet);

}  // namespace kvfs::mapper
