#include "fs/io/command_ring.h"

#include <liburing.h>
#include <poll.h>

#include <cassert>
#include <cerrno>
#include <cstring>

#include "fs/io/setup_error.h"

namespace kvfs {
namespace {

// The command and the watch on `stop`.
constexpr unsigned kEntries = 2;
enum Completion : std::uint64_t { kCommand = 1, kStop = 2 };

}  // namespace

struct CommandRing::Impl {
    Impl(int device_fd, int stop_fd) : device(device_fd), stop(stop_fd) {}
    ~Impl() {
        if (made) ::io_uring_queue_exit(&ring);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    void submit(const Command& command);
    io_uring_cqe wait();

    const int device;
    const int stop;
    io_uring ring{};
    bool made = false;
};

void CommandRing::Impl::submit(const Command& command) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
    assert(sqe != nullptr);
    ::io_uring_prep_rw(IORING_OP_URING_CMD, sqe, device, command.memory, command.length, 0);
    sqe->cmd_op = command.operation;
    ::io_uring_sqe_set_data64(sqe, kCommand);
    std::memcpy(sqe->cmd, command.arguments.data(), command.arguments.size());
}

/// One system call, unless a signal comes in between. Submits even if something has completed
/// already: told to stop, a thread must have given its last answer.
io_uring_cqe CommandRing::Impl::wait() {
    io_uring_cqe* completed = nullptr;
    do {
        const int result = ::io_uring_submit_and_wait(&ring, 1);
        if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
            io_uring_cqe failed{};
            failed.user_data = kCommand;
            failed.res = result;
            return failed;
        }
    } while (::io_uring_peek_cqe(&ring, &completed) != 0);
    const io_uring_cqe copy = *completed;
    ::io_uring_cqe_seen(&ring, completed);
    return copy;
}

CommandRing::CommandRing(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CommandRing::~CommandRing() = default;

Result<std::unique_ptr<CommandRing>> CommandRing::create(int device, int stop) {
    auto impl = std::make_unique<Impl>(device, stop);
    const int made = ::io_uring_queue_init(kEntries, &impl->ring, IORING_SETUP_SQE128);
    if (made < 0) return setup_error(-made);
    impl->made = true;
    io_uring_sqe* sqe = ::io_uring_get_sqe(&impl->ring);
    ::io_uring_prep_poll_add(sqe, stop, POLLIN);
    ::io_uring_sqe_set_data64(sqe, kStop);
    return std::unique_ptr<CommandRing>(new CommandRing(std::move(impl)));
}

int CommandRing::exchange(const Command& command) {
    assert(command.arguments.size() <= kCommandBytesMax);
    impl_->submit(command);
    while (true) {
        const io_uring_cqe completed = impl_->wait();
        if (completed.user_data == kStop) return -ECANCELED;
        if (completed.res != -EINTR && completed.res != -EAGAIN) return completed.res;
        impl_->submit(command);  // it did not reach the driver
    }
}

}  // namespace kvfs
