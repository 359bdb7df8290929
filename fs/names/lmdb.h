#pragma once
#include <lmdb.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "fs/base/result.h"

// What kvfs uses of LMDB, with owners for its handles and bytes as string_view. Bytes that a
// transaction returns lie in the map and are valid until it ends or, in a WriteTransaction,
// changes.

namespace kvfs::lmdb {

/// LMDB's words for `rc` as an Error: ENOSPC - the map or the disk is full; ENOMEM; EAGAIN - more
/// than 1024 readers at once; EIO - all else.
Error error(int rc, std::string_view what);

class ReadTransaction;

/// An open database directory: its map, its tables, its readers.
/// Threads: all may use it at once; LMDB lets one WriteTransaction run at a time, others wait.
/// A process that forks must not use it in the child.
class Environment {
  public:
    /// Opens data.mdb and lock.mdb in `directory`, which exists; makes them when missing.
    /// `read_only`: changes nothing, and nobody else may have it open.
    /// Errors: EBADMSG - damaged; EFBIG, ENOMEM, ENOSPC - the map is refused (the sentence says
    /// what to do); others as open(2).
    static Result<std::unique_ptr<Environment>> open(const std::string& directory,
                                                     std::uint64_t map_bytes, bool read_only);
    ~Environment();
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    /// The table `name`, made when missing and not read-only. For start-up only.
    Result<MDB_dbi> table(const char* name);

    /// Writes all changes so far to disk.
    Status sync();
    /// Bytes that the database takes on disk.
    std::uint64_t bytes_on_disk() const;

  private:
    friend class ReadTransaction;
    friend class WriteTransaction;

    /// Reset reader transactions wait here: renewing one takes neither lock nor allocation, and no
    /// thread owns one, so threads may come and go.
    struct alignas(64) Reader {
        std::atomic<bool> busy{false};
        MDB_txn* txn = nullptr;  ///< made on first use; touched only by who holds `busy`
    };
    static constexpr std::size_t kReaders = 256;

    Environment(MDB_env* env, std::string directory, std::uint64_t map_bytes, bool read_only)
        : env_(env),
          directory_(std::move(directory)),
          map_bytes_(map_bytes),
          read_only_(read_only) {}

    void read_ahead() const;
    Reader* take_reader();
    Status reserve(std::uint64_t room);

    MDB_env* env_;
    std::string directory_;
    std::uint64_t map_bytes_;
    bool read_only_;
    std::uint64_t reserved_ = 0;  ///< allocated prefix of data.mdb; the writer's
    std::array<Reader, kReaders> readers_;
};

/// A transaction of either kind; begun when made, by the factories below.
class Transaction {
  public:
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    /// Errors: ENOENT without a sentence - no such key.
    Result<std::string_view> find(MDB_dbi table, std::string_view key) const;
    Result<std::uint64_t> entries(MDB_dbi table) const;
    MDB_txn* handle() const { return txn_; }

  protected:
    Transaction() = default;
    Transaction(Transaction&& other) noexcept : txn_(std::exchange(other.txn_, nullptr)) {}
    ~Transaction() = default;
    MDB_txn* txn_ = nullptr;
};

/// A snapshot of the whole database, until destroyed. Pages that it sees are not reused meanwhile,
/// so keep it short. Several may be open in one thread.
class ReadTransaction : public Transaction {
  public:
    static Result<ReadTransaction> begin(Environment& env);
    ReadTransaction(ReadTransaction&& other) noexcept
        : Transaction(std::move(other)), reader_(std::exchange(other.reader_, nullptr)) {}
    ~ReadTransaction();

  private:
    ReadTransaction() = default;
    Environment::Reader* reader_ = nullptr;  ///< null: not from the pool
};

/// The one writer. Destroyed without commit(): nothing has happened.
class WriteTransaction : public Transaction {
  public:
    /// Room on disk that must be left for a change to begin. Removing needs little, so that a full
    /// disk can be emptied.
    static constexpr std::uint64_t kRoomToAdd = 1 << 20;
    static constexpr std::uint64_t kRoomToRemove = 128 << 10;

    /// Waits for the current writer. Errors: ENOSPC - less than `room` is left on the disk.
    static Result<WriteTransaction> begin(Environment& env, std::uint64_t room = kRoomToAdd);
    WriteTransaction(WriteTransaction&& other) noexcept
        : Transaction(std::move(other)), env_(other.env_) {}
    ~WriteTransaction();

    Status put(MDB_dbi table, std::string_view key, std::string_view value);
    /// As put, packs pages fully; falls back to put when `key` is not above all others.
    Status append(MDB_dbi table, std::string_view key, std::string_view value);
    /// Absent is fine.
    Status remove(MDB_dbi table, std::string_view key);
    Status commit();

  private:
    explicit WriteTransaction(Environment* env) : env_(env) {}
    Status store(MDB_dbi table, std::string_view key, std::string_view value, unsigned flags);
    Environment* env_;
};

/// What to ask of begin() for one long value: its pages, and those of the value that it replaces.
inline std::uint64_t room_for(std::uint64_t value_bytes) {
    return WriteTransaction::kRoomToAdd + 2 * value_bytes;
}

/// Walks a table in key order. Must not outlive its transaction.
class Cursor {
  public:
    struct Row {
        std::string_view key;
        std::string_view value;
    };

    static Result<Cursor> open(const Transaction& txn, MDB_dbi table);
    Cursor(Cursor&& other) noexcept : cursor_(std::exchange(other.cursor_, nullptr)) {}
    ~Cursor() {
        if (cursor_ != nullptr) mdb_cursor_close(cursor_);
    }
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    /// The first row with a key of at least `key`, the next one, the last one.
    /// Errors: ENOENT without a sentence - there is none.
    Result<Row> seek(std::string_view key);
    Result<Row> next() { return move(nullptr, MDB_NEXT); }
    Result<Row> last() { return move(nullptr, MDB_LAST); }
    /// Removes the current row; next() then gives the one after it. WriteTransaction only.
    Status remove();

  private:
    Cursor() = default;
    Result<Row> move(const std::string_view* key, MDB_cursor_op op);
    MDB_cursor* cursor_ = nullptr;
};

}  // namespace kvfs::lmdb
