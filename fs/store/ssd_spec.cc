#include "fs/store/ssd_spec.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "fs/base/size.h"
#include "fs/base/split.h"

namespace kvfs {
namespace {

Error wrong(std::string what) { return {EINVAL, std::move(what)}; }

}  // namespace

Result<SsdStore::Options> parse_ssd_spec(std::string_view text) {
    const auto parts = split_at_commas(text);
    if (parts.front().empty()) return wrong("no directory given (write DIR[,size=SIZE])");
    SsdStore::Options ssd{.directory = parts.front()};
    constexpr std::uint64_t kPage = 4096, kTransferMax = 1ULL << 30;
    struct Known {
        std::string_view name;
        std::uint64_t* bytes;
        std::uint64_t least, most;
        const char* why;
    };
    const std::array<Known, 3> known{{
        {"size=", &ssd.quota_bytes, 1, UINT64_MAX, "leaves no room for objects"},
        {"request=", &ssd.request_bytes, kPage, kTransferMax, "is not within 4KiB and 1GiB"},
        {"window=", &ssd.window_bytes, kPage, kTransferMax, "is not within 4KiB and 1GiB"},
    }};
    for (std::size_t i = 1; i < parts.size(); ++i) {
        const auto one = std::ranges::find_if(
            known, [&](const Known& each) { return parts[i].starts_with(each.name); });
        if (one == known.end())
            return wrong("unknown sub-option '" + parts[i] +
                         "' (there are size=SIZE, request=SIZE and window=SIZE; write a "
                         "comma in a path as \\,)");
        const auto size = parse_size(parts[i].substr(one->name.size()));
        if (!size) return wrong(size.error().what);
        if (*size < one->least || *size > one->most) return wrong(parts[i] + " " + one->why);
        *one->bytes = *size;
    }
    ssd.request_bytes = ssd.request_bytes / kPage * kPage;
    return ssd;
}

}  // namespace kvfs
