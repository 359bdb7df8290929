#include "fs/fuse/ring_transport.h"

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>
#include <string>

#include "fs/base/copy.h"
#include "fs/base/log.h"
#include "fs/base/mapping.h"
#include "fs/fuse/front.h"
#include "fs/fuse/ring_protocol.h"
#include "fs/io/command_ring.h"

namespace kvfs::fuse {
namespace {

// As many requests of one CPU can wait for something at a time before a further one waits for them.
// Large machines get fewer for each CPU: a thread costs some 30 KiB while idle.
constexpr unsigned kLanesMax = 2048;
constexpr unsigned kLanesPerCpuMin = 4;
constexpr unsigned kLanesPerCpuMax = 16;

/// CPUs that the machine may ever have: the kernel wants a buffer for each.
unsigned possible_cpus() {
    // "0-207", or "0-3,8-11".
    std::ifstream file("/sys/devices/system/cpu/possible");
    std::string list;
    std::getline(file, list);
    const std::size_t last = list.find_last_of("-,");
    try {
        return static_cast<unsigned>(
                   std::stoul(last == std::string::npos ? list : list.substr(last + 1))) +
               1;
    } catch (const std::exception&) {
        return std::max(1U, std::thread::hardware_concurrency());
    }
}

/// Where a CPU does not take the thread (it is offline, or not of our cgroup), any may run it.
void stay_on(unsigned cpu) {
    if (cpu >= CPU_SETSIZE) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
}

}  // namespace

/// One thread's part: a buffer that the kernel knows, and the request that is in it.
class RingTransport::Lane {
  public:
    static Result<std::unique_ptr<Lane>> create(RingTransport& transport, unsigned cpu,
                                                std::size_t payload_bytes) {
        auto memory = Mapping::anonymous(prefix_bytes() + payload_bytes);
        if (!memory.ok()) return memory.error();
        auto ring = CommandRing::create(fuse_session_fd(transport.session_), transport.stop_.get());
        if (!ring.ok()) return ring.error();
        return std::unique_ptr<Lane>(
            new Lane(transport, cpu, std::move(*memory), std::move(*ring)));
    }

    /// The thread's whole life.
    void run();

    /// The lane whose request this thread serves, if it is request `unique`.
    static Lane* serving(std::uint64_t unique) {
        return serving_ != nullptr && serving_->unique_ == unique ? serving_ : nullptr;
    }
    /// Takes libfuse's answer: its header, then its bytes.
    void answer(std::span<const iovec> pieces);

  private:
    // Before the payload there is a page for the headers; at its end a request is put together as
    // libfuse wants it: both headers and the payload in one piece.
    static std::size_t prefix_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

    Lane(RingTransport& transport, unsigned cpu, Mapping memory, std::unique_ptr<CommandRing> ring)
        : transport_(transport), cpu_(cpu), memory_(std::move(memory)), ring_(std::move(ring)) {}

    RingHeaders& headers() { return *reinterpret_cast<RingHeaders*>(memory_.data()); }
    std::span<std::byte> payload() { return memory_.bytes().subspan(prefix_bytes()); }
    int enlist();
    int commit_and_fetch();
    void serve();
    void refuse(int code);

    RingTransport& transport_;
    const unsigned cpu_;
    const Mapping memory_;
    const std::unique_ptr<CommandRing> ring_;
    std::uint64_t unique_ = 0;
    bool answered_ = false;
    static thread_local Lane* serving_;
};

thread_local RingTransport::Lane* RingTransport::Lane::serving_ = nullptr;

int RingTransport::Lane::enlist() {
    const std::array<iovec, 2> buffer = {iovec{&headers(), sizeof(RingHeaders)},
                                         iovec{payload().data(), payload().size()}};
    RingCommandArguments arguments{};
    arguments.queue = static_cast<std::uint16_t>(cpu_);
    return ring_->exchange({.operation = kRegister,
                            .arguments = std::as_bytes(std::span(&arguments, 1)),
                            .memory = buffer.data(),
                            .length = buffer.size()});
}

int RingTransport::Lane::commit_and_fetch() {
    RingCommandArguments arguments{};
    arguments.commit_id = headers().commit_id;
    arguments.queue = static_cast<std::uint16_t>(cpu_);
    return ring_->exchange(
        {.operation = kCommitAndFetch, .arguments = std::as_bytes(std::span(&arguments, 1))});
}

void RingTransport::Lane::run() {
    ::pthread_setname_np(::pthread_self(), ("fuse-cpu-" + std::to_string(cpu_)).c_str());
    stay_on(cpu_);
    transport_.start_.wait(Start::kWait);
    if (transport_.start_ == Start::kGiveUp) return;
    int result = enlist();
    while (result == 0) {
        serve();
        result = commit_and_fetch();
    }
    // Unmounted (ENOTCONN), aborted (ECONNABORTED) or told to stop (ECANCELED).
    if (result != -ENOTCONN && result != -ECONNABORTED && result != -ECANCELED) {
        spdlog::error("fuse: io_uring of CPU {}: {}; one thread fewer serves it", cpu_,
                      Error{-result}.message());
    }
}

void RingTransport::Lane::serve() {
    const fuse_in_header in = headers().in;
    unique_ = in.unique;
    answered_ = false;
    const std::size_t payload_bytes = headers().payload_bytes;
    const std::size_t fixed_bytes = in.len - payload_bytes;
    if (in.len < sizeof in + payload_bytes || payload_bytes > payload().size() ||
        fixed_bytes > sizeof in + sizeof headers().operation) {
        return refuse(EIO);
    }
    std::byte* const whole = payload().data() - fixed_bytes;
    std::memcpy(whole, &in, sizeof in);
    std::memcpy(whole + sizeof in, headers().operation, fixed_bytes - sizeof in);
    fuse_buf buffer{};
    buffer.mem = whole;
    buffer.size = in.len;
    serving_ = this;
    fuse_session_process_buf(transport_.session_, &buffer);
    serving_ = nullptr;
    if (!answered_) {
        spdlog::error("fuse: operation {} was left without an answer", in.opcode);
        refuse(EIO);
    }
}

void RingTransport::Lane::answer(std::span<const iovec> pieces) {
    assert(!answered_);
    std::size_t used = 0;
    for (const iovec& piece : pieces.subspan(1)) {
        if (piece.iov_len > payload().size() - used) return refuse(EIO);
        copy_from_memory(payload().data() + used, static_cast<const std::byte*>(piece.iov_base),
                         piece.iov_len);
        used += piece.iov_len;
    }
    std::memcpy(&headers().out, pieces[0].iov_base, sizeof headers().out);
    headers().payload_bytes = static_cast<std::uint32_t>(used);
    answered_ = true;
}

void RingTransport::Lane::refuse(int code) {
    headers().out = {.len = sizeof(fuse_out_header), .error = -code, .unique = unique_};
    headers().payload_bytes = 0;
    answered_ = true;
}

bool RingTransport::is_offered() {
    std::ifstream file("/sys/module/fuse/parameters/enable_uring");
    char letter = 'N';
    return file >> letter && letter == 'Y';
}

RingTransport::RingTransport(fuse_session* session)
    : session_(session), stop_(::eventfd(0, EFD_CLOEXEC)) {}

RingTransport::~RingTransport() { stop(); }

Status RingTransport::attach() {
    fuse_custom_io io{};
    io.read = receive;
    io.writev = send;
    const int code = fuse_session_custom_io(session_, &io, sizeof io, fuse_session_fd(session_));
    if (code == 0) return {};
    return Error{code < 0 ? -code : EINVAL,
                 "fuse: no FUSE over io_uring, which is faster: build libfuse with "
                 "-Denable-custom-io=true"};
}

void RingTransport::stop() {
    begin(false);
    ::eventfd_write(stop_.get(), 1);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    lanes_.clear();
}

ssize_t RingTransport::receive(int fd, void* buffer, std::size_t size, void* user_data) {
    const ssize_t got = ::read(fd, buffer, size);
    if (got > 0) {
        static_cast<Front*>(user_data)->rings->look_for_greeting(
            static_cast<const std::byte*>(buffer), static_cast<std::size_t>(got));
    }
    return got;
}

ssize_t RingTransport::send(int fd, iovec* pieces, int count, void* user_data) {
    const std::span<const iovec> answer(pieces, static_cast<std::size_t>(count));
    const auto unique = static_cast<const fuse_out_header*>(pieces[0].iov_base)->unique;
    if (Lane* lane = Lane::serving(unique)) {
        lane->answer(answer);
        return static_cast<const fuse_out_header*>(pieces[0].iov_base)->len;
    }
    RingTransport& transport = *static_cast<Front*>(user_data)->rings;
    if (unique != 0 && unique == transport.greeting_) return transport.answer_greeting(fd, answer);
    return ::writev(fd, pieces, count);
}

void RingTransport::look_for_greeting(const std::byte* request, std::size_t size) {
    fuse_in_header in{};
    fuse_init_in init{};
    if (size < sizeof in) return;
    std::memcpy(&in, request, sizeof in);
    if (in.opcode != FUSE_INIT) return;
    std::memcpy(&init, request + sizeof in, std::min(size - sizeof in, sizeof init));
    greeting_ = in.unique;
    offered_ =
        (init.flags & FUSE_INIT_EXT) != 0 && (std::uint64_t{init.flags2} << 32 & kOverIoUring) != 0;
}

/// Adds to libfuse's answer that we want io_uring, if everything for it is ready.
ssize_t RingTransport::answer_greeting(int fd, std::span<const iovec> pieces) {
    greeting_ = 0;
    std::vector<iovec> answer(pieces.begin(), pieces.end());
    fuse_init_out init{};
    const bool usable = offered_ && answer.size() == 2 && answer[1].iov_len == sizeof init;
    bool agreed = false;
    if (usable) {
        std::memcpy(&init, answer[1].iov_base, sizeof init);
        const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const Status started = start(std::max(
            {kPayloadBytesMin, std::size_t{init.max_write}, std::size_t{init.max_pages} * page}));
        agreed = started.ok();
        if (agreed) {
            init.flags |= FUSE_INIT_EXT;
            init.flags2 |= static_cast<std::uint32_t>(kOverIoUring >> 32);
            answer[1].iov_base = &init;
        } else {
            spdlog::warn("fuse: goes without io_uring: {}", started.error().message());
        }
    }
    const ssize_t sent = ::writev(fd, answer.data(), static_cast<int>(answer.size()));
    agreed = agreed && sent >= 0;
    begin(agreed);
    if (agreed) spdlog::info("fuse: over io_uring, {} threads", threads_.size());
    return sent;
}

Status RingTransport::start(std::size_t payload_bytes) {
    const unsigned cpus = possible_cpus();
    const unsigned per_cpu = std::clamp(kLanesMax / cpus, kLanesPerCpuMin, kLanesPerCpuMax);
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
        for (unsigned i = 0; i < per_cpu; ++i) {
            auto lane = Lane::create(*this, cpu, payload_bytes);
            if (!lane.ok()) return lane.error();
            lanes_.push_back(std::move(*lane));
        }
    }
    for (auto& lane : lanes_) threads_.emplace_back([&lane = *lane] { lane.run(); });
    return {};
}

/// The kernel refuses buffers before it has read our answer to FUSE_INIT.
void RingTransport::begin(bool agreed) {
    Start waiting = Start::kWait;
    start_.compare_exchange_strong(waiting, agreed ? Start::kGo : Start::kGiveUp);
    start_.notify_all();
}

}  // namespace kvfs::fuse
