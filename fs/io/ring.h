#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "fs/base/result.h"

namespace kvfs {

/// One io_uring and the thread that reaps it: asynchronous reads, writes and syncs of files.
///
/// Memory that was registered (register_region) is used as a fixed buffer whenever a transfer lies
/// inside it; callers need not know. The kernel gets transfers in pieces. Those beyond `depth`
/// wait in a queue inside the ring; who submits bounds how many. Nothing here retries, and
/// nothing is cancelled: the memory and the descriptor of a transfer must stay until its `Done` has
/// run.
///
/// Thread-safe. Destruction waits for every transfer under way, hence never destroy it in a `Done`.
class Ring {
  public:
    struct Options {
        unsigned depth = 64;  ///< pieces in the kernel at a time, 1..4096
        /// What the kernel gets at a time. Larger requests are fewer for the device to work on in
        /// parallel, smaller ones cost more processor time.
        std::size_t piece_bytes = 512 << 10;
    };

    /// Called once on the ring's own thread with the bytes transferred (fewer than asked only at
    /// the end of the file: short transfers in the middle are continued by the ring) or a negative
    /// errno. Must not block: it holds up all other completions.
    using Done = std::function<void(std::int64_t result)>;

    /// Errors: ENOSYS, EPERM, ENOMEM from io_uring_setup, with what to do about it in the sentence.
    static Result<std::unique_ptr<Ring>> create(Options options);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    /// Makes `region` (page-aligned) a fixed buffer; more than 1 GiB, the kernel's limit, becomes
    /// several, and transfers across their borders go the plain way. Replaces what was registered
    /// at these addresses: call again after the memory behind them was exchanged, while no transfer
    /// of it is under way. Errors: ENOMEM - RLIMIT_MEMLOCK; ENOSPC - more than 16,384 regions.
    /// Transfers work without.
    Status register_region(std::span<std::byte> region);

    /// Waits until no transfer is under way and what each `Done` held is gone. Not in a `Done`.
    void drain();

    void read(int fd, std::span<std::byte> into, std::uint64_t offset, Done done);
    void write(int fd, std::span<const std::byte> from, std::uint64_t offset, Done done);
    /// fsync: what was written to `fd` before survives a power loss. Result 0.
    void sync(int fd, Done done);

  private:
    class Impl;
    explicit Ring(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace kvfs
