#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/result.h"

namespace kvfs {

/// Bytes from "4096", "64K", "1.5GiB", "2T": suffixes K M G T and KiB MiB GiB TiB (any case, with
/// or without a final B) all mean powers of 1024. Errors: EINVAL with a sentence that quotes the
/// text - empty, negative, unknown suffix, beyond 2^63.
Result<std::uint64_t> parse_size(std::string_view text);

/// "1.5 GiB", "512 B": at most one decimal, for people.
std::string format_size(std::uint64_t bytes);

}  // namespace kvfs
