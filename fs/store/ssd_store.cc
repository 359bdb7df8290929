#include "fs/store/ssd_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <utility>

#include "fs/base/mutex.h"
#include "fs/store/object_files.h"
#include "fs/store/ssd_directory.h"
#include "fs/store/ssd_file.h"
#include "fs/store/worker.h"

namespace kvfs {
namespace {

constexpr std::size_t kBlockBytes = 4096;
/// Together they keep a device busy; more would only stand before the reads of others.
constexpr std::size_t kWriteBytes = 1 << 20;
constexpr unsigned kWritesInFlight = 8;
/// Removed files whose blocks are still to be freed; beyond, who removes waits for his own.
constexpr unsigned kRemovalsMax = 256;

std::size_t whole_blocks(std::size_t bytes) {
    return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

}  // namespace

// An object is made on two threads: the worker opens the temporary file (begin) and, when the last
// write is over, cuts, labels and renames it (finish); the ring's thread only sends the next write.
class SsdStore::Impl {
  public:
    Impl(SsdDirectory directory, std::unique_ptr<Ring> ring, std::uint64_t window)
        : window_bytes(window),
          directory_(std::move(directory)),
          files_(directory_.path),
          ring_(std::move(ring)) {}

    const std::uint64_t window_bytes;

    void put(ObjectId id, const ObjectLabel& label, std::vector<std::span<const std::byte>> pieces,
             std::function<void(Status)> done) EXCLUDES(mutex_);
    void wait_for_puts() EXCLUDES(mutex_);
    void sync_all(std::function<void(std::int64_t)> done);
    /// Freeing a file's blocks takes milliseconds where the file system discards them.
    void unlink_later(std::string path);

    const SsdDirectory& directory() const { return directory_; }
    ObjectFiles& files() { return files_; }
    Ring& ring() { return *ring_; }

  private:
    struct Put;

    void begin(const std::shared_ptr<Put>& put);
    void send_writes(const std::shared_ptr<Put>& put);
    void written(const std::shared_ptr<Put>& put, std::size_t asked, std::int64_t result);
    void finish(Put& put) EXCLUDES(mutex_);
    Status open_temporary(Put& put);
    Status publish(Put& put);

    const SsdDirectory directory_;
    ObjectFiles files_;
    const std::unique_ptr<Ring> ring_;
    Mutex mutex_;
    CondVar put_over_;
    unsigned puts_ GUARDED_BY(mutex_) = 0;
    std::atomic<unsigned> removals_ = 0;
    // Last: their threads use the members above.
    Worker worker_{"kvfs-ssd"};
    Worker remover_{"kvfs-ssd-rm"};
};

struct SsdStore::Impl::Put {
    Put(ObjectId put_id, const ObjectLabel& put_label,
        std::vector<std::span<const std::byte>> put_pieces, std::function<void(Status)> put_done)
        : id(put_id), label(put_label), pieces(std::move(put_pieces)), done(std::move(put_done)) {}

    ObjectId id;
    ObjectLabel label;
    std::vector<std::span<const std::byte>> pieces;
    std::function<void(Status)> done;
    std::string path;
    UniqueFd fd;

    Mutex mutex;
    std::size_t piece GUARDED_BY(mutex) = 0;  ///< the next write is from here,
    std::size_t piece_offset GUARDED_BY(mutex) = 0;
    std::uint64_t offset GUARDED_BY(mutex) = 0;  ///< to here
    unsigned in_flight GUARDED_BY(mutex) = 0;
    int error GUARDED_BY(mutex) = 0;

    /// The next write; empty when there is none.
    std::span<const std::byte> next() REQUIRES(mutex) {
        while (piece < pieces.size() && piece_offset >= pieces[piece].size()) {
            ++piece;
            piece_offset = 0;
        }
        if (piece == pieces.size()) return {};
        const std::size_t left = pieces[piece].size() - piece_offset;
        const std::byte* at = pieces[piece].data() + piece_offset;
        piece_offset += std::min(left, kWriteBytes);
        return {at, whole_blocks(std::min(left, kWriteBytes))};
    }
};

void SsdStore::Impl::put(ObjectId id, const ObjectLabel& label,
                         std::vector<std::span<const std::byte>> pieces,
                         std::function<void(Status)> done) {
    {
        MutexLock lock(mutex_);
        ++puts_;
    }
    auto put = std::make_shared<Put>(id, label, std::move(pieces), std::move(done));
    worker_.post([this, put = std::move(put)] { begin(put); });
}

void SsdStore::Impl::wait_for_puts() {
    MutexLock lock(mutex_);
    while (puts_ > 0) put_over_.wait(lock);
}

void SsdStore::Impl::sync_all(std::function<void(std::int64_t)> done) {
    worker_.post([this, done = std::move(done)] {
        const UniqueFd fd(::open(directory_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        done(fd && ::syncfs(fd.get()) == 0 ? 0 : -errno);
    });
}

void SsdStore::Impl::unlink_later(std::string path) {
    // What cannot be unlinked is unlinked at the next start, with the rest of tmp/.
    if (removals_.fetch_add(1) >= kRemovalsMax) {
        ::unlink(path.c_str());
        --removals_;
        return;
    }
    remover_.post([this, path = std::move(path)] {
        ::unlink(path.c_str());
        --removals_;
    });
}

void SsdStore::Impl::begin(const std::shared_ptr<Put>& put) {
    if (const Status opened = open_temporary(*put); !opened) {
        MutexLock lock(put->mutex);
        put->error = opened.error().code;
    }
    send_writes(put);
}

Status SsdStore::Impl::open_temporary(Put& put) {
    put.path = files_.temporary_path(put.id);
    put.fd = UniqueFd(
        ::open(put.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600));
    if (!put.fd) return errno_error();
    const auto bytes = static_cast<off_t>(whole_blocks(put.label.size));
    // Now, so that a full device is known before anything is written, and so that no write has to
    // extend the file: those would wait for each other.
    if (bytes == 0 || ::fallocate(put.fd.get(), 0, 0, bytes) == 0) return {};
    if (errno == EOPNOTSUPP && ::ftruncate(put.fd.get(), bytes) == 0) return {};
    return errno_error();
}

/// Keeps the put's share of the device busy. The last write to end hands the put to the worker.
void SsdStore::Impl::send_writes(const std::shared_ptr<Put>& put) {
    MutexLock lock(put->mutex);
    while (put->error == 0 && put->in_flight < kWritesInFlight) {
        const std::span<const std::byte> from = put->next();
        if (from.empty()) break;
        ++put->in_flight;
        ring_->write(
            put->fd.get(), from, std::exchange(put->offset, put->offset + from.size()),
            [this, put, asked = from.size()](std::int64_t result) { written(put, asked, result); });
    }
    if (put->in_flight == 0) worker_.post([this, put] { finish(*put); });
}

void SsdStore::Impl::written(const std::shared_ptr<Put>& put, std::size_t asked,
                             std::int64_t result) {
    {
        MutexLock lock(put->mutex);
        --put->in_flight;
        if (result < 0)
            put->error = static_cast<int>(-result);
        else if (static_cast<std::size_t>(result) < asked)
            put->error = EIO;
        if (put->error != 0 && put->in_flight > 0) return;
    }
    send_writes(put);
}

void SsdStore::Impl::finish(Put& put) {
    int error = 0;
    {
        MutexLock lock(put.mutex);
        error = put.error;
    }
    Status status = error == 0 ? publish(put) : Error{error, "writing " + put.path};
    if (!status && put.fd) ::unlink(put.path.c_str());
    put.fd.reset();
    std::exchange(put.done, nullptr)(std::move(status));
    MutexLock lock(mutex_);
    if (--puts_ == 0) put_over_.notify_all();
}

Status SsdStore::Impl::publish(Put& put) {
    const bool is_cut = put.label.size % kBlockBytes != 0;
    if (is_cut && ::ftruncate(put.fd.get(), static_cast<off_t>(put.label.size)) != 0)
        return errno_error("ftruncate " + put.path);
    return files_.publish(put.path, put.id, put.label);
}

namespace {

class SsdReader final : public ObjectReader {
  public:
    SsdReader(std::shared_ptr<void> store, Ring& ring, UniqueFd fd)
        : store_(std::move(store)), ring_(ring), fd_(std::move(fd)) {}

    void read(std::uint64_t offset, std::span<std::byte> into,
              std::function<void(std::int64_t)> done) override {
        ring_.read(fd_.get(), into, offset, std::move(done));
    }
    int direct_fd() const override { return fd_.get(); }

  private:
    std::shared_ptr<void> store_;  ///< keeps the ring
    Ring& ring_;
    UniqueFd fd_;
};

}  // namespace

SsdStore::SsdStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SsdStore::~SsdStore() {
    impl_->wait_for_puts();
    // A reader whose last owner is its `done` goes on the ring's thread. It must not be the one
    // that ends the ring.
    impl_->ring().drain();
}

Result<std::unique_ptr<SsdStore>> SsdStore::open(const Options& options) {
    auto directory = options.as_found ? open_ssd_directory_as_found(options.directory)
                                      : open_ssd_directory(options.directory, options.quota_bytes);
    if (!directory) return directory.error();
    auto ring = Ring::create({.piece_bytes = options.request_bytes});
    if (!ring) return ring.error();
    auto impl =
        std::make_unique<Impl>(std::move(*directory), std::move(*ring), options.window_bytes);
    return std::unique_ptr<SsdStore>(new SsdStore(std::move(impl)));
}

std::string SsdStore::name() const { return "ssd:" + impl_->directory().path; }
std::uint64_t SsdStore::uid() const { return impl_->directory().uid; }
std::uint64_t SsdStore::capacity() const { return impl_->directory().capacity; }
std::uint64_t SsdStore::window_bytes() const { return impl_->window_bytes; }
Ring& SsdStore::ring() { return impl_->ring(); }

void SsdStore::put(ObjectId id, const ObjectLabel& label,
                   std::vector<std::span<const std::byte>> pieces,
                   std::function<void(Status)> done) {
    impl_->put(id, label, std::move(pieces), std::move(done));
}

Result<std::unique_ptr<ObjectReader>> SsdStore::open(ObjectId id) {
    UniqueFd fd(::open(impl_->files().path_of(id).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (!fd) return Error{errno, {}};
    return std::unique_ptr<ObjectReader>(
        std::make_unique<SsdReader>(impl_, impl_->ring(), std::move(fd)));
}

Result<std::unique_ptr<ObjectFile>> SsdStore::open_in_place(ObjectId id) {
    const std::string path = impl_->files().path_of(id);
    auto file = open_ssd_file(path, impl_, impl_->ring());
    if (file || file.error().code != ENOENT) return file;
    if (Status status = impl_->files().make_directories(id); !status) return status.error();
    return open_ssd_file(path, impl_, impl_->ring());
}

void SsdStore::sync(ObjectId id, std::function<void(std::int64_t)> done) {
    const auto fd = std::make_shared<UniqueFd>(
        ::open(impl_->files().path_of(id).c_str(), O_RDONLY | O_CLOEXEC));
    if (!*fd) return done(-errno);
    impl_->ring().sync(fd->get(),
                       [fd, done = std::move(done)](std::int64_t result) { done(result); });
}

void SsdStore::sync_all(std::function<void(std::int64_t)> done) {
    impl_->sync_all(std::move(done));
}

Status SsdStore::relabel(ObjectId id, const ObjectLabel& label) {
    return impl_->files().relabel(id, label);
}

Status SsdStore::remove(ObjectId id) {
    auto gone = impl_->files().take_away(id);
    if (!gone) return gone.error();
    if (!gone->empty()) impl_->unlink_later(*std::move(gone));
    return {};
}

Status SsdStore::present() {
    const std::string identity = impl_->directory().path + "/kvfs.json";
    if (::access(identity.c_str(), F_OK) == 0) return {};
    if (errno == ENOENT || errno == ENOTDIR) return Error{ENOENT, "the directory is gone"};
    return errno_error(identity);
}

// In the directory itself: what is drained there is drained whichever daemon, with whichever names,
// has it next.
bool SsdStore::draining() const {
    return ::access((impl_->directory().path + "/draining").c_str(), F_OK) == 0;
}

Status SsdStore::set_draining(bool on) {
    const std::string& directory = impl_->directory().path;
    const std::string mark = directory + "/draining";
    if (on) {
        const UniqueFd file(::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        if (!file) return errno_error(mark);
    } else if (::unlink(mark.c_str()) != 0 && errno != ENOENT) {
        return errno_error(mark);
    }
    const UniqueFd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return folder && ::fsync(folder.get()) == 0 ? Status{} : errno_error(directory);
}

Result<ObjectExtent> SsdStore::extent(ObjectId id) { return extent_of(impl_->files().path_of(id)); }

Result<std::vector<std::string>> SsdStore::leftovers() { return impl_->files().leftovers(); }

Status SsdStore::scan(const std::function<bool(ObjectId, const ObjectLabel&)>& visit) {
    return impl_->files().scan(visit);
}

}  // namespace kvfs
