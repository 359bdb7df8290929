#pragma once
#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "fs/base/fd.h"
#include "fs/base/result.h"

namespace kvfs::fuse {

/// FUSE over io_uring: carries requests between the kernel and libfuse where /dev/fuse would.
///
/// Every CPU has a few threads of its own, each with one buffer that the kernel puts a request
/// into and takes the answer from. A request of a program on CPU 3 is served by a thread of CPU 3:
/// no other CPU has to be woken, and the bytes are still in its cache when the program looks at
/// them. A thread that waits (for an SSD, say) leaves the CPU's others to go on.
///
/// libfuse has a transport like this, which is not used: there one thread serves all requests of a
/// CPU, so a read that waits for an SSD would hold up everything else on it, and answers given from
/// other threads can get lost in 3.18 (https://github.com/libfuse/libfuse/issues/1443). This one
/// sits behind fuse_session_custom_io(), which 3.17 has as well.
///
/// FUSE_INIT, FORGET, INTERRUPT and notifications still go by /dev/fuse.
class RingTransport {
  public:
    /// Bytes of one read or write. Each costs two copies, one of them out of the buffer: larger
    /// ones fall out of a CPU's second-level cache in between.
    static constexpr unsigned kRequestBytes = 256 << 10;

    /// Whether the kernel offers it to mounts made from now on: Linux 6.14 and newer, if the
    /// parameter enable_uring of its module fuse is Y.
    static bool is_offered();

    /// For the session whose user data is a Front that will hold the result. Before
    /// fuse_session_mount().
    explicit RingTransport(fuse_session* session);
    ~RingTransport();
    RingTransport(const RingTransport&) = delete;
    RingTransport& operator=(const RingTransport&) = delete;

    /// Puts itself between libfuse and /dev/fuse; after fuse_session_mount(). Errors: ENOTSUP -
    /// this libfuse was built without fuse_session_custom_io(), 3.18's default.
    Status attach();

    /// Ends every thread, after the request it serves. What the kernel asks from then on is not
    /// heard.
    void stop();

  private:
    class Lane;

    static ssize_t receive(int fd, void* buffer, std::size_t size, void* user_data);
    static ssize_t send(int fd, iovec* pieces, int count, void* user_data);

    void look_for_greeting(const std::byte* request, std::size_t size);
    ssize_t answer_greeting(int fd, std::span<const iovec> pieces);
    Status start(std::size_t payload_bytes);
    void begin(bool agreed);

    fuse_session* const session_;
    UniqueFd stop_;  ///< an eventfd
    /// FUSE_INIT comes first and alone, hence no lock. 0: not seen, or answered.
    std::uint64_t greeting_ = 0;
    bool offered_ = false;
    enum class Start { kWait, kGo, kGiveUp };
    std::atomic<Start> start_ = Start::kWait;
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::vector<std::thread> threads_;
};

}  // namespace kvfs::fuse
