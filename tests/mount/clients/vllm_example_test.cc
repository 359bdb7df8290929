// vLLM's ExampleConnector: a directory a prompt, a safetensors file a layer, loaded by mmap, and a
// metadata.json that is replaced.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/client.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

constexpr std::size_t kLayer = 1 << 20;
constexpr int kLayers = 8;

std::string layer_path(const std::string& prompt, int layer) {
    return prompt + "/model.layers." + std::to_string(layer) + ".self_attn.attn.safetensors";
}

bool save(const std::string& prompt, unsigned seed, int rank) {
    std::filesystem::create_directories(prompt);
    for (int layer = 0; layer < kLayers; ++layer) {
        const std::string bytes = pattern(kLayer, seed * 100 + static_cast<unsigned>(layer));
        std::ofstream file(layer_path(prompt, layer), std::ios::binary | std::ios::trunc);
        KVFS_HOLD(file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())));
    }
    const std::string tmp = prompt + "/metadata.json." + std::to_string(rank);
    std::ofstream(tmp) << "{\"layers\": 8}";
    KVFS_HOLD(::rename(tmp.c_str(), (prompt + "/metadata.json").c_str()) == 0);
    return true;
}

bool load(const std::string& prompt, unsigned seed) {
    KVFS_HOLD(std::filesystem::is_directory(prompt));
    KVFS_HOLD(read_file(prompt + "/metadata.json") == "{\"layers\": 8}");
    for (int layer = 0; layer < kLayers; ++layer) {
        const int fd = ::open(layer_path(prompt, layer).c_str(), O_RDONLY | O_CLOEXEC);
        KVFS_HOLD(fd >= 0);
        void* map = ::mmap(nullptr, kLayer, PROT_READ, MAP_PRIVATE, fd, 0);
        ::close(fd);
        KVFS_HOLD(map != MAP_FAILED);
        const std::string bytes = pattern(kLayer, seed * 100 + static_cast<unsigned>(layer));
        const bool same = std::memcmp(map, bytes.data(), kLayer) == 0;
        ::munmap(map, kLayer);
        KVFS_HOLD(same);
    }
    return true;
}

}  // namespace

TestSuite(client_vllm_example, .init = mount_up, .fini = mount_down, .timeout = 120);

Test(client_vllm_example, two_engines_save_prompts_by_layer_and_map_them) {
    in_two_processes([](int rank) {
        for (unsigned i = 0; i < 3; ++i) {
            const unsigned seed = 2 * i + static_cast<unsigned>(rank);
            const std::string prompt = mounted->path("prompt" + std::to_string(seed));
            KVFS_HOLD(save(prompt, seed, rank));
            KVFS_HOLD(load(prompt, seed));
        }
        return true;
    });
}
