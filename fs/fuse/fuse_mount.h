#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/files/files.h"

namespace kvfs {

/// The mounted directory: serves what the kernel asks of it from a Files.
///
///     state      from        a program that uses the mount
///     mounted    mount()     waits: nobody answers yet
///     serving    run()       is answered
///     unmounted  run()'s end has lost it: ENOTCONN for what it has open, the name shows what is
///     below
///
/// What the kernel remembers of names (entries, for an hour) is kept right by Files' name listener;
/// of attributes, by a time limit of a second.
class FuseMount {
  public:
    struct Options {
        std::string mountpoint;
        /// As after -o: "ro", "allow_other,noatime", ... On top of these: default_permissions, and
        /// as root allow_other (not with "noallow_other" or "allow_root").
        std::vector<std::string> mount_options{};
        /// Requests served at a time, each for at most Cache::Options::io_timeout, where all go by
        /// /dev/fuse (over io_uring: some a CPU, see RingTransport). A thread keeps a request
        /// buffer of up to 1 MiB (4 MiB where fs.fuse.max_pages_limit allows such requests).
        unsigned threads_max = 64;
        /// Called once, on a thread of the mount, when the kernel has been greeted: from then on
        /// the mount answers.
        std::function<void()> ready{};
        /// Called for every request, on the thread that serves it, before that does anything.
        std::function<void()> on_request{};
    };

    /// Mounts. A dead mount that an earlier daemon left there is unmounted first. `files` must
    /// outlive the result. Errors: each a sentence with the mount point and the way out. ENOENT,
    /// ENOTDIR - the mount point; EBUSY - kvfs is mounted there already; EPERM, EACCES - not
    /// allowed; ENODEV - no /dev/fuse; EINVAL - an unknown mount option.
    static Result<std::unique_ptr<FuseMount>> mount(Files& files, Options options);

    /// Unmounts if that has not happened. run() must have returned, or not have been called.
    ~FuseMount();
    FuseMount(const FuseMount&) = delete;
    FuseMount& operator=(const FuseMount&) = delete;

    /// Serves, on threads of its own, until somebody unmounts or stop() is called; has unmounted
    /// when it returns. Files that programs had closed are then released (and so sealed); what they
    /// had still open for writing is not, and is lost. Once. Errors: EIO - the connection to the
    /// kernel failed.
    Status run();

    /// Makes run() return, after it has served what was already asked (at most a second). From any
    /// thread, but not from a signal handler.
    void stop();

  private:
    class Impl;
    explicit FuseMount(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace kvfs
