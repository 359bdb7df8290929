#include "fs/names/lmdb.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "fs/base/log.h"

#if defined(__SANITIZE_THREAD__)
// LMDB is not instrumented: its readers are ordered after its writer by plain stores to the map
// that ThreadSanitizer cannot see, while it does see the library's calls of memcpy and memcmp.
// Visible, or the runtime does not find it.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "called_from_lib:liblmdb.so\n"; }
#endif

namespace kvfs::lmdb {

Error error(int rc, std::string_view what) {
    int code = EIO;
    switch (rc) {
        case MDB_MAP_FULL:
        case ENOSPC:
        case EDQUOT:
            code = ENOSPC;
            break;
        case ENOMEM:
            code = ENOMEM;
            break;
        case MDB_READERS_FULL:
            code = EAGAIN;
            break;
        default:
            break;
    }
    return Error{code, std::string(what) + ": " + mdb_strerror(rc)};
}

namespace {

constexpr unsigned kMaxTables = 8;
constexpr unsigned kMaxReaders = 1024;
/// data.mdb is allocated ahead of use by this much.
constexpr std::uint64_t kReserveStep = 16 << 20;

MDB_val as_val(std::string_view bytes) {
    return {bytes.size(), const_cast<char*>(bytes.data())};  // LMDB does not write through it
}

std::string_view as_bytes(const MDB_val& val) {
    return {static_cast<const char*>(val.mv_data), val.mv_size};
}

/// While opening, damage is told from failure: a damaged database is replaced.
Error open_error(int rc, const std::string& what) {
    Error opened = error(rc, what);
    switch (rc) {
        case MDB_INVALID:
        case MDB_VERSION_MISMATCH:
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
        case MDB_INCOMPATIBLE:
            opened.code = EBADMSG;
            break;
        default:
            break;
    }
    return opened;
}

std::string map_advice(int rc, const std::string& directory, std::uint64_t map_bytes) {
    const std::string size = std::to_string(map_bytes >> 20) + " MiB";
    std::string map = "name database in " + directory + ", a sparse file of " + size;
    if (rc == EFBIG || rc == ENOSPC || rc == EINVAL) return map + ": the file system refuses it";
    if (rc == ENOMEM) return map + ": not enough address space (ulimit -v, vm.max_map_count)";
    return map;
}

}  // namespace

Result<std::unique_ptr<Environment>> Environment::open(const std::string& directory,
                                                       std::uint64_t map_bytes, bool read_only) {
    MDB_env* env = nullptr;
    if (const int rc = mdb_env_create(&env); rc != 0) return error(rc, "mdb_env_create");
    // The owner comes first, so that every way out closes the handle.
    std::unique_ptr<Environment> opened(new Environment(env, directory, map_bytes, read_only));
    mdb_env_set_maxdbs(env, kMaxTables);
    mdb_env_set_maxreaders(env, kMaxReaders);
    if (const int rc = mdb_env_set_mapsize(env, map_bytes); rc != 0) {
        return Error{EINVAL, map_advice(rc, directory, map_bytes)};
    }
    // NOTLS: readers belong to the pool, not to threads. NORDAHEAD: keys come at random, and memory
    // is worth more as a cache of files than of their neighbours' names.
    constexpr unsigned kFlags = MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS | MDB_NORDAHEAD;
    // NOLOCK: lock.mdb is for processes that share a database.
    constexpr unsigned kFlagsReadOnly = MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD;
    const int rc = mdb_env_open(env, directory.c_str(), read_only ? kFlagsReadOnly : kFlags, 0600);
    if (rc > 0) return Error{rc, map_advice(rc, directory, map_bytes)};
    if (rc != 0) return open_error(rc, "name database in " + directory);
    opened->read_ahead();
    return opened;
}

/// All of it is looked through at the start, in the order of the keys, which is not that of the
/// file: page by page from a cold disk, that takes seconds for 10^6 names.
void Environment::read_ahead() const {
    MDB_envinfo info{};
    MDB_stat stat{};
    mdb_filehandle_t fd = -1;
    if (mdb_env_info(env_, &info) != 0 || mdb_env_stat(env_, &stat) != 0 ||
        mdb_env_get_fd(env_, &fd) != 0)
        return;
    const auto used = static_cast<off_t>((info.me_last_pgno + 1) * stat.ms_psize);
    constexpr off_t kStep = 128 << 10;  // Linux reads no more ahead at a time, whatever is asked
    for (off_t at = 0; at < used; at += kStep) ::posix_fadvise(fd, at, kStep, POSIX_FADV_WILLNEED);
}

Environment::~Environment() {
    for (Reader& reader : readers_) {
        if (reader.txn != nullptr) mdb_txn_abort(reader.txn);
    }
    mdb_env_close(env_);
}

Result<MDB_dbi> Environment::table(const char* name) {
    MDB_txn* txn = nullptr;
    if (const int rc = mdb_txn_begin(env_, nullptr, read_only_ ? MDB_RDONLY : 0, &txn); rc != 0)
        return open_error(rc, directory_);
    MDB_dbi table = 0;
    if (const int rc = mdb_dbi_open(txn, name, read_only_ ? 0 : MDB_CREATE, &table); rc != 0) {
        mdb_txn_abort(txn);
        return open_error(rc, directory_ + ": table " + name);
    }
    if (const int rc = mdb_txn_commit(txn); rc != 0) return open_error(rc, directory_);
    return table;
}

Status Environment::sync() {
    if (const int rc = mdb_env_sync(env_, 1); rc != 0) return error(rc, "sync of " + directory_);
    return {};
}

std::uint64_t Environment::bytes_on_disk() const {
    mdb_filehandle_t fd = -1;
    struct stat data {};
    if (mdb_env_get_fd(env_, &fd) != 0 || ::fstat(fd, &data) != 0) return 0;
    return static_cast<std::uint64_t>(data.st_blocks) * 512;
}

/// Pages are written through the map, where a full disk is a SIGBUS: so the next transaction's
/// pages get their blocks before it begins, and a full disk is an ENOSPC.
Status Environment::reserve(std::uint64_t room) {
    MDB_envinfo info{};
    MDB_stat stat{};
    mdb_env_info(env_, &info);
    mdb_env_stat(env_, &stat);
    const std::uint64_t used = (info.me_last_pgno + 1) * stat.ms_psize;
    const std::uint64_t need = std::min(used + room, map_bytes_);
    if (need <= reserved_) return {};

    mdb_filehandle_t fd = -1;
    mdb_env_get_fd(env_, &fd);
    const std::uint64_t ahead = std::max(std::min(need + kReserveStep, map_bytes_), need);
    for (const std::uint64_t target : {ahead, need}) {
        if (::fallocate(fd, 0, static_cast<off_t>(reserved_),
                        static_cast<off_t>(target - reserved_)) == 0) {
            reserved_ = target;
            return {};
        }
        if (errno != ENOSPC && errno != EDQUOT) break;
    }
    if (errno == ENOSPC || errno == EDQUOT) return Error{ENOSPC, "name database in " + directory_};
    spdlog::warn("names: {}: cannot allocate ahead ({}); a full disk would be fatal", directory_,
                 errno_error().message());
    reserved_ = map_bytes_;
    return {};
}

Environment::Reader* Environment::take_reader() {
    // Threads start at different places, so each finds its own reader free and its line in cache.
    static std::atomic<std::size_t> threads{0};
    thread_local const std::size_t first = threads.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < kReaders; ++i) {
        Reader& reader = readers_[(first + i) % kReaders];
        if (reader.busy.load(std::memory_order_relaxed)) continue;
        if (!reader.busy.exchange(true, std::memory_order_acquire)) return &reader;
    }
    return nullptr;
}

Result<std::string_view> Transaction::find(MDB_dbi table, std::string_view key) const {
    MDB_val k = as_val(key);
    MDB_val value{};
    const int rc = mdb_get(txn_, table, &k, &value);
    if (rc == MDB_NOTFOUND) return Error{ENOENT};
    if (rc != 0) return error(rc, "mdb_get");
    return as_bytes(value);
}

Result<std::uint64_t> Transaction::entries(MDB_dbi table) const {
    MDB_stat stat{};
    if (const int rc = mdb_stat(txn_, table, &stat); rc != 0) return error(rc, "mdb_stat");
    return std::uint64_t{stat.ms_entries};
}

Result<ReadTransaction> ReadTransaction::begin(Environment& env) {
    ReadTransaction txn;
    txn.reader_ = env.take_reader();
    if (txn.reader_ != nullptr && txn.reader_->txn != nullptr) {
        txn.txn_ = txn.reader_->txn;
        if (const int rc = mdb_txn_renew(txn.txn_); rc != 0) return error(rc, "mdb_txn_renew");
        return txn;
    }
    const int rc = mdb_txn_begin(env.env_, nullptr, MDB_RDONLY, &txn.txn_);
    if (rc != 0) return error(rc, "mdb_txn_begin");
    if (txn.reader_ != nullptr) txn.reader_->txn = txn.txn_;
    return txn;
}

ReadTransaction::~ReadTransaction() {
    if (reader_ == nullptr) {
        if (txn_ != nullptr) mdb_txn_abort(txn_);
        return;
    }
    if (txn_ != nullptr) mdb_txn_reset(txn_);
    reader_->busy.store(false, std::memory_order_release);
}

Result<WriteTransaction> WriteTransaction::begin(Environment& env, std::uint64_t room) {
    WriteTransaction txn(&env);
    const int rc = mdb_txn_begin(env.env_, nullptr, 0, &txn.txn_);
    if (rc != 0) return error(rc, "mdb_txn_begin");
    if (Status reserved = env.reserve(room); !reserved) return reserved.error();
    return txn;
}

WriteTransaction::~WriteTransaction() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
}

Status WriteTransaction::store(MDB_dbi table, std::string_view key, std::string_view value,
                               unsigned flags) {
    MDB_val k = as_val(key);
    MDB_val v = as_val(value);
    const int rc = mdb_put(txn_, table, &k, &v, flags);
    if (rc == MDB_KEYEXIST) return Error{EEXIST};
    if (rc != 0) return error(rc, env_->directory_);
    return {};
}

Status WriteTransaction::put(MDB_dbi table, std::string_view key, std::string_view value) {
    return store(table, key, value, 0);
}

Status WriteTransaction::append(MDB_dbi table, std::string_view key, std::string_view value) {
    Status appended = store(table, key, value, MDB_APPEND);
    if (!appended && appended.error().code == EEXIST) return put(table, key, value);
    return appended;
}

Status WriteTransaction::remove(MDB_dbi table, std::string_view key) {
    MDB_val k = as_val(key);
    const int rc = mdb_del(txn_, table, &k, nullptr);
    if (rc != 0 && rc != MDB_NOTFOUND) return error(rc, env_->directory_);
    return {};
}

Status WriteTransaction::commit() {
    const int rc = mdb_txn_commit(std::exchange(txn_, nullptr));
    if (rc != 0) return error(rc, env_->directory_);
    return {};
}

Result<Cursor> Cursor::open(const Transaction& txn, MDB_dbi table) {
    Cursor cursor;
    const int rc = mdb_cursor_open(txn.handle(), table, &cursor.cursor_);
    if (rc != 0) return error(rc, "mdb_cursor_open");
    return cursor;
}

Result<Cursor::Row> Cursor::seek(std::string_view key) { return move(&key, MDB_SET_RANGE); }

Result<Cursor::Row> Cursor::move(const std::string_view* key, MDB_cursor_op op) {
    MDB_val k = key != nullptr ? as_val(*key) : MDB_val{};
    MDB_val value{};
    const int rc = mdb_cursor_get(cursor_, &k, &value, op);
    if (rc == MDB_NOTFOUND) return Error{ENOENT};
    if (rc != 0) return error(rc, "mdb_cursor_get");
    return Row{as_bytes(k), as_bytes(value)};
}

Status Cursor::remove() {
    if (const int rc = mdb_cursor_del(cursor_, 0); rc != 0) return error(rc, "mdb_cursor_del");
    return {};
}

}  // namespace kvfs::lmdb
