#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tools/trace.h"

namespace kvfs {

/// A trace made ready for a simulation: its blocks numbered from 1 on in their first order.
struct SimulatedTrace {
    std::vector<std::vector<std::uint32_t>> requests;
    std::vector<std::uint32_t> parents;  ///< of each block, by its number; 0: none
    std::vector<std::uint64_t> tokens;   ///< of each request's prompt
    std::uint64_t references = 0;
    std::uint64_t input_tokens = 0;
    std::uint64_t block_tokens = 0;
    std::uint64_t repeated = 0;  ///< blocks twice in a request, left out the second time
    std::uint64_t moved = 0;     ///< references behind another block than the first time

    std::uint64_t blocks() const { return parents.size() - 1; }  ///< different ones
};

/// `block_tokens` 0: the power of two that fits the trace best.
SimulatedTrace prepare(const std::vector<TraceRequest>& requests, std::uint64_t block_tokens);

/// Blocks that fit a tier. Without DRAM, there is one tier.
struct Room {
    std::uint64_t dram = 0;
    std::uint64_t ssd = 0;
};

struct SimulationResult {
    std::uint64_t hits = 0;        ///< blocks read: there, as were all before them in the request
    std::uint64_t hit_tokens = 0;  ///< the same in tokens: the last block may not be full
    std::uint64_t dram_hits = 0;   ///< those of `hits` that were in DRAM
    std::uint64_t written = 0;     ///< blocks that came into the SSD tier
    double seconds = 0;

    /// So many blocks of a request were hits.
    void count(std::uint64_t blocks, const SimulatedTrace& trace, std::size_t request);
};

inline constexpr const char* kOptimum = "belady";

/// The tiers, each under a policy of fs/cache; or the best of all: `belady`, which knows what is to
/// come, and keeps what is used soonest (of a request's blocks the first, so that what it has can
/// be used), in one tier as large as both. Once a request is served, each tier is offered those of
/// its blocks that it does not have, and takes what its policy admits: as in the daemon, which
/// reads into DRAM what was only on SSD, and writes to SSD what is new without waiting for DRAM to
/// be full. What was refused is offered again at its next use. Requires: such a policy; room for a
/// block.
SimulationResult simulate(const SimulatedTrace& trace, const std::string& policy, Room room);

}  // namespace kvfs
