// llama.cpp's slot files: stdio, many small writes to the final name, written again and again.
#include <criterion/criterion.h>

#include <algorithm>
#include <cstdio>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kState = 9 << 20;

bool save(const std::string& path, unsigned seed) {
    const std::string bytes = pattern(kState, seed);
    FILE* file = std::fopen(path.c_str(), "wb");
    KVFS_HOLD(file != nullptr);
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t piece =
            std::min<std::size_t>(bytes.size() - at, at % 3 == 0 ? 8 : 70'001);
        KVFS_HOLD(std::fwrite(bytes.data() + at, 1, piece, file) == piece);
        at += piece;
    }
    KVFS_HOLD(std::fclose(file) == 0);
    return true;
}

bool restore(const std::string& path, unsigned seed) {
    std::string bytes(kState + 1, '\0');
    FILE* file = std::fopen(path.c_str(), "rb");
    KVFS_HOLD(file != nullptr);
    KVFS_HOLD(std::fread(bytes.data(), 1, bytes.size(), file) == kState);
    std::fclose(file);
    bytes.resize(kState);
    KVFS_HOLD(bytes == pattern(kState, seed));
    return true;
}

}  // namespace

TestSuite(client_llama_cpp, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_llama_cpp, two_servers_save_and_restore_their_slots) {
    in_two_processes([](int rank) {
        const std::string path = mounted->path("slot" + std::to_string(rank) + ".bin");
        for (unsigned turn = 0; turn < 5; ++turn) {
            const unsigned seed = turn * 2 + static_cast<unsigned>(rank);
            KVFS_HOLD(save(path, seed));
            KVFS_HOLD(restore(path, seed));
        }
        return true;
    });
}
