#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/result.h"
#include "kvfs/protocol.h"

namespace kvfs::mapper {

/// Writes the reply to one request, packet by packet as they fill: no reply is held in memory
/// whole. Not thread-safe. Descriptors that were lent (attach) must stay open until finish().
class Reply {
  public:
    /// `request` is what is answered.
    Reply(int socket, const protocol::Header& request);

    void append(std::span<const std::byte> bytes);
    template <protocol::Wire T>
    void append(const T& value) {
        append(std::as_bytes(std::span(&value, 1)));
    }
    void attach(int fd);       ///< lent
    void attach(UniqueFd fd);  ///< closed once it is sent

    /// Sends what is left. With `status` (errno) not 0: that instead of a payload; nothing must
    /// have been appended. Errors: the first of all sends - EPIPE, ECONNRESET: the client is gone;
    /// EAGAIN: it has not read for as long as the socket's send timeout.
    Status finish(int status = 0);

  private:
    void send(std::uint32_t flags);

    int socket_;
    protocol::Header header_;
    std::vector<std::byte> packet_;
    std::vector<int> fds_;
    std::vector<UniqueFd> owned_;
    Status status_;
};

}  // namespace kvfs::mapper
