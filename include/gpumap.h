/*
 * gpumap: moves byte ranges of cache files into device memory, and device memory into cache files,
 * past the kernel's file system and page cache. C ABI, usable from C11, C++20 and, flat as it is,
 * from ctypes.
 *
 * Threads: every call may be made from any thread at any time, except that an object must not be
 * used while or after it is closed or freed. No call runs callbacks. Calls that can wait say so.
 * Lifetime: arrays and strings that are passed in are copied before the call returns; device memory
 * must stay until the job that names it has ended.
 * Extensible structs begin with `size`, which the caller sets to sizeof the struct (a multiple of
 * 8); members beyond it count as zero, and what a newer struct has more is not looked at.
 *
 * A call that returns an error has changed nothing, unless it says so.
 *
 * Fork: a context does not survive fork(). In the child, what is called on it, or on what was made
 * from it, does nothing and returns GM_ENOTCONN: the child calls gm_open for itself. Its memory
 * goes with the process.
 *
 * Signals: the library raises none (a lost daemon is no SIGPIPE) and blocks all in its threads.
 */
#ifndef GPUMAP_H
#define GPUMAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GM_API __attribute__((visibility("default")))
#else
#define GM_API
#endif

/** Of this header: major * 10000 + minor * 100 + patch. Same major: same ABI. */
#define GM_VERSION 100u

/** A connection to one daemon and one device, with its threads. */
typedef struct gm_ctx gm_ctx;
/** A cache file that was looked up, or a draft of one. */
typedef struct gm_file gm_file;
/** A transfer under way. */
typedef struct gm_job gm_job;
/** An address in device memory: a CUdeviceptr, or on the host backend a pointer. */
typedef uint64_t gm_devptr;
/** A CUstream other than NULL, or on the host backend one made by gm_stream_create. */
typedef void* gm_stream;

/** GM_OK, GM_PENDING, or what went wrong: below zero. */
typedef int gm_status;
enum {
    GM_OK = 0,
    GM_PENDING = 1,    /**< not ended yet */
    GM_EINVAL = -1,    /**< an argument is wrong */
    GM_ENOENT = -2,    /**< no such file: a miss */
    GM_ESHORT = -3,    /**< the file, or the buffer given, ends before the range does */
    GM_EEVICTED = -4,  /**< the file was there when it was opened and was evicted since: a miss */
    GM_ECHECKSUM = -5, /**< bytes on SSD are not those that were written; none reached the device */
    GM_EIO = -6,       /**< reading the SSD failed, or the daemon went away under the job */
    GM_ECANCELLED = -7, /**< gm_job_cancel came first */
    GM_EDEVICE = -8,    /**< the device failed */
    GM_ENOMEM = -9,     /**< host or device memory is short */
    GM_EAGAIN = -10,    /**< a bound was reached (clients, leases); later calls may succeed */
    GM_ETIMEDOUT = -11, /**< the deadline or the daemon's io_timeout passed */
    GM_ESTALE = -12,    /**< the name belongs to another file since it was opened */
    GM_ENOTSUP = -13,   /**< this build, backend or daemon cannot do that */
    GM_EACCES = -14,    /**< the daemon's user and mode checks refuse it */
    GM_ENOSPC = -15, /**< the cache has no room: nothing left to evict, or the file is too large */
    /** the daemon is gone: gm_close, then gm_open once it runs again; or see Fork */
    GM_ENOTCONN = -16
};

enum { GM_BACKEND_AUTO = 0, GM_BACKEND_HOST = 1, GM_BACKEND_CUDA = 2 };

/** What gm_open is to make. Zero in a member: the default. */
typedef struct gm_config {
    uint32_t size;    /**< sizeof(gm_config) */
    uint32_t backend; /**< GM_BACKEND_*; AUTO takes cuda when it works, else host */
    int32_t device;   /**< ordinal of the device; host: 0 */
    uint32_t flags;   /**< 0 */
    /** The daemon's socket, or the directory where it is mounted. NULL: what $KVFS_SOCKET names. */
    const char* socket_path;
    uint64_t staging_bytes; /**< pinned memory for reads from SSD, bytes; default 64 MiB, least 8 */
    uint32_t inflight_mib;  /**< bound on bytes the device has to move, each way, MiB; default 32 */
    uint32_t io_depth;      /**< SSD reads in the kernel at a time, 1..1024; default 24 */
    uint32_t timeout_ms;    /**< bound on a round trip to the daemon, ms; default 60000 */
    uint32_t reserved;      /**< 0 */
} gm_config;

/** What a context is; see gm_query. */
typedef struct gm_info {
    uint32_t size;            /**< sizeof(gm_info), set by the caller */
    uint32_t backend;         /**< GM_BACKEND_HOST or GM_BACKEND_CUDA: the one in use */
    int32_t device;           /**< its ordinal */
    uint32_t connected;       /**< 1 while the daemon answers, 0 once it is gone */
    uint64_t staging_bytes;   /**< as configured, bytes */
    uint64_t inflight_bytes;  /**< as configured, bytes */
    uint64_t mapped_bytes;    /**< of the daemon's DRAM tier, mapped here, bytes */
    uint64_t dram_bytes;      /**< loaded from DRAM since gm_open, also as it was filled, bytes */
    uint64_t file_bytes;      /**< read from SSD by this context itself since gm_open, bytes */
    uint64_t saved_bytes;     /**< saved since gm_open, bytes */
    char backend_reason[192]; /**< why this backend, "" when it was asked for; what slows it */
    char connection_reason[192]; /**< once not connected: why, and what to do */
} gm_info;

/**
 * Connects to the daemon and starts the context's threads. Waits for the daemon's greeting, at most
 * timeout_ms. `config` may be NULL: all defaults.
 * Errors: GM_EINVAL - a member out of range; GM_ENOTCONN - no daemon listens there; GM_EACCES - the
 * socket is not for this user; GM_ENOTSUP - backend cuda asked for and not available, or the daemon
 * speaks another version of the protocol; GM_EAGAIN - the daemon has its most clients; GM_ENOMEM.
 * gm_message() has the sentence.
 */
GM_API gm_status gm_open(const gm_config* config, gm_ctx** ctx);

/** Describes the context in `*info`. Requires: info->size set. Never waits. */
GM_API gm_status gm_query(gm_ctx* ctx, gm_info* info);

/**
 * Cancels the context's jobs, waits until none of them touches device memory any more, and frees
 * the context with all that was not freed: its jobs, files (drafts are discarded), streams and
 * device memory. NULL is fine.
 */
GM_API void gm_close(gm_ctx* ctx);

/** A word or two for a status, never NULL, static. */
GM_API const char* gm_strerror(gm_status status);

/**
 * The sentence that belongs to the last gm_ call that failed on this thread, "" when there was
 * none. Valid until this thread's next gm_ call.
 */
GM_API const char* gm_message(void);

/** GM_VERSION of the library that runs. */
GM_API uint32_t gm_version(void);

/* ---- files ---------------------------------------------------------------------------------- */

enum { GM_TIER_NONE = 0, GM_TIER_DRAM = 1, GM_TIER_SSD = 2 };

/** What gm_lookup tells of one path. */
typedef struct gm_stat {
    gm_status status; /**< GM_OK; GM_ENOENT - no such file, or still being written; GM_EACCES */
    uint32_t tier;    /**< GM_TIER_*: the fastest tier that holds the whole file */
    uint64_t size;    /**< bytes */
    uint64_t hits;    /**< uses of the file so far, without this look-up */
} gm_stat;

/**
 * Looks up `n` paths in one exchange with the daemon; paths are relative to the mount's root (a
 * leading slash is ignored). Pins nothing and counts as no use. Waits for the daemon.
 * Returns GM_OK when `stats[0..n)` is filled in; each has its own status.
 * Errors: GM_EINVAL, GM_ENOTCONN, GM_ETIMEDOUT - none was looked up.
 */
GM_API gm_status gm_lookup(gm_ctx* ctx, const char* const* paths, uint32_t n, gm_stat* stats);

/**
 * Tells the daemon what to do with the file or directory `path`, as setting its extended attribute
 * user.kvfs.`key` does (kvfs(1) and SEMANTICS.md have all): "pin" ("1", "0"); "ttl", seconds
 * without use after which it goes ("0": none); "priority" ("low", "normal", "high"); "evict"
 * ("all", "dram"); "prefetch" ("dram"), which does not wait for it. Waits for the daemon. Errors:
 * GM_ENOENT; GM_EACCES - not for this user to write, or only to be read; GM_EINVAL - the value does
 * not parse, and nothing has changed; GM_ENOTSUP - no such key; GM_EAGAIN - evict: it is open,
 * leased, pinned or being moved; GM_ENOSPC - prefetch: no room; GM_ENOTCONN.
 */
GM_API gm_status gm_set(gm_ctx* ctx, const char* path, const char* key, const char* value);

enum {
    GM_CREATE = 1u,   /**< a draft, to be saved into */
    GM_MAKE_DIRS = 2u /**< with GM_CREATE: make the directories on the way, mode 0755 */
};

/**
 * Opens a file to load from: `*size` becomes its size in bytes. Keeps no bytes in place by itself:
 * each job does that for its own time, so that an idle gm_file costs nothing.
 *
 * With GM_CREATE makes a draft of `*size` bytes (at least 1), a file that exists under no name, in
 * DRAM: gm_save fills it, gm_commit gives it its name, gm_file_close without commit discards it.
 * Its mode is 0666 less the umask that the process had at gm_open. May wait for room.
 *
 * `size` may be NULL without GM_CREATE. Waits for the daemon.
 * Errors: GM_ENOENT; GM_EACCES; GM_EINVAL - the path names a directory, or has ".." or a symlink in
 * it; GM_ENOSPC - no room, or more than one file may take; GM_EAGAIN - too many drafts;
 * GM_ETIMEDOUT; GM_ENOTCONN; GM_ENOMEM.
 */
GM_API gm_status gm_file_open(gm_ctx* ctx, const char* path, uint32_t flags, gm_file** file,
                              uint64_t* size);

/**
 * As gm_file_open with GM_CREATE, for a block that is of use only together with the one before it
 * in its prompt: `parent` is the path of that one's file. The cache then knows what builds on what
 * when it has to choose what goes. `flags`: 0 or GM_MAKE_DIRS; `size`: bytes, at least 1.
 *
 * `parent` is looked up now, and only a hint: NULL, "", what is no path, and a file that is not
 * there or not for this user to read, are all the same as none, and no error.
 */
GM_API gm_status gm_file_create(gm_ctx* ctx, const char* path, const char* parent, uint32_t flags,
                                uint64_t size, gm_file** file);

/**
 * Opens `n` files to load from in one exchange with the daemon. `files[i]` becomes NULL where
 * `stats[i].status` is not GM_OK. `stats` may be NULL.
 * Returns GM_OK also when some are missing. Errors: as gm_lookup, and then no file is open.
 */
GM_API gm_status gm_file_open_many(gm_ctx* ctx, const char* const* paths, uint32_t n,
                                   gm_file** files, gm_stat* stats);

/**
 * Closes. Jobs of the file go on. A draft that was not committed is discarded once its saves have
 * ended. NULL is fine. Never waits.
 */
GM_API void gm_file_close(gm_file* file);

/* ---- jobs ----------------------------------------------------------------------------------- */

/** A group of ranges that is waited for together: a layer, or a set of layers. */
#define GM_ALL_GROUPS 0xffffffffu

/** Bytes of a file, and where they go (load) or come from (save). */
typedef struct gm_range {
    uint64_t file_off; /**< bytes from the file's start */
    uint64_t len;      /**< bytes; 0 is done at once */
    gm_devptr dst;  /**< device address: destination of a load, source of a save; any alignment */
    uint32_t group; /**< lower groups are moved first; below 65536 */
    uint32_t tag;   /**< the caller's; not looked at */
} gm_range;

/**
 * Ranges of a paged KV cache, without listing them: piece (block b, layer l) lies in the file at
 * file_off + b * file_block_stride + l * file_layer_stride and in the device at
 * dev_base + block_ids[b] * dev_block_stride + l * dev_layer_stride. Its number, for gm_job_errors,
 * is b * n_layers + l; its group is l / layers_per_group. Keys and values that lie apart count as
 * two layers each, with layers_per_group = 2. Neither sum may wrap around (GM_EINVAL).
 */
typedef struct gm_grid {
    uint32_t size;              /**< sizeof(gm_grid) */
    uint32_t piece;             /**< bytes of one block in one layer */
    uint64_t file_off;          /**< bytes */
    uint64_t file_block_stride; /**< bytes */
    uint64_t file_layer_stride; /**< bytes */
    gm_devptr dev_base;
    uint64_t dev_block_stride; /**< bytes */
    uint64_t dev_layer_stride; /**< bytes */
    uint32_t n_blocks;
    uint32_t n_layers;
    uint32_t layers_per_group; /**< 0: 1 */
    uint32_t reserved;         /**< 0 */
    const int32_t* block_ids;  /**< n_blocks of them; NULL: 0, 1, 2, ... */
} gm_grid;

enum {
    GM_NOTIFY = 1u,       /**< put one gm_result into the completion queue when the job has ended */
    GM_NOTIFY_GROUPS = 2u /**< and one for each group when that has */
};

/** How a job is run. A NULL gm_opts is one of zeros. */
typedef struct gm_opts {
    uint32_t size;    /**< sizeof(gm_opts) */
    uint32_t flags;   /**< GM_NOTIFY* */
    int32_t priority; /**< higher goes first; default 0 */
    /** us from now: what is not under way by then ends with GM_ETIMEDOUT; 0: no deadline */
    uint32_t deadline_us;
    /** Load: dst is free, save: the data is there, once what is queued on this stream now has run;
     *  NULL: already. */
    gm_stream after;
    uint64_t cookie; /**< given back in gm_result */
} gm_opts;

/**
 * Starts to load `n` ranges of `file` into device memory. The file's bytes are held in place (a
 * lease) until the job has ended; of bytes on SSD the checksum is verified before any of them goes
 * to the device. Where several clients are connected, the daemon brings a file from SSD into DRAM
 * for all of them, if there is room, and a load takes it from there as it comes. Ranges may be in
 * any order, and overlap in the file. Where they overlap in the device, which is not looked for, it
 * is undefined whose bytes remain. Groups are moved in ascending order.
 *
 * `*job` is to be freed with gm_job_free. With `job` NULL the call waits and returns the job's
 * status. Else it never waits.
 * Errors, of the call: GM_EINVAL - also for one wrong range of many: at NULL, wrapping around in
 * the device, or of a group above 65535; GM_ENOMEM; GM_ENOTCONN; GM_EAGAIN - 65536 jobs have not
 * ended. Device addresses are the caller's word: `host` copies there as memcpy would, `cuda` fails
 * with GM_EDEVICE what its driver refuses.
 * What befalls single ranges (GM_ESHORT, GM_EEVICTED, GM_ESTALE, GM_ECHECKSUM, GM_EIO, GM_EDEVICE,
 * ...) is told by gm_job_errors; the job's and a group's status is that of the range that failed
 * first.
 */
GM_API gm_status gm_prefetch(gm_file* file, const gm_range* ranges, uint32_t n, const gm_opts* opts,
                             gm_job** job);

/** As gm_prefetch, for the pieces of a grid. */
GM_API gm_status gm_prefetch_grid(gm_file* file, const gm_grid* grid, const gm_opts* opts,
                                  gm_job** job);

/**
 * As gm_prefetch, of several files of one context as one job: the first n_ranges[0] of `ranges` are
 * of files[0], the next n_ranges[1] of files[1], and so on. All leases are taken in one exchange
 * with the daemon.
 */
GM_API gm_status gm_prefetch_many(gm_ctx* ctx, gm_file* const* files, const uint32_t* n_ranges,
                                  uint32_t n_files, const gm_range* ranges, const gm_opts* opts,
                                  gm_job** job);

/**
 * Starts to copy device memory into `n` ranges of a draft. Otherwise as gm_prefetch; ranges that
 * overlap in the file are GM_EINVAL. Where those of two saves do that run at a time, it is
 * undefined whose bytes remain. Bytes that no save writes are undefined.
 */
GM_API gm_status gm_save(gm_file* file, const gm_range* ranges, uint32_t n, const gm_opts* opts,
                         gm_job** job);

/**
 * Starts to publish a draft: once the saves that were started before have ended, the file appears
 * whole under its name, replacing an older one, or, when one of them failed, not at all. Once; the
 * gm_file is then good for gm_file_close only. `flags`: 0.
 * Errors, of the call: GM_EINVAL - no draft, or committed before; GM_EAGAIN - 65536 jobs have not
 * ended: it may be called again; GM_ENOTCONN. Of the job: that of the failed
 * save; GM_EACCES, GM_ENOENT - the directory; GM_ENOSPC; GM_EIO - the daemon went away: the file
 * may or may not have been published, whole.
 */
GM_API gm_status gm_commit(gm_file* file, uint32_t flags, gm_job** job);

/**
 * Makes `stream` wait until `group` (or GM_ALL_GROUPS) has ended, well or not: the engine checks
 * gm_job_poll before it trusts the bytes. What is queued on the stream afterwards sees them.
 * May wait for the group's copies to be handed to the device, not for them to land. `flags`: 0.
 * Errors: GM_EINVAL - no such group or stream; GM_EDEVICE.
 */
GM_API gm_status gm_job_wait_stream(gm_job* job, uint32_t group, gm_stream stream, uint32_t flags);

/** The status of `group`, or of the whole job (GM_ALL_GROUPS): GM_PENDING until it has ended. */
GM_API gm_status gm_job_poll(gm_job* job, uint32_t group);

/**
 * Waits until `group` (or GM_ALL_GROUPS) has ended, at most `timeout_us` (below 0: without bound).
 * Returns its status, or GM_PENDING when the time has passed.
 */
GM_API gm_status gm_job_wait(gm_job* job, uint32_t group, int64_t timeout_us);

/**
 * The ranges that have failed so far: `idx[i]` is a range's place in the call's array, `st[i]` its
 * status, in ascending order, at most `cap` of them; `*n` becomes how many there are. `idx` and
 * `st` may be NULL when cap is 0.
 */
GM_API gm_status gm_job_errors(gm_job* job, uint32_t* idx, gm_status* st, uint32_t cap,
                               uint32_t* n);

/** What is not handed to the device yet gets this priority. */
GM_API gm_status gm_job_reprioritize(gm_job* job, int32_t priority);

/**
 * Asks for the end: what is not handed to the device yet ends with GM_ECANCELLED, the rest as it
 * would have. Never waits, and frees no memory early: device memory is the caller's again when
 * gm_job_wait or gm_job_poll say that the job has ended.
 */
GM_API gm_status gm_job_cancel(gm_job* job);

/**
 * Gives the handle back. A job that has not ended goes on without it; nobody can then learn when
 * its device memory is free, except through GM_NOTIFY. NULL is fine. Never waits.
 */
GM_API void gm_job_free(gm_job* job);

/** One entry of the completion queue. */
typedef struct gm_result {
    uint64_t cookie;  /**< of gm_opts */
    gm_job* job;      /**< to compare; valid unless it was freed */
    uint32_t group;   /**< GM_ALL_GROUPS: the whole job, its last result */
    gm_status status; /**< never GM_PENDING */
    uint64_t bytes;   /**< that were moved, of the group or the job */
} gm_result;

/**
 * A descriptor that is readable while the completion queue has entries, for poll and epoll. The
 * context's own: not to be read, written or closed.
 */
GM_API int gm_cq_fd(gm_ctx* ctx);

/** Takes up to `cap` entries. Never waits. Returns how many, or GM_EINVAL. */
GM_API int gm_cq_reap(gm_ctx* ctx, gm_result* results, int cap);

/**
 * The daemon's statistics as JSON text. `*len`: bytes of `text` before the call, bytes of the JSON
 * with its final NUL after it. Waits for the daemon.
 * Errors: GM_ESHORT - `*len` says how many bytes are needed; GM_ENOTCONN; GM_ETIMEDOUT.
 */
GM_API gm_status gm_stats_json(gm_ctx* ctx, char* text, size_t* len);

/* ---- device memory, for callers that have no other way to it -------------------------------- */

/** `bytes` (at least 1) of memory on the context's device, aligned to 256. Errors: GM_ENOMEM. */
GM_API gm_status gm_device_alloc(gm_ctx* ctx, uint64_t bytes, gm_devptr* ptr);

/** Frees what gm_device_alloc gave; no job may use it. 0 is fine. Errors: GM_EINVAL - not its. */
GM_API gm_status gm_device_free(gm_ctx* ctx, gm_devptr ptr);

/**
 * Copies host memory to the device, and back. `stream` NULL: done when the call returns; else
 * queued there, and the host memory must stay until it has run. Errors: GM_EINVAL; GM_EDEVICE.
 */
GM_API gm_status gm_device_copy_in(gm_ctx* ctx, gm_devptr dst, const void* src, uint64_t bytes,
                                   gm_stream stream);
GM_API gm_status gm_device_copy_out(gm_ctx* ctx, void* dst, gm_devptr src, uint64_t bytes,
                                    gm_stream stream);

/** A new stream: what is queued on it runs in order. Errors: GM_ENOMEM, GM_EAGAIN. */
GM_API gm_status gm_stream_create(gm_ctx* ctx, gm_stream* stream);

/** Waits until all that is queued on the stream has run. */
GM_API gm_status gm_stream_sync(gm_ctx* ctx, gm_stream stream);

/** gm_stream_sync, and frees the stream. Errors: GM_EINVAL - not made by gm_stream_create. */
GM_API gm_status gm_stream_destroy(gm_ctx* ctx, gm_stream stream);

#ifdef __cplusplus
}
#endif

#endif /* GPUMAP_H */
