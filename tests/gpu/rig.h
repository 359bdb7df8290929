#pragma once
#include <gpumap.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fs/base/mapping.h"
#include "tests/gpu/raw_gpu.h"

namespace kvfs::gpu_check {

/// A context of libgpumap.
class Mapper {
  public:
    /// `tuned`: as $KVFS_CUDA has it ("method=batch"), "": as it comes. Throws Failure, also when
    /// it does not get the backend that it asks for.
    explicit Mapper(const std::string& socket, const std::string& tuned = "",
                    std::uint32_t backend = GM_BACKEND_CUDA);
    ~Mapper() { gm_close(context_); }
    Mapper(const Mapper&) = delete;
    Mapper& operator=(const Mapper&) = delete;
    operator gm_ctx*() const { return context_; }
    gm_info info() const;

  private:
    gm_ctx* context_ = nullptr;
};

/// Waits until the daemon writes nothing to SSD any more; for half a minute at most.
void await_quiet(gm_ctx* context);

/// Files of random bytes: each is another part of the same ones.
class Content {
  public:
    Content(std::uint64_t longest, std::uint64_t seed);
    std::span<const std::byte> of(std::uint64_t file, std::uint64_t length) const;

  private:
    std::vector<std::byte> bytes_;
};

/// Makes the file from device memory, with the directories on the way. Throws Failure.
void save_whole(gm_ctx* context, const std::string& path, gm_devptr memory, std::uint64_t bytes);

/// Files of one size in the cache, open. Those that are not there yet are made first, from Content.
class FileSet {
  public:
    FileSet(gm_ctx* context, const std::string& directory, std::uint32_t count, std::uint64_t bytes,
            const Content& content);
    ~FileSet();
    FileSet(const FileSet&) = delete;
    FileSet& operator=(const FileSet&) = delete;

    std::uint32_t count() const { return static_cast<std::uint32_t>(files_.size()); }
    std::uint64_t file_bytes() const { return bytes_; }
    std::uint64_t total_bytes() const { return bytes_ * files_.size(); }
    gm_file* file(std::uint32_t number) const { return files_[number]; }
    const std::string& path(std::uint32_t number) const { return paths_[number]; }
    /// Of GM_TIER_*: where the slowest of them is.
    std::uint32_t tier() const;
    /// Loads ranges as one job and waits: ranges[i] are those of file i. Throws Failure.
    void load(const std::vector<std::vector<gm_range>>& ranges) const;
    /// These files whole, one after the other, to `memory`, as one job; and all of them.
    void load_whole(const std::vector<std::uint32_t>& numbers, gm_devptr memory) const;
    void load_all(gm_devptr memory) const;
    /// Is that what lies there? "" or where it is not.
    std::string compare_all(const DeviceMemory& memory, const Content& content) const;

  private:
    gm_ctx* context_;
    std::uint64_t bytes_;
    std::vector<std::string> paths_;
    std::vector<gm_file*> files_;
};

/// "" or where the bytes differ first.
std::string compare(std::span<const std::byte> got, std::span<const std::byte> wanted);

/// "4 KiB", "16 MiB", "1124352 B".
std::string size_text(std::uint64_t bytes);

}  // namespace kvfs::gpu_check
