#include "fs/cache/checksums.h"

#include <algorithm>

#include "fs/base/crc32c.h"
#include "fs/cache/content.h"

namespace kvfs {

void Checksums::wrote(std::uint64_t offset, std::span<const std::byte> bytes) {
    changed(offset);
    if (offset != summed_) return;
    while (!bytes.empty()) {
        const std::uint64_t in_chunk = summed_ % kChunkBytes;
        const std::size_t length = std::min<std::uint64_t>(bytes.size(), kChunkBytes - in_chunk);
        if (in_chunk == 0) chunks_.push_back(0);
        chunks_.back() = crc32c(bytes.first(length), chunks_.back());
        summed_ += length;
        bytes = bytes.subspan(length);
    }
}

void Checksums::changed(std::uint64_t offset) {
    if (offset >= summed_) return;
    // A sum cannot be taken back byte by byte.
    chunks_.resize(offset / kChunkBytes);
    summed_ = chunks_.size() * kChunkBytes;
}

std::vector<std::uint32_t> Checksums::finish(const Content& content, std::uint64_t size) const {
    std::vector<std::uint32_t> sums = chunks_;
    std::uint64_t at = summed_;
    if (at < size && at % kChunkBytes != 0) {
        at -= at % kChunkBytes;
        sums.pop_back();
    }
    for (; at < size; at += kChunkBytes) {
        std::uint32_t sum = 0;
        for (const auto& span : content.spans(at, std::min(kChunkBytes, size - at)))
            sum = crc32c(span, sum);
        sums.push_back(sum);
    }
    return sums;
}

}  // namespace kvfs
