#pragma once
#include <sys/types.h>

#include <string>

#include "fs/base/fd.h"
#include "fs/base/result.h"

namespace kvfs::mapper {

/// A listening Unix SEQPACKET socket and its name in the file system, which goes with it.
class Listener {
  public:
    /// Errors: EBUSY - somebody listens there; ENAMETOOLONG; others as bind(2).
    static Result<Listener> listen(const std::string& path, unsigned mode);
    Listener(Listener&&) = default;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    int fd() const { return socket_.get(); }

  private:
    Listener(UniqueFd socket, std::string path)
        : socket_(std::move(socket)), path_(std::move(path)) {}

    UniqueFd socket_;
    std::string path_;
    dev_t device_ = 0;  ///< of the name: it is removed only while it is ours
    ino_t inode_ = 0;
};

}  // namespace kvfs::mapper
