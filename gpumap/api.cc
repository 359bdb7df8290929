// gm_* of contexts, files, statistics and device memory. What each does stands in gpumap.h.

#include <algorithm>
#include <cstring>
#include <limits>

#include "gpumap.h"
#include "gpumap/api_guard.h"
#include "gpumap/context.h"
#include "gpumap/signals.h"

namespace gpumap = kvfs::gpumap;
using gpumap::fail;
using gpumap::guarded;
using gpumap::invalid;

namespace {

gm_config with_defaults(const gm_config* given) {
    gm_config config{};
    if (given != nullptr)
        std::memcpy(&config, given, std::min<std::size_t>(given->size, sizeof config));
    config.size = sizeof config;
    if (config.staging_bytes == 0) config.staging_bytes = 64 << 20;
    if (config.inflight_mib == 0) config.inflight_mib = 32;
    if (config.io_depth == 0) config.io_depth = 24;
    if (config.timeout_ms == 0) config.timeout_ms = 60'000;
    // What poll() takes.
    config.timeout_ms = std::min<std::uint32_t>(config.timeout_ms, std::numeric_limits<int>::max());
    return config;
}

gm_status done(const kvfs::Status& status) { return status ? GM_OK : fail(status.error()); }

}  // namespace

extern "C" {

uint32_t gm_version(void) { return GM_VERSION; }

const char* gm_message(void) {
    try {
        return gpumap::message();
    } catch (...) {
        return "";
    }
}

const char* gm_strerror(gm_status status) {
    static const char* const names[] = {
        "no error",          "invalid argument",  "no such file",    "beyond the end",
        "evicted",           "checksum mismatch", "I/O error",       "cancelled",
        "device error",      "out of memory",     "try again later", "timed out",
        "file was replaced", "not supported",     "access denied",   "no room in the cache",
        "daemon is gone"};
    if (status == GM_PENDING) return "pending";
    constexpr int kNames = std::size(names);
    return status <= 0 && status > -kNames ? names[-status] : "unknown status";
}

gm_status gm_open(const gm_config* config, gm_ctx** ctx) {
    return guarded([&] {
        if (ctx == nullptr) return invalid("gm_open: ctx is NULL");
        *ctx = nullptr;
        if (config != nullptr && !gpumap::is_size(config->size))
            return invalid("gm_open: config->size is not set");
        auto context = gpumap::Context::open(with_defaults(config));
        if (!context) return fail(context.error());
        *ctx = new gm_ctx{std::move(*context)};
        return gm_status{GM_OK};
    });
}

gm_status gm_query(gm_ctx* ctx, gm_info* info) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || info == nullptr) return invalid("gm_query: an argument is NULL");
        if (!gpumap::is_size(info->size)) return invalid("gm_query: info->size is not set");
        gm_info whole{};
        ctx->context->describe(whole);
        whole.size = info->size;
        std::memcpy(info, &whole, std::min<std::size_t>(info->size, sizeof whole));
        return gm_status{GM_OK};
    });
}

void gm_close(gm_ctx* ctx) {
    guarded(ctx, [&] {
        delete ctx;
        return gm_status{GM_OK};
    });
}

gm_status gm_lookup(gm_ctx* ctx, const char* const* paths, uint32_t n, gm_stat* stats) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || (n > 0 && (paths == nullptr || stats == nullptr)))
            return invalid("gm_lookup: an argument is NULL");
        const auto found = ctx->context->look_up({paths, n}, nullptr);
        if (!found) return fail(found.error());
        std::copy(found->begin(), found->end(), stats);
        return gm_status{GM_OK};
    });
}

gm_status gm_set(gm_ctx* ctx, const char* path, const char* key, const char* value) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || path == nullptr || key == nullptr || value == nullptr)
            return invalid("gm_set: an argument is NULL");
        const auto set = ctx->context->set(path, key, value);
        return set ? gm_status{GM_OK} : fail(set.error());
    });
}

gm_status gm_file_open_many(gm_ctx* ctx, const char* const* paths, uint32_t n, gm_file** files,
                            gm_stat* stats) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || (n > 0 && (paths == nullptr || files == nullptr)))
            return invalid("gm_file_open_many: an argument is NULL");
        std::fill_n(files, n, nullptr);
        std::vector<gpumap::FileVersion> versions;
        const auto found = ctx->context->look_up({paths, n}, &versions);
        if (!found) return fail(found.error());
        for (uint32_t i = 0; i < n; ++i) {
            if ((*found)[i].status == GM_OK)
                files[i] = ctx->context->add_file(std::move(versions[i]));
        }
        if (stats != nullptr) std::copy(found->begin(), found->end(), stats);
        return gm_status{GM_OK};
    });
}

gm_status gm_file_open(gm_ctx* ctx, const char* path, uint32_t flags, gm_file** file,
                       uint64_t* size) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || path == nullptr || file == nullptr)
            return invalid("gm_file_open: an argument is NULL");
        *file = nullptr;
        if ((flags & ~(GM_CREATE | GM_MAKE_DIRS)) != 0 || flags == GM_MAKE_DIRS)
            return invalid("gm_file_open: unknown flags");
        if ((flags & GM_CREATE) != 0) {
            if (size == nullptr || *size == 0)
                return invalid("gm_file_open: GM_CREATE needs a size");
            return gm_file_create(ctx, path, nullptr, flags & GM_MAKE_DIRS, *size, file);
        }
        gm_stat stat{};
        const gm_status status = gm_file_open_many(ctx, &path, 1, file, &stat);
        if (status != GM_OK) return status;
        if (stat.status != GM_OK)
            return fail(stat.status, std::string(path) + ": " + gm_strerror(stat.status));
        if (size != nullptr) *size = stat.size;
        return gm_status{GM_OK};
    });
}

gm_status gm_file_create(gm_ctx* ctx, const char* path, const char* parent, uint32_t flags,
                         uint64_t size, gm_file** file) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || path == nullptr || file == nullptr)
            return invalid("gm_file_create: an argument is NULL");
        *file = nullptr;
        if ((flags & ~GM_MAKE_DIRS) != 0) return invalid("gm_file_create: unknown flags");
        if (size == 0) return invalid("gm_file_create: a file without bytes");
        const auto draft = ctx->context->create(path, parent != nullptr ? parent : "", size,
                                                (flags & GM_MAKE_DIRS) != 0);
        if (!draft) return fail(draft.error());
        *file = *draft;
        return gm_status{GM_OK};
    });
}

void gm_file_close(gm_file* file) {
    guarded(file, [&] {
        if (file != nullptr) file->context->close_file(file);
        return gm_status{GM_OK};
    });
}

int gm_cq_fd(gm_ctx* ctx) {
    return guarded(ctx, [&] {
        if (ctx == nullptr) return invalid("gm_cq_fd: ctx is NULL");
        return ctx->context->completions().fd();
    });
}

int gm_cq_reap(gm_ctx* ctx, gm_result* results, int cap) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || cap < 0 || (cap > 0 && results == nullptr))
            return invalid("gm_cq_reap: an argument is NULL, or cap is negative");
        return ctx->context->completions().reap(results, cap);
    });
}

gm_status gm_stats_json(gm_ctx* ctx, char* text, size_t* len) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || len == nullptr || (text == nullptr && *len > 0))
            return invalid("gm_stats_json: an argument is NULL");
        kvfs::Status connected = ctx->context->check_connected();
        if (!connected) return fail(connected.error());
        const auto json = ctx->context->daemon().statistics();
        if (!json) return fail(json.error());
        const size_t room = *len;
        *len = json->size() + 1;
        if (room < *len) return fail(GM_ESHORT, "gm_stats_json: the buffer is too small");
        std::memcpy(text, json->c_str(), *len);
        return gm_status{GM_OK};
    });
}

gm_status gm_device_alloc(gm_ctx* ctx, uint64_t bytes, gm_devptr* ptr) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || ptr == nullptr || bytes == 0)
            return invalid("gm_device_alloc: an argument is NULL, or no bytes");
        const auto memory = ctx->context->device().allocate(bytes);
        if (!memory) return fail(memory.error());
        *ptr = *memory;
        return gm_status{GM_OK};
    });
}

gm_status gm_device_free(gm_ctx* ctx, gm_devptr ptr) {
    return guarded(ctx, [&] {
        if (ctx == nullptr) return invalid("gm_device_free: ctx is NULL");
        if (ptr == 0) return gm_status{GM_OK};
        return done(ctx->context->device().free(ptr));
    });
}

gm_status gm_device_copy_in(gm_ctx* ctx, gm_devptr dst, const void* src, uint64_t bytes,
                            gm_stream stream) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || (bytes > 0 && (dst == 0 || src == nullptr)))
            return invalid("gm_device_copy_in: an argument is NULL");
        if (bytes == 0) return gm_status{GM_OK};
        // Direction::in only reads there.
        auto* host = static_cast<std::byte*>(const_cast<void*>(src));
        return done(ctx->context->device().copy(gpumap::Direction::in, {dst, host, bytes}, stream));
    });
}

gm_status gm_device_copy_out(gm_ctx* ctx, void* dst, gm_devptr src, uint64_t bytes,
                             gm_stream stream) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || (bytes > 0 && (dst == nullptr || src == 0)))
            return invalid("gm_device_copy_out: an argument is NULL");
        if (bytes == 0) return gm_status{GM_OK};
        auto* host = static_cast<std::byte*>(dst);
        return done(
            ctx->context->device().copy(gpumap::Direction::out, {src, host, bytes}, stream));
    });
}

gm_status gm_stream_create(gm_ctx* ctx, gm_stream* stream) {
    return guarded(ctx, [&] {
        if (ctx == nullptr || stream == nullptr)
            return invalid("gm_stream_create: an argument is NULL");
        const gpumap::SignalsBlocked blocked;
        const auto made = ctx->context->device().create_stream();
        if (!made) return fail(made.error());
        *stream = *made;
        return gm_status{GM_OK};
    });
}

gm_status gm_stream_sync(gm_ctx* ctx, gm_stream stream) {
    return guarded(ctx, [&] {
        if (ctx == nullptr) return invalid("gm_stream_sync: ctx is NULL");
        return done(ctx->context->device().sync_stream(stream));
    });
}

gm_status gm_stream_destroy(gm_ctx* ctx, gm_stream stream) {
    return guarded(ctx, [&] {
        if (ctx == nullptr) return invalid("gm_stream_destroy: ctx is NULL");
        return done(ctx->context->device().destroy_stream(stream));
    });
}

}  // extern "C"
