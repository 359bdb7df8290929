#pragma once
#include <criterion/criterion.h>

#include <cstdint>
#include <string>

#include "gpumap.h"

namespace kvfs::tests {

/// A client of the daemon at `socket`, on the host backend: any memory is the device's there.
inline gm_ctx* connect_on_host(const std::string& socket) {
    gm_config config{};
    config.size = sizeof config;
    config.backend = GM_BACKEND_HOST;
    config.socket_path = socket.c_str();
    gm_ctx* ctx = nullptr;
    cr_assert_eq(gm_open(&config, &ctx), GM_OK, "%s", gm_message());
    return ctx;
}

inline gm_devptr address(std::string& bytes) { return reinterpret_cast<gm_devptr>(bytes.data()); }

/// Saves `bytes` as `path`, and makes the directories that it lacks.
inline gm_status save(gm_ctx* ctx, const std::string& path, std::string bytes) {
    gm_file* draft = nullptr;
    std::uint64_t size = bytes.size();
    gm_status status = gm_file_open(ctx, path.c_str(), GM_CREATE | GM_MAKE_DIRS, &draft, &size);
    if (status != GM_OK) return status;
    const gm_range range{0, size, address(bytes), 0, 0};
    status = gm_save(draft, &range, 1, nullptr, nullptr);
    if (status == GM_OK) status = gm_commit(draft, 0, nullptr);
    gm_file_close(draft);
    return status;
}

}  // namespace kvfs::tests
