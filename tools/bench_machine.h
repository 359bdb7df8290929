#pragma once
#include <gpumap.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"

namespace kvfs {

/// A new directory that goes, with all in it, when this does.
class ScratchDirectory {
  public:
    /// Below `parent`. Throws Failure.
    explicit ScratchDirectory(const std::string& parent);
    ~ScratchDirectory();
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

/// A kvfsd of our own, with a mount and an SSD directory of its own; ended and cleaned up with
/// this.
class BenchDaemon {
  public:
    struct Options {
        std::string program;  ///< kvfsd
        std::string parent;   ///< where its directories are made
        std::uint64_t dram_bytes = 0;
        std::uint64_t ssd_bytes = 0;
        bool mounts = true;  ///< else it serves its socket alone, and needs no FUSE
    };
    /// Returns when it serves. Throws Failure, with what it said on stderr before.
    explicit BenchDaemon(const Options& options);
    ~BenchDaemon();
    BenchDaemon(const BenchDaemon&) = delete;
    BenchDaemon& operator=(const BenchDaemon&) = delete;

    std::string mount() const { return scratch_.path() + "/mount"; }
    std::string ssd() const { return scratch_.path() + "/ssd"; }
    /// The directory that these are in: on the file system that the SSD directory is on.
    std::string directory() const { return scratch_.path(); }
    std::string socket() const { return scratch_.path() + "/socket"; }
    /// Paths of the objects on SSD by their files' inode numbers, which are their names
    /// (SSD/objects/hh/hh/INODE).
    std::map<std::uint64_t, std::string> objects() const;
    std::uint64_t ssd_bytes() const { return options_.ssd_bytes; }
    pid_t pid() const { return pid_; }
    /// As SIGTERM does: returns when it has ended. Throws Failure when it does not end by itself.
    void stop();
    /// Once more, after stop(). Returns when it serves.
    void start();
    /// A connection of this process, host backend.
    gm_ctx* mapper();
    /// Makes the kernel forget the mount's names, so that it asks for them again. False without the
    /// right to do so, which root has.
    bool forget_names();

  private:
    const Options options_;
    ScratchDirectory scratch_;
    pid_t pid_ = -1;
    std::unique_ptr<gm_ctx, void (*)(gm_ctx*)> mapper_{nullptr, gm_close};
};

/// What the measurements run on: daemons that are started when first asked for, a tmpfs to compare
/// with, and an SSD.
class BenchMachine {
  public:
    /// `program`: kvfsd. `parent`: a directory on the SSD to be measured.
    BenchMachine(std::string program, std::string parent);
    ~BenchMachine();

    /// All that is written to it stays in DRAM.
    BenchDaemon& roomy();
    /// So little DRAM that what was not used just now is on SSD only.
    BenchDaemon& tight();
    static constexpr std::uint64_t kTightDramBytes = 256 << 20;
    /// A directory in memory, of this process alone, and as deep as a daemon's mount: the kernel
    /// walks to both alike.
    std::string tmpfs();
    void stop_daemons();

  private:
    void make_tmpfs();

    std::string program_;
    std::string parent_;
    std::unique_ptr<BenchDaemon> roomy_;
    std::unique_ptr<BenchDaemon> tight_;
    std::unique_ptr<ScratchDirectory> tmpfs_;
    bool tmpfs_mounted_ = false;
};

/// Throws Failure when the user wants to stop (SIGINT, SIGTERM), so that all is cleaned up.
void check_interrupted();
void catch_interrupts();

/// Throws Failure with gpumap's sentence unless `status` is GM_OK.
void expect_ok(gm_status status, const char* what);

}  // namespace kvfs
