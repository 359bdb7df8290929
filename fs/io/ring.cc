#include "fs/io/ring.h"

#include <liburing.h>
#include <pthread.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/mutex.h"
#include "fs/io/setup_error.h"

namespace kvfs {
namespace {

constexpr unsigned kDepthMax = 4096;
/// The kernel's IORING_MAX_REG_BUFFERS. A sparse table cannot grow, so it is made whole.
constexpr unsigned kRegionsMax = 16'384;
/// The kernel's limit for one fixed buffer; plain transfers are cut there as well (MAX_RW_COUNT).
constexpr std::size_t kRegionBytesMax = std::size_t{1} << 30;
constexpr int kNoRegion = -1;
enum class Kind { read, write, sync };

struct Transfer {
    Kind kind;
    int fd;
    std::byte* at;
    std::size_t length;
    std::uint64_t offset;
    Ring::Done done;
    std::size_t moved = 0;
};

/// A span of memory that the kernel knows as fixed buffer number `index`.
struct Region {
    std::byte* at;
    std::size_t length;
    int index;
};

bool starts_before(const Region& region, const std::byte* at) { return region.at < at; }

/// Whether a read that stopped at `end` stopped at the end of the file. Asking costs less than one
/// more read, and O_DIRECT would refuse a read from an unaligned end.
bool at_end_of_file(int fd, std::uint64_t end) {
    struct stat status {};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
           end >= static_cast<std::uint64_t>(status.st_size);
}

/// Takes in what the kernel says of a transfer's current piece. Gives the transfer's result when it
/// is over, nothing when it is to be submitted (again) for the rest.
std::optional<std::int64_t> advance(Transfer& transfer, int result) {
    // When a thread ends, the kernel cancels what that thread submitted and a worker had not
    // finished. That says nothing about the file; submitted by the reaper, it will not happen
    // again.
    if (result == -ECANCELED || result == -EINTR) return std::nullopt;
    if (result < 0) return result;
    transfer.moved += static_cast<std::size_t>(result);
    const bool is_whole = transfer.moved == transfer.length,
               is_write = transfer.kind == Kind::write;
    if (!is_whole && is_write && result == 0) return -EIO;
    if (!is_whole && result > 0 &&
        (is_write || !at_end_of_file(transfer.fd, transfer.offset + transfer.moved)))
        return std::nullopt;
    return static_cast<std::int64_t>(transfer.moved);
}

}  // namespace

// A transfer is either in `waiting_` or counted in `in_kernel_`; `unfinished_` counts it until its
// Done has returned. The reaper frees it. Submission is on the caller's thread: the device is busy
// before the call returns, at the price of the mutex around the submission queue.
class Ring::Impl {
  public:
    Impl() = default;
    ~Impl();
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    Status start(const Options& options);
    void start_pieces(Transfer whole) EXCLUDES(mutex_);
    Status register_region(std::span<std::byte> region) EXCLUDES(registration_, mutex_);
    void drain() EXCLUDES(mutex_);

  private:
    using Finished = std::vector<std::pair<std::unique_ptr<Transfer>, std::int64_t>>;

    void start_transfer(std::unique_ptr<Transfer> transfer) EXCLUDES(mutex_);
    void reap();
    bool reap_batch(Finished& finished) EXCLUDES(mutex_);
    void prepare(std::unique_ptr<Transfer> transfer) REQUIRES(mutex_);
    void submit_waiting() REQUIRES(mutex_);
    void submit() REQUIRES(mutex_);
    int region_index(const std::byte* at, std::size_t length) const REQUIRES(mutex_);
    std::vector<int> forget_overlapping(std::span<std::byte> memory) EXCLUDES(mutex_);
    Status register_piece(std::span<std::byte> piece) REQUIRES(registration_);
    int set_slot(int index, std::span<std::byte> memory) REQUIRES(registration_);

    // The completion side of ring_ is the reaper's alone; the submission side is under mutex_.
    io_uring ring_{};
    bool is_set_up_ = false;
    unsigned depth_ = 0;
    std::size_t piece_bytes_ = 0;
    std::thread reaper_;

    /// One registration at a time: pinning takes milliseconds, which must not stop submission.
    /// Must be acquired before mutex_.
    Mutex registration_;
    bool has_table_ GUARDED_BY(registration_) = false;
    int next_index_ GUARDED_BY(registration_) = 0;
    std::vector<int> free_indexes_ GUARDED_BY(registration_);

    mutable Mutex mutex_;
    unsigned in_kernel_ GUARDED_BY(mutex_) = 0;
    std::size_t unfinished_ GUARDED_BY(mutex_) = 0;
    CondVar idle_;
    bool stopping_ GUARDED_BY(mutex_) = false;
    std::deque<std::unique_ptr<Transfer>> waiting_ GUARDED_BY(mutex_);
    std::vector<Region> regions_ GUARDED_BY(mutex_);  ///< by address
};

Status Ring::Impl::start(const Options& options) {
    depth_ = std::clamp(options.depth, 1U, kDepthMax);
    piece_bytes_ = options.piece_bytes;
    // One entry more for the NOP that ends the reaper. COOP_TASKRUN would save interrupts, but lets
    // completions wait for a submitter that computes.
    const int code = ::io_uring_queue_init(depth_ + 1, &ring_, IORING_SETUP_CLAMP);
    if (code < 0) return setup_error(-code);
    is_set_up_ = true;
    ::io_uring_ring_dontfork(&ring_);
    reaper_ = std::thread([this] { reap(); });
    ::pthread_setname_np(reaper_.native_handle(), "kvfs-ring");
    return {};
}

Ring::Impl::~Impl() {
    if (!is_set_up_) return;
    {
        MutexLock lock(mutex_);
        stopping_ = true;
        io_uring_sqe* wake = ::io_uring_get_sqe(&ring_);
        assert(wake != nullptr);
        ::io_uring_prep_nop(wake);
        ::io_uring_sqe_set_data(wake, nullptr);
        submit();
    }
    reaper_.join();
    ::io_uring_queue_exit(&ring_);
}

void Ring::Impl::start_pieces(Transfer whole) {
    if (whole.length <= piece_bytes_) {
        start_transfer(std::make_unique<Transfer>(std::move(whole)));
        return;
    }
    struct Pieces {
        Done done;
        std::size_t left;  // the rest is the reaper's alone
        std::int64_t moved = 0;
        std::int64_t error = 0;
    };
    const auto pieces = std::make_shared<Pieces>();
    pieces->done = std::move(whole.done);
    pieces->left = (whole.length + piece_bytes_ - 1) / piece_bytes_;
    for (std::size_t from = 0; from < whole.length; from += piece_bytes_) {
        const std::size_t length = std::min(piece_bytes_, whole.length - from);
        start_transfer(std::make_unique<Transfer>(
            Transfer{whole.kind, whole.fd, whole.at + from, length, whole.offset + from,
                     [pieces](std::int64_t result) {
                         // Short only at the end of the file, so the sum is what lies before it.
                         if (result < 0) pieces->error = result;
                         if (result > 0) pieces->moved += result;
                         if (--pieces->left > 0) return;
                         pieces->done(pieces->error < 0 ? pieces->error : pieces->moved);
                     }}));
    }
}

void Ring::Impl::start_transfer(std::unique_ptr<Transfer> transfer) {
    MutexLock lock(mutex_);
    ++unfinished_;
    if (in_kernel_ == depth_) {
        waiting_.push_back(std::move(transfer));
        return;
    }
    prepare(std::move(transfer));
    submit();
}

/// Writes what is left of the transfer into a submission entry; the kernel owns it from here.
void Ring::Impl::prepare(std::unique_ptr<Transfer> transfer) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    assert(sqe != nullptr);  // every entry is submitted before the mutex is released
    std::byte* at = transfer->at + transfer->moved;
    const std::size_t length = std::min(transfer->length - transfer->moved, kRegionBytesMax);
    const auto bytes = static_cast<unsigned>(length);
    const std::uint64_t offset = transfer->offset + transfer->moved;
    const int index = region_index(at, length);
    const bool is_write = transfer->kind == Kind::write;
    if (transfer->kind == Kind::sync)
        ::io_uring_prep_fsync(sqe, transfer->fd, 0);
    else if (index != kNoRegion && is_write)
        ::io_uring_prep_write_fixed(sqe, transfer->fd, at, bytes, offset, index);
    else if (index != kNoRegion)
        ::io_uring_prep_read_fixed(sqe, transfer->fd, at, bytes, offset, index);
    else if (is_write)
        ::io_uring_prep_write(sqe, transfer->fd, at, bytes, offset);
    else
        ::io_uring_prep_read(sqe, transfer->fd, at, bytes, offset);
    ::io_uring_sqe_set_data(sqe, transfer.release());
    ++in_kernel_;
}

/// One by one: of neighbours that it gets together, the kernel makes one large request, and the
/// device has fewer to work on at a time (here a quarter of its throughput).
void Ring::Impl::submit_waiting() {
    while (in_kernel_ < depth_ && !waiting_.empty()) {
        prepare(std::move(waiting_.front()));
        waiting_.pop_front();
        submit();
    }
}

void Ring::Impl::submit() {
    while (::io_uring_sq_ready(&ring_) > 0) {
        const int code = ::io_uring_submit(&ring_);
        // EAGAIN and ENOMEM: the kernel found no memory for a request, for a moment.
        assert(code >= 0 || code == -EINTR || code == -EAGAIN || code == -EBUSY || code == -ENOMEM);
        if (code < 0 && code != -EINTR) std::this_thread::yield();
    }
}

void Ring::Impl::reap() {
    Finished finished;
    for (bool more = true; more;) {
        more = reap_batch(finished);
        for (auto& [transfer, result] : finished) {
            transfer->done(result);
            transfer.reset();  // what Done holds goes before anybody is told that all is finished
            MutexLock lock(mutex_);
            if (--unfinished_ == 0) idle_.notify_all();
            more = !(stopping_ && unfinished_ == 0);
        }
        finished.clear();
    }
}

/// Waits for completions, keeps the kernel's queue full, and gives the transfers that are over.
/// False: the ring is to end and nothing is under way.
bool Ring::Impl::reap_batch(Finished& finished) {
    io_uring_cqe* first = nullptr;
    while (::io_uring_wait_cqe(&ring_, &first) < 0) {  // a signal
    }
    std::array<io_uring_cqe*, 64> cqes{};
    const unsigned count = ::io_uring_peek_batch_cqe(&ring_, cqes.data(), cqes.size());
    MutexLock lock(mutex_);
    for (const io_uring_cqe* cqe : std::span(cqes).first(count)) {
        std::unique_ptr<Transfer> transfer(static_cast<Transfer*>(::io_uring_cqe_get_data(cqe)));
        if (transfer == nullptr) continue;  // the NOP
        --in_kernel_;
        if (const auto result = advance(*transfer, cqe->res))
            finished.emplace_back(std::move(transfer), *result);
        else
            waiting_.push_front(std::move(transfer));  // begun: before all others
    }
    ::io_uring_cq_advance(&ring_, count);
    submit_waiting();
    return !(stopping_ && unfinished_ == 0);
}

int Ring::Impl::region_index(const std::byte* at, std::size_t length) const {
    auto next = std::lower_bound(regions_.begin(), regions_.end(), at + 1, starts_before);
    if (next == regions_.begin()) return kNoRegion;
    const Region& region = *std::prev(next);
    return at + length <= region.at + region.length ? region.index : kNoRegion;
}

Status Ring::Impl::register_region(std::span<std::byte> region) {
    MutexLock lock(registration_);
    if (!has_table_) {
        const int code = ::io_uring_register_buffers_sparse(&ring_, kRegionsMax);
        if (code < 0) return Error{-code, "io_uring has no table of fixed buffers"};
        has_table_ = true;
    }
    while (!region.empty()) {
        const std::span<std::byte> piece = region.first(std::min(region.size(), kRegionBytesMax));
        if (Status status = register_piece(piece); !status) return status;
        region = region.subspan(piece.size());
    }
    return {};
}

Status Ring::Impl::register_piece(std::span<std::byte> piece) {
    // From here to the end transfers of this memory go the plain way. What was registered at these
    // addresses before is other memory now, or soon: a slot must not outlive it.
    for (const int index : forget_overlapping(piece)) {
        set_slot(index, {});
        free_indexes_.push_back(index);
    }
    if (free_indexes_.empty()) {
        if (next_index_ == static_cast<int>(kRegionsMax))
            return Error{ENOSPC, "more than 16384 regions for fixed buffers"};
        free_indexes_.push_back(next_index_++);
    }
    const int index = free_indexes_.back();
    if (const int code = set_slot(index, piece); code < 0)
        return Error{-code, code == -ENOMEM
                                ? "no more memory may be locked for fixed buffers: raise "
                                  "ulimit -l (RLIMIT_MEMLOCK)"
                                : "io_uring refuses a fixed buffer"};
    free_indexes_.pop_back();
    MutexLock lock(mutex_);
    const auto place =
        std::lower_bound(regions_.begin(), regions_.end(), piece.data(), starts_before);
    regions_.insert(place, Region{piece.data(), piece.size(), index});
    return {};
}

/// Empty memory clears the slot. 0 or more, or a negative errno.
int Ring::Impl::set_slot(int index, std::span<std::byte> memory) {
    const iovec vector{memory.data(), memory.size()};
    const __u64 tag = 0;
    return ::io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(index), &vector,
                                                  &tag, 1);
}

/// Takes the regions that share bytes with `memory` out of the table; gives their indexes.
std::vector<int> Ring::Impl::forget_overlapping(std::span<std::byte> memory) {
    std::vector<int> indexes;
    MutexLock lock(mutex_);
    std::erase_if(regions_, [&](const Region& region) {
        const bool overlaps =
            region.at < memory.data() + memory.size() && memory.data() < region.at + region.length;
        if (overlaps) indexes.push_back(region.index);
        return overlaps;
    });
    return indexes;
}

void Ring::Impl::drain() {
    MutexLock lock(mutex_);
    while (unfinished_ > 0) idle_.wait(lock);
}

Ring::Ring(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ring::~Ring() = default;

Result<std::unique_ptr<Ring>> Ring::create(Options options) {
    auto impl = std::make_unique<Impl>();
    if (Status status = impl->start(options); !status) return status.error();
    return std::unique_ptr<Ring>(new Ring(std::move(impl)));
}

Status Ring::register_region(std::span<std::byte> region) { return impl_->register_region(region); }

void Ring::drain() { impl_->drain(); }

void Ring::read(int fd, std::span<std::byte> into, std::uint64_t offset, Done done) {
    impl_->start_pieces({Kind::read, fd, into.data(), into.size(), offset, std::move(done)});
}

void Ring::write(int fd, std::span<const std::byte> from, std::uint64_t offset, Done done) {
    auto* at = const_cast<std::byte*>(from.data());  // io_uring has one buffer type for both ways
    impl_->start_pieces({Kind::write, fd, at, from.size(), offset, std::move(done)});
}

void Ring::sync(int fd, Done done) {
    impl_->start_pieces({Kind::sync, fd, nullptr, 0, 0, std::move(done)});
}

}  // namespace kvfs
