#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/result.h"
#include "fs/cache/content.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// Bytes of an object in memory of their own, and how many were read for them.
struct CheckedRead {
    ReadView view;
    std::uint64_t read_bytes = 0;
};

/// [offset, offset + length) of an object of `size` bytes, past DRAM: the whole chunks around them
/// are read and held against `crcs`; without any, just the blocks. Fewer bytes at the object's end.
/// Waits for the store, until `until` at most. Errors: EBADMSG - a chunk is not what its checksum
/// says, or has none; EIO - the object is shorter than that; ETIMEDOUT; what the store says.
Result<CheckedRead> read_checked(const std::shared_ptr<ObjectReader>& reader, std::uint64_t size,
                                 const std::vector<std::uint32_t>& crcs, std::uint64_t offset,
                                 std::size_t length, Deadline until);

}  // namespace kvfs
