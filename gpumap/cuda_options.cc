#include "gpumap/cuda_options.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace kvfs::gpumap {
namespace {

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    for (const char digit : text) {
        if (digit < '0' || digit > '9' || value > (1ULL << 40)) break;
        value = value * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    return value;
}

CopyMethod method_named(std::string_view name) {
    if (name == "copies") return CopyMethod::copies;
    if (name == "batch") return CopyMethod::batch;
    if (name == "stage") return CopyMethod::stage;
    if (name == "gather") return CopyMethod::gather;
    return CopyMethod::automatic;
}

}  // namespace

CudaOptions CudaOptions::from_environment() {
    CudaOptions options;
    const char* set = std::getenv("KVFS_CUDA");
    std::string_view left = set != nullptr ? set : "";
    while (!left.empty()) {
        const std::string_view item = left.substr(0, left.find(','));
        left.remove_prefix(std::min(item.size() + 1, left.size()));
        const std::string_view name = item.substr(0, item.find('='));
        const std::string_view value = item.substr(std::min(name.size() + 1, item.size()));
        if (name == "method") options.method = method_named(value);
        if (name == "small") options.small_bytes = number(value);
        if (name == "few") options.few = number(value);
        if (name == "run") options.run_bytes = number(value);
        if (name == "slice") options.slice = std::clamp<std::size_t>(number(value), 1, kSliceMax);
        if (name == "kernels") options.kernels = value != "0";
    }
    return options;
}

}  // namespace kvfs::gpumap
