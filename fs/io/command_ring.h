#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "fs/base/result.h"

namespace kvfs {

/// An io_uring for one thread's commands to a device driver (IORING_OP_URING_CMD), one at a time:
/// the thread gives a command and sleeps in the same system call until the driver completes it.
///
/// Not thread-safe: the thread that gives the first command must give all of them, since the driver
/// does its part of the work in that thread's name. When the thread ends or the ring is destroyed,
/// a command under way is cancelled.
class CommandRing {
  public:
    static constexpr std::size_t kCommandBytesMax = 80;  ///< what a 128-byte SQE has room for

    struct Command {
        std::uint32_t operation;               ///< the driver's number
        std::span<const std::byte> arguments;  ///< at most kCommandBytesMax, copied
        const void* memory = nullptr;          ///< what the driver wants in sqe->addr
        std::uint32_t length = 0;              ///< and in sqe->len
    };

    /// Commands are for the device open as `device`; exchange() ends early once `stop` (an eventfd)
    /// is readable. Both must stay open. Errors: those of Ring::create; EINVAL - Linux before 5.19.
    static Result<std::unique_ptr<CommandRing>> create(int device, int stop);
    ~CommandRing();
    CommandRing(const CommandRing&) = delete;
    CommandRing& operator=(const CommandRing&) = delete;

    /// Waits without a bound: the driver completes a command when it has something to say.
    /// Returns what the driver says, negative errno included; -ECANCELED - told to stop.
    int exchange(const Command& command);

  private:
    struct Impl;
    explicit CommandRing(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace kvfs
