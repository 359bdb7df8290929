#include "gpumap/staging.h"

#include <algorithm>
#include <utility>

namespace kvfs::gpumap {

Result<Staging> Staging::create(std::uint64_t bytes, Device& device) {
    auto memory = Mapping::anonymous(std::max<std::uint64_t>(bytes / kChunkBytes, 1) * kChunkBytes);
    if (!memory) return memory.error();
    auto pin = device.pin(memory->bytes(), true, -1);
    if (!pin) return pin.error();
    return Staging(std::move(*memory), std::move(*pin));
}

Staging::Run Staging::take(std::uint32_t count) {
    const auto slots = static_cast<std::uint32_t>(taken_.size());
    Run best;
    for (std::uint32_t step = 0, at = next_; step < slots && best.count < count; ++step) {
        if (at == slots) at = 0;
        Run run{at, 0};
        while (run.count < count && at < slots && !taken_[at]) ++run.count, ++at;
        if (run.count > best.count) best = run;
        if (run.count > 0)
            step += run.count - 1;
        else
            ++at;
    }
    for (std::uint32_t i = 0; i < best.count; ++i) taken_[best.first + i] = true;
    if (best.count > 0) next_ = best.first + best.count;
    return best;
}

void Staging::give_back(Run run) {
    for (std::uint32_t i = 0; i < run.count; ++i) taken_[run.first + i] = false;
}

}  // namespace kvfs::gpumap
