#include "gpumap/file_reader.h"

#include <algorithm>
#include <utility>

#include "fs/base/crc32c.h"

namespace kvfs::gpumap {

std::vector<gm_status> verify_chunks(const FileLease& lease, std::uint64_t first,
                                     std::span<const std::byte> into, std::int64_t got) {
    std::vector<gm_status> statuses(into.size() / kChunkBytes, GM_OK);
    for (std::size_t i = 0; i < statuses.size(); ++i) {
        const std::uint64_t chunk = first + i;
        const std::uint64_t length =
            std::min<std::uint64_t>(kChunkBytes, lease.size - chunk * kChunkBytes);
        if (got < 0 || static_cast<std::uint64_t>(got) < i * kChunkBytes + length) {
            // An object that ends before its file does has lost bytes.
            statuses[i] = GM_EIO;
        } else if (!lease.chunk_crcs.empty() &&
                   crc32c(into.subspan(i * kChunkBytes, length)) != lease.chunk_crcs[chunk]) {
            statuses[i] = GM_ECHECKSUM;
        }
    }
    return statuses;
}

Result<std::unique_ptr<FileReader>> FileReader::create(unsigned depth,
                                                       std::span<std::byte> staging) {
    auto ring = Ring::create({.depth = depth});
    if (!ring) return ring.error();
    // Without, for want of locked memory, reads cost a little more.
    static_cast<void>((*ring)->register_region(staging));
    return std::unique_ptr<FileReader>(new FileReader(std::move(*ring)));
}

FileReader::~FileReader() = default;

void FileReader::read(const FileLease& lease, std::uint64_t first, std::span<std::byte> into,
                      Done done) {
    // Checksums are computed on the ring's thread: the bytes are in its core's cache, and the
    // device is kept busy by the reads that are in the kernel meanwhile.
    ring_->read(lease.file.get(), into, first * kChunkBytes,
                [&lease, first, into, done = std::move(done)](std::int64_t got) {
                    done(verify_chunks(lease, first, into, got));
                });
}

}  // namespace kvfs::gpumap
