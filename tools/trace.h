#pragma once
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "fs/base/result.h"

namespace kvfs {

/// Tokens in one block of a trace: equal ids mean equal blocks with equal blocks before them.
inline constexpr std::uint64_t kBlockTokens = 512;

/// One request to an LLM, as far as its KV cache is concerned.
struct TraceRequest {
    double timestamp_ms = 0;
    std::uint64_t input_tokens = 0;
    std::uint64_t output_tokens = 0;      ///< 0 where the trace does not say
    std::vector<std::uint64_t> hash_ids;  ///< blocks of the prompt, from its start

    bool operator==(const TraceRequest&) const = default;
};

/// Reads the trace format published with Mooncake: JSON lines with `timestamp` (ms),
/// `input_length` (tokens), perhaps `output_length`, and `hash_ids`. At most `limit` requests (0:
/// all); nothing is read behind them. No request may have more blocks of `block_tokens` (0: of any
/// size) than its prompt fills. Empty lines are skipped. `name` is for messages. Errors: EBADMSG -
/// "NAME:LINE: reason", of the first line that is not such an object;
///         EIO - reading failed.
Result<std::vector<TraceRequest>> read_trace(std::istream& in, const std::string& name,
                                             std::uint64_t limit,
                                             std::uint64_t block_tokens = kBlockTokens);

/// One line of it. Errors: EBADMSG - the reason.
Result<TraceRequest> parse_request(const std::string& line,
                                   std::uint64_t block_tokens = kBlockTokens);

}  // namespace kvfs
