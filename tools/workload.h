#pragma once
#include <cstdint>
#include <vector>

#include "tools/trace.h"

namespace kvfs {

/// A workload of multi-turn conversations, for when no trace is at hand.
struct WorkloadOptions {
    std::uint64_t requests = 0;
    std::uint64_t seed = 1;
    std::uint64_t assistants = 3;         ///< system prompts; each conversation has one of them
    std::uint64_t system_blocks = 4;      ///< of a system prompt
    std::uint64_t conversations = 64;     ///< open at a time; the one that was silent longest ends
    std::uint64_t blocks_a_turn_max = 6;  ///< that a turn adds: the answer before and the question
    std::uint64_t blocks_max = 96;        ///< of a conversation; a longer one ends
    double turns_mean = 6;                ///< of a conversation
    double requests_a_s = 4;              ///< arrivals are Poisson
};

/// The same options give the same requests, on every machine: the prompt of a turn is the whole
/// conversation so far, recent conversations go on more often than old ones, and blocks of one seed
/// are not those of another.
std::vector<TraceRequest> generate_workload(const WorkloadOptions& options);

}  // namespace kvfs
