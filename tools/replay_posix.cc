#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "fs/base/clock.h"
#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "tools/block.h"
#include "tools/replay_lane.h"

namespace kvfs {
namespace {

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Reads until `into` is full. Errors: EIO - the file is shorter; what read says.
Status read_whole(int fd, std::span<std::byte> into) {
    while (!into.empty()) {
        const ssize_t got = ::read(fd, into.data(), into.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error();
        if (got == 0) return Error{EIO, "ends early"};
        into = into.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

Status write_whole(int fd, std::span<const std::byte> from) {
    while (!from.empty()) {
        const ssize_t put = ::write(fd, from.data(), from.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno_error();
        from = from.subspan(static_cast<std::size_t>(put));
    }
    return {};
}

bool is_miss(int code) { return code == ENOENT || code == ESTALE; }

class PosixLane final : public ReplayLane {
  public:
    PosixLane(std::string root, std::uint64_t number, Mapping buffer)
        : root_(std::move(root)),
          suffix_(".tmp" + std::to_string(number)),
          buffer_(std::move(buffer)) {}

    Result<Done> load_prefix(std::span<const std::uint64_t> hash_ids) override {
        Done done;
        for (const std::uint64_t id : hash_ids) {
            const std::string path = block_path(root_, id);
            const auto start = Clock::now();
            const Result<bool> loaded = load(path);
            done.seconds += seconds_since(start);
            if (!loaded) return loaded.error();
            if (!*loaded || !verify(id, path, buffer_.bytes())) break;
            ++done.blocks;
        }
        counts_.blocks_loaded += done.blocks;
        return done;
    }

    Result<Done> save_rest(std::span<const std::uint64_t> hash_ids, std::size_t first) override {
        Done done;
        for (std::size_t i = first; i < hash_ids.size(); ++i) {
            const std::string path = block_path(root_, hash_ids[i]);
            if (i > first && ::access(path.c_str(), F_OK) == 0) {
                ++counts_.blocks_kept;
                continue;
            }
            fill_block(hash_ids[i], buffer_.bytes());
            const auto start = Clock::now();
            if (const Status saved = save(path); !saved) return saved.error();
            done.seconds += seconds_since(start);
            ++done.blocks;
        }
        counts_.blocks_saved += done.blocks;
        return done;
    }

  private:
    /// The file's bytes are in the buffer, or it is a miss.
    Result<bool> load(const std::string& path) {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd && is_miss(errno)) return false;
        if (!fd && errno == EIO) return unreadable();
        if (!fd) return errno_error(path);
        struct stat status {};
        if (::fstat(fd.get(), &status) != 0) return errno_error(path);
        if (static_cast<std::size_t>(status.st_size) != buffer_.size()) {
            count_wrong_size(path, static_cast<std::uint64_t>(status.st_size), buffer_.size());
            return false;
        }
        const Status read = read_whole(fd.get(), buffer_.bytes());
        if (read) return true;
        if (is_miss(read.error().code)) {
            ++counts_.blocks_evicted;
            return false;
        }
        if (read.error().code == EIO) return unreadable();
        return Error{read.error().code, path};
    }

    bool unreadable() {
        ++counts_.blocks_unreadable;
        return false;
    }

    /// As engines publish: under a temporary name, then renamed.
    Status save(const std::string& path) {
        const std::string temporary = path + suffix_;
        UniqueFd fd(open_new(temporary));
        if (!fd && errno == ENOENT) {
            if (const Status made = make_directories(path); !made) return made;
            fd = UniqueFd(open_new(temporary));
        }
        if (!fd) return errno_error(temporary);
        if (const Status written = write_whole(fd.get(), buffer_.bytes()); !written)
            return Error{written.error().code, temporary};
        if (::close(fd.release()) != 0) return errno_error(temporary);
        if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(path);
        return {};
    }

    static int open_new(const std::string& path) {
        return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    }

    /// Of `path`, from the replay's own directory on.
    Status make_directories(const std::string& path) {
        for (auto slash = path.find('/', 1); slash != std::string::npos;
             slash = path.find('/', slash + 1)) {
            const std::string directory = path.substr(0, slash);
            if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
                return errno_error(directory);
        }
        return {};
    }

    std::string root_;
    std::string suffix_;  ///< of temporary names: one's own for each lane
    Mapping buffer_;      ///< one block
};

}  // namespace

LaneFactory posix_lanes(const LaneOptions& options, const std::string& mount) {
    auto lanes = std::make_shared<std::atomic<std::uint64_t>>(0);
    return [=]() -> Result<std::unique_ptr<ReplayLane>> {
        Result<Mapping> buffer = Mapping::anonymous(options.block_bytes);
        if (!buffer) return buffer.error();
        const std::uint64_t number =
            static_cast<std::uint64_t>(::getpid()) * 1000 + lanes->fetch_add(1);
        return std::unique_ptr<ReplayLane>(std::make_unique<PosixLane>(
            mount + "/" + options.directory, number, std::move(*buffer)));
    };
}

}  // namespace kvfs
