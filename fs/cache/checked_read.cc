#include "fs/cache/checked_read.h"

#include <algorithm>
#include <utility>

#include "fs/base/crc32c.h"
#include "fs/base/mapping.h"
#include "fs/cache/awaited.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;  // what O_DIRECT goes by

/// What a read that is given up still writes to.
struct Landing {
    std::shared_ptr<ObjectReader> reader;
    Mapping memory;
    Awaited end;
};

}  // namespace

Result<CheckedRead> read_checked(const std::shared_ptr<ObjectReader>& reader, std::uint64_t size,
                                 const std::vector<std::uint32_t>& crcs, std::uint64_t offset,
                                 std::size_t length, Deadline until) {
    // Without checksums there is no need for whole chunks.
    const std::uint64_t step = crcs.empty() ? kBlockBytes : kChunkBytes;
    const std::uint64_t from = offset / step * step;
    const std::uint64_t to = std::min(size, (offset + length + step - 1) / step * step);
    auto landing = std::make_shared<Landing>();
    auto memory = Mapping::anonymous((to - from + kBlockBytes - 1) / kBlockBytes * kBlockBytes);
    if (!memory) return memory.error();
    landing->memory = std::move(*memory);
    landing->reader = reader;
    reader->read(from, landing->memory.bytes(),
                 [landing](std::int64_t result) { landing->end.finish(result); });
    const auto landed = landing->end.wait(until, "reading an object");
    if (!landed) return landed.error();
    if (*landed < to - from && !crcs.empty())
        return Error{EIO, "its object could not be read whole"};
    for (std::uint64_t at = from; at < to && !crcs.empty(); at += kChunkBytes) {
        const auto chunk = landing->memory.bytes().subspan(
            at - from, std::min<std::uint64_t>(kChunkBytes, to - at));
        const std::uint64_t index = at / kChunkBytes;
        if (index >= crcs.size() || crc32c(chunk) != crcs[index])
            return Error{EBADMSG, "checksum mismatch"};
    }
    // A file that is rewritten in place may have become shorter meanwhile.
    const std::uint64_t end = std::min(offset + length, from + *landed);
    if (end <= offset) return CheckedRead{{}, *landed};
    ReadView view{{landing->memory.bytes().subspan(offset - from, end - offset)}, landing};
    return CheckedRead{std::move(view), *landed};
}

}  // namespace kvfs
