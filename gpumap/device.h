#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "gpumap.h"

namespace kvfs::gpumap {

/// One copy between device memory and host memory.
struct Copy {
    gm_devptr device = 0;
    std::byte* host = nullptr;
    std::size_t bytes = 0;
    // The submitter's, not looked at by devices: what of the job it is part of.
    std::uint32_t file = 0;
    std::uint32_t piece = 0;
};

enum class Direction { in, out };  ///< to the device, from it

/// The number of a batch of copies that was submitted.
using Ticket = std::uint64_t;

/// Host memory is ready for a device's copies while this lives; it may outlive the device.
using Pin = std::shared_ptr<void>;

/// What the mapper asks of a device; one instance a context. Thread-safe.
class Device {
  public:
    /// Called once, on a thread of the device, when the device no longer touches any memory that
    /// the copies name, whether or not they went well. Must not block.
    using Done = std::function<void(gm_status)>;

    virtual ~Device() = default;

    virtual std::uint32_t backend() const = 0;  ///< GM_BACKEND_*
    virtual std::int32_t ordinal() const = 0;
    /// What it is and can do, in a few words.
    virtual std::string description() const = 0;
    /// What makes it slower than it could be: "" or a reason.
    virtual std::string shortcomings() const = 0;

    /// Makes host memory ready for the device's copies, which must be over before the pin or the
    /// memory goes. `shared`: the memory's descriptor, when other processes have it too; else -1.
    virtual Result<Pin> pin(std::span<std::byte> memory, bool writable, int shared) = 0;

    /// Queues copies, which run in any order among themselves and beside other batches. Never calls
    /// `done` before it returns. None of them is in two pinned memories at a time. `copies` stays
    /// until `done` is called.
    virtual Ticket submit(Direction direction, std::span<const Copy> copies, Done done) = 0;
    /// What is queued on the stream from now on waits until these batches have ended, well or not.
    /// Errors: EINVAL - no such stream.
    virtual Status wait_for(gm_stream stream, std::span<const Ticket> batches) = 0;
    /// Calls the `done` of what the device has ended, at once and on this thread. For who has seen
    /// a stream get beyond wait_for(), and would else have to wait for the device's own thread.
    virtual void look() = 0;

    virtual Result<gm_devptr> allocate(std::uint64_t bytes) = 0;
    /// Errors: EINVAL - not from allocate().
    virtual Status free(gm_devptr memory) = 0;

    // Streams. Errors, of all: EINVAL - no such stream.
    virtual Result<gm_stream> create_stream() = 0;
    virtual Status destroy_stream(gm_stream stream) = 0;
    virtual Status sync_stream(gm_stream stream) = 0;
    /// Queues a copy on the stream; null: does it now.
    virtual Status copy(Direction direction, const Copy& copy, gm_stream stream) = 0;
    /// Calls `reached` once, on any thread, when all that is queued on the stream now has run.
    virtual Status when_reached(gm_stream stream, std::function<void()> reached) = 0;
};

}  // namespace kvfs::gpumap
