#pragma once
#include <random>
#include <string>

#include "gpumap.h"

namespace kvfs::tests {

/// What came of a load or a look-up.
struct Loaded {
    enum class Is { there, absent, replaced, failed };
    Is is = Is::failed;
    std::string bytes{};
    std::string why{};  ///< failed
};

/// A program's way to the files of a directory: the mount or libgpumap. Without assertions, which
/// belong to the test's own thread.
class Front {
  public:
    virtual ~Front() = default;
    virtual const char* name() const = 0;
    virtual Loaded load(const std::string& file, std::mt19937_64& random) = 0;
    /// Size in `bytes`' stead: only whether it is there.
    virtual Loaded look(const std::string& file) = 0;
    /// Replaces the file whole. "", or why not.
    virtual std::string save(const std::string& file, std::string bytes) = 0;
};

class MountFront : public Front {
  public:
    explicit MountFront(std::string directory) : directory_(std::move(directory)) {}
    const char* name() const override { return "mount"; }
    Loaded load(const std::string& file, std::mt19937_64& random) override;
    Loaded look(const std::string& file) override;
    std::string save(const std::string& file, std::string bytes) override;

  private:
    std::string directory_;
};

/// One connection, backend `host`.
class MapperFront : public Front {
  public:
    /// `mountpoint` names the daemon; `directory` is below it.
    MapperFront(const std::string& mountpoint, std::string directory);
    ~MapperFront() override { gm_close(ctx_); }
    MapperFront(const MapperFront&) = delete;
    MapperFront& operator=(const MapperFront&) = delete;
    const char* name() const override { return "mapper"; }
    Loaded load(const std::string& file, std::mt19937_64& random) override;
    Loaded look(const std::string& file) override;
    std::string save(const std::string& file, std::string bytes) override;

  private:
    std::string directory_;
    gm_ctx* ctx_ = nullptr;  ///< none: every call fails
};

/// errno's text after `what`.
std::string failed(const std::string& what);

}  // namespace kvfs::tests
