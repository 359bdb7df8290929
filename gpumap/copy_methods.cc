#include "gpumap/copy_methods.h"

#include <algorithm>
#include <utility>

namespace kvfs::gpumap {
namespace {

/// Puts copies together that follow each other on both sides.
void coalesce(std::vector<LocatedCopy>& copies) {
    std::size_t kept = 0;
    for (std::size_t i = 1; i < copies.size(); ++i) {
        LocatedCopy& last = copies[kept];
        const LocatedCopy& next = copies[i];
        if (last.pin == next.pin && last.copy.host + last.copy.bytes == next.copy.host &&
            last.copy.device + last.copy.bytes == next.copy.device)
            last.copy.bytes += next.copy.bytes;
        else
            copies[++kept] = next;
    }
    if (!copies.empty()) copies.resize(kept + 1);
}

CopyMethod method_for_small(const std::vector<LocatedCopy>& small, const CopyAbilities& abilities,
                            const CudaOptions& options) {
    if (!abilities.kernels || small.empty() || small.size() > abilities.kernel_pieces)
        return CopyMethod::batch;
    const auto runs = runs_of(small);
    const bool fits = runs.back().at + runs.back().bytes <= abilities.stage_bytes;
    if (options.method == CopyMethod::stage) return fits ? CopyMethod::stage : CopyMethod::gather;
    if (options.method == CopyMethod::gather) return CopyMethod::gather;
    if (small.size() < options.few) return CopyMethod::batch;
    std::uint64_t bytes = 0;
    for (const HostRun& run : runs) bytes += run.bytes;
    return fits && bytes / runs.size() >= options.run_bytes ? CopyMethod::stage
                                                            : CopyMethod::gather;
}

}  // namespace

std::vector<HostRun> runs_of(const std::vector<LocatedCopy>& copies) {
    std::vector<HostRun> runs;
    std::uint64_t pin = 0;
    for (const LocatedCopy& one : copies) {
        // Ranges may overlap in the file: what is read twice is staged once.
        if (!runs.empty() && one.pin == pin &&
            one.copy.host <= runs.back().host + runs.back().bytes) {
            const auto within = static_cast<std::uint64_t>(one.copy.host - runs.back().host);
            runs.back().bytes = std::max(runs.back().bytes, within + one.copy.bytes);
            continue;
        }
        std::uint64_t at = 0;
        if (!runs.empty()) {
            at = runs.back().at + runs.back().bytes;
            at = (at + kRunAlignment - 1) / kRunAlignment * kRunAlignment;
        }
        runs.push_back({one.copy.host, one.copy.bytes, at});
        pin = one.pin;
    }
    return runs;
}

CopyChoice choose(Direction direction, std::vector<LocatedCopy> copies,
                  const CopyAbilities& abilities, const CudaOptions& options) {
    coalesce(copies);
    CopyChoice choice;
    choice.batched.reserve(copies.size());
    // From the device the copy engine is as fast as a kernel, and takes nothing from the others.
    const bool by_kernel = direction == Direction::in && abilities.kernels &&
                           options.method != CopyMethod::copies &&
                           options.method != CopyMethod::batch;
    const bool all_small =
        options.method == CopyMethod::stage || options.method == CopyMethod::gather;
    for (const LocatedCopy& one : copies) {
        if (one.pin == 0)
            choice.one_by_one.push_back(one.copy);
        else if (by_kernel && (all_small || one.copy.bytes < options.small_bytes))
            choice.small.push_back(one);
        else
            choice.batched.push_back(one.copy);
    }
    std::sort(choice.small.begin(), choice.small.end(),
              [](const LocatedCopy& a, const LocatedCopy& b) { return a.copy.host < b.copy.host; });
    choice.small_method = method_for_small(choice.small, abilities, options);
    if (choice.small_method == CopyMethod::batch) {
        for (const LocatedCopy& one : choice.small) choice.batched.push_back(one.copy);
        choice.small.clear();
    }
    const bool one_by_one =
        !abilities.batch || options.method == CopyMethod::copies ||
        (options.method == CopyMethod::automatic && choice.batched.size() < options.few);
    if (one_by_one) {
        choice.one_by_one.insert(choice.one_by_one.end(), choice.batched.begin(),
                                 choice.batched.end());
        choice.batched.clear();
    }
    return choice;
}

}  // namespace kvfs::gpumap
