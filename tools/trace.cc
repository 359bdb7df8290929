#include "tools/trace.h"

#include <fmt/format.h>

#include <cmath>
#include <istream>
#include <nlohmann/json.hpp>

namespace kvfs {
namespace {

/// Longer prompts than any model takes: a line beyond these bounds is damage, not data.
constexpr std::uint64_t kTokensMax = 1ULL << 30;
constexpr std::size_t kLineBytesMax = 64 << 20;

using Object = nlohmann::json;

Error bad(std::string reason) { return {EBADMSG, std::move(reason)}; }

/// JSON numbers may be written as 500.0: integral values are what counts.
Result<std::uint64_t> tokens(const Object& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) return bad(fmt::format("no '{}'", key));
    const double count = found->is_number() ? found->get<double>() : -1;
    if (!(count >= 0 && count <= static_cast<double>(kTokensMax)) || count != std::floor(count))
        return bad(fmt::format("'{}' is {}, not a number of tokens", key, found->dump()));
    return static_cast<std::uint64_t>(count);
}

Result<double> timestamp(const Object& object) {
    const auto found = object.find("timestamp");
    if (found == object.end()) return bad("no 'timestamp'");
    if (!found->is_number() || !std::isfinite(found->get<double>()) || found->get<double>() < 0)
        return bad(fmt::format("'timestamp' is {}, not milliseconds", found->dump()));
    return found->get<double>();
}

Result<std::vector<std::uint64_t>> hash_ids(const Object& object, std::uint64_t input_tokens,
                                            std::uint64_t block_tokens) {
    const auto found = object.find("hash_ids");
    if (found == object.end()) return bad("no 'hash_ids'");
    if (!found->is_array()) return bad("'hash_ids' is not an array");
    if (block_tokens == 0) block_tokens = 1;
    const std::uint64_t blocks_max = (input_tokens + block_tokens - 1) / block_tokens;
    if (found->size() > blocks_max)
        return bad(fmt::format("{} hash_ids for {} tokens: at most {} blocks of {}", found->size(),
                               input_tokens, blocks_max, block_tokens));
    std::vector<std::uint64_t> ids;
    ids.reserve(found->size());
    for (const Object& id : *found) {
        if (!id.is_number_unsigned())
            return bad(fmt::format("hash id {} is not a whole number from 0 up", id.dump()));
        ids.push_back(id.get<std::uint64_t>());
    }
    return ids;
}

/// getline that gives up on a line without end.
bool read_line(std::istream& in, std::string& line) {
    line.clear();
    for (char c = 0; line.size() <= kLineBytesMax && in.get(c);) {
        if (c == '\n') return true;
        line.push_back(c);
    }
    return !line.empty();
}

}  // namespace

Result<TraceRequest> parse_request(const std::string& line, std::uint64_t block_tokens) {
    if (line.size() > kLineBytesMax) return bad("line is too long to be a request");
    const Object object = Object::parse(line, nullptr, false);
    if (object.is_discarded()) return bad("not JSON");
    if (!object.is_object()) return bad("not a JSON object");
    TraceRequest request;
    const Result<double> at = timestamp(object);
    if (!at) return at.error();
    const Result<std::uint64_t> input = tokens(object, "input_length");
    if (!input) return input.error();
    // What was answered is not in the cache: traces may leave it out.
    const Result<std::uint64_t> output =
        object.contains("output_length") ? tokens(object, "output_length") : 0;
    if (!output) return output.error();
    Result<std::vector<std::uint64_t>> ids = hash_ids(object, *input, block_tokens);
    if (!ids) return ids.error();
    return TraceRequest{*at, *input, *output, std::move(*ids)};
}

Result<std::vector<TraceRequest>> read_trace(std::istream& in, const std::string& name,
                                             std::uint64_t limit, std::uint64_t block_tokens) {
    std::vector<TraceRequest> requests;
    std::string line;
    for (std::uint64_t number = 1; limit == 0 || requests.size() < limit; ++number) {
        if (!read_line(in, line)) break;
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        Result<TraceRequest> request = parse_request(line, block_tokens);
        if (!request) return bad(fmt::format("{}:{}: {}", name, number, request.error().what));
        requests.push_back(std::move(*request));
    }
    if (in.bad()) return Error{EIO, name};
    return requests;
}

}  // namespace kvfs
