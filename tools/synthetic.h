#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/trace.h"

namespace kvfs {

/// Traces of kinds of service that the one at hand may not show, for choosing an eviction policy:
///     chat    conversations that grow, some short and some long, below a few system prompts
///     agents  few large system prompts, many short steps that add what a tool said
///     rag     a system prompt, one or two of many documents (some far more popular), a question
///     scans   chat, and every third request is a long prompt that never comes again
/// The same arguments give the same requests on every machine. No requests for an unknown kind.
std::vector<TraceRequest> generate_synthetic(std::string_view kind, std::uint64_t requests,
                                             std::uint64_t block_tokens, std::uint64_t seed);
/// "chat, agents, rag, scans"
std::string synthetic_kinds();

}  // namespace kvfs
