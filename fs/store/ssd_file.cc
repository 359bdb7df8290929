#include "fs/store/ssd_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "fs/base/fd.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;

bool is_direct(std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
    return (offset | bytes.size() | address) % kBlockBytes == 0;
}

ObjectExtent extent_in(const struct stat& status) {
    constexpr std::int64_t kNsPerS = 1'000'000'000;
    return {static_cast<std::uint64_t>(status.st_size),
            static_cast<std::uint64_t>(status.st_blocks) * 512,
            status.st_mtim.tv_sec * kNsPerS + status.st_mtim.tv_nsec};
}

/// Two descriptors of one file: with O_DIRECT for whole blocks, without for the rest. The file
/// system keeps the two views of it the same.
class SsdFile final : public ObjectFile {
  public:
    SsdFile(std::string path, std::shared_ptr<void> store, Ring& ring, UniqueFd direct,
            UniqueFd buffered)
        : path_(std::move(path)),
          store_(std::move(store)),
          ring_(ring),
          direct_(std::move(direct)),
          buffered_(std::move(buffered)) {}

    void read(std::uint64_t offset, std::span<std::byte> into,
              std::function<void(std::int64_t)> done) override {
        ring_.read(direct_.get(), into, offset, std::move(done));
    }

    void write(std::uint64_t offset, std::span<const std::byte> from,
               std::function<void(std::int64_t)> done) override {
        const UniqueFd& fd = is_direct(offset, from) ? direct_ : buffered_;
        ring_.write(fd.get(), from, offset, std::move(done));
    }

    Status truncate(std::uint64_t size) override {
        if (::ftruncate(buffered_.get(), static_cast<off_t>(size)) == 0) return {};
        return errno_error("ftruncate " + path_);
    }

    Status allocate(std::uint64_t offset, std::uint64_t length, bool keep_size) override {
        const int mode = keep_size ? FALLOC_FL_KEEP_SIZE : 0;
        if (::fallocate(buffered_.get(), mode, static_cast<off_t>(offset),
                        static_cast<off_t>(length)) == 0)
            return {};
        return errno_error("fallocate " + path_);
    }

    Result<Extent> extent() const override {
        struct stat status {};
        if (::fstat(buffered_.get(), &status) != 0) return errno_error("fstat " + path_);
        return extent_in(status);
    }

    int backing_fd() const override { return buffered_.get(); }

  private:
    const std::string path_;
    std::shared_ptr<void> store_;  ///< keeps the ring
    Ring& ring_;
    UniqueFd direct_;
    UniqueFd buffered_;
};

}  // namespace

Result<std::unique_ptr<ObjectFile>> open_ssd_file(const std::string& path,
                                                  std::shared_ptr<void> store, Ring& ring) {
    UniqueFd buffered(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!buffered) return errno_error("open " + path);
    UniqueFd direct(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    if (!direct) return errno_error("open " + path);
    return std::unique_ptr<ObjectFile>(std::make_unique<SsdFile>(
        path, std::move(store), ring, std::move(direct), std::move(buffered)));
}

Result<ObjectExtent> extent_of(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return errno_error("stat " + path);
    return extent_in(status);
}

}  // namespace kvfs
