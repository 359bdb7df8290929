#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "fs/base/fd.h"
#include "fs/base/mutex.h"
#include "fs/names/lmdb.h"
#include "fs/names/namespace.h"
#include "fs/names/state.h"
#include "fs/names/tables.h"

namespace kvfs {

/// What the methods of Namespace share; they lie in files by subject.
class Namespace::Impl {
  public:
    static Result<std::unique_ptr<Impl>> open(const Options& options);

    /// Runs `body(const View&)` on a snapshot and returns what it returns.
    template <typename Body>
    auto read(Body body) const -> decltype(body(std::declval<const View&>())) {
        const Result<lmdb::ReadTransaction> txn = lmdb::ReadTransaction::begin(*env_);
        if (!txn) return txn.error();
        return body(View(tables_, *txn));
    }

    /// Runs `body(Edit&)` as the one writer and commits when it returned no error.
    template <typename Body>
    auto write(Body body, std::uint64_t room = lmdb::WriteTransaction::kRoomToAdd)
        -> decltype(body(std::declval<Edit&>())) {
        const MutexLock lock(writer_);
        if (closed_) return Error{EROFS};
        Result<lmdb::WriteTransaction> txn = lmdb::WriteTransaction::begin(*env_, room);
        if (!txn) return txn.error();
        Edit edit(tables_, *txn);
        auto result = body(edit);
        if (!result) return result;
        if (Status committed = txn->commit(); !committed) return committed.error();
        return result;
    }

    /// An inode number never used before. Requires: inside write(). Blocks on the disk now and
    /// then.
    Result<Ino> new_ino();
    /// new_ino() gives numbers above `ino` from now on. Requires: inside write().
    Status use_ino(Ino ino);
    /// As use_ino for all numbers of a database that is not there to ask. Requires: inside write().
    Status use_lost_inos();

    bool needs_rebuild() const { return rebuild_; }
    Status finish_rebuild();
    Status sync() { return env_->sync(); }
    Status close_clean();
    std::uint64_t bytes_on_disk() const { return env_->bytes_on_disk(); }

  private:
    Impl() = default;
    Status open_database(const Options& options);
    Status open_read_only(const Options& options);
    Status make_root();
    Status set_aside(const std::string& why);

    std::string directory_;
    UniqueFd lock_;  ///< flock'ed: LMDB must not be opened twice
    std::unique_ptr<lmdb::Environment> env_;
    Tables tables_;
    std::atomic<bool> rebuild_{false};

    /// LMDB lets one writer run at a time by itself, but across processes and unseen by sanitizers.
    Mutex writer_;

    // Under writer_, that is, inside write(): clang's analysis does not see through its lambdas.
    State state_;  ///< as in the file
    Ino next_ino_ = kRootIno + 1;
    bool lost_used_ = false;
    bool closed_ = false;
};

}  // namespace kvfs
