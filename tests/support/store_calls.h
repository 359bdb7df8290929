#pragma once
#include <algorithm>
#include <cstring>
#include <future>
#include <span>
#include <string>
#include <vector>

#include "fs/base/mapping.h"
#include "fs/store/object_store.h"

// An ObjectStore's calls as a test wants them: done when they return, on memory that suits
// O_DIRECT.

namespace kvfs::tests {

/// Page-aligned memory of at least `bytes` bytes, each `seed`-dependent and unlike its neighbours.
inline Mapping patterned(std::size_t bytes, unsigned seed) {
    auto memory = *Mapping::anonymous(std::max<std::size_t>((bytes + 4095) / 4096 * 4096, 4096));
    std::uint32_t state = seed * 2654435761U + 1;
    for (std::byte& byte : memory.bytes().first(bytes)) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(state >> 24);
    }
    return memory;
}

inline Status put_now(ObjectStore& store, ObjectId id, const ObjectLabel& label,
                      std::vector<std::span<const std::byte>> pieces) {
    std::promise<Status> status;
    store.put(id, label, std::move(pieces), [&](Status it) { status.set_value(std::move(it)); });
    return status.get_future().get();
}

inline Status put_now(ObjectStore& store, ObjectId id, std::span<const std::byte> bytes,
                      const std::string& path = "some/path") {
    return put_now(store, id, {.path = path, .size = bytes.size()}, {bytes});
}

inline std::int64_t read_now(ObjectReader& reader, std::uint64_t offset,
                             std::span<std::byte> into) {
    std::promise<std::int64_t> result;
    reader.read(offset, into, [&](std::int64_t it) { result.set_value(it); });
    return result.get_future().get();
}

inline std::int64_t write_now(ObjectFile& file, std::uint64_t offset,
                              std::span<const std::byte> from) {
    std::promise<std::int64_t> result;
    file.write(offset, from, [&](std::int64_t it) { result.set_value(it); });
    return result.get_future().get();
}

inline std::int64_t sync_now(ObjectStore& store, ObjectId id) {
    std::promise<std::int64_t> result;
    store.sync(id, [&](std::int64_t it) { result.set_value(it); });
    return result.get_future().get();
}

/// Whether the object's bytes are these and no more.
inline bool reads_as(ObjectReader& reader, std::span<const std::byte> bytes) {
    const Mapping into = patterned(bytes.size() + 4096, 0xbad);
    return read_now(reader, 0, into.bytes()) == static_cast<std::int64_t>(bytes.size()) &&
           std::equal(bytes.begin(), bytes.end(), into.data());
}

inline bool reads_as(ObjectStore& store, ObjectId id, std::span<const std::byte> bytes) {
    const auto reader = store.open(id);
    return reader.ok() && reads_as(**reader, bytes);
}

inline bool same(const ObjectLabel& a, const ObjectLabel& b) {
    return a.path == b.path && a.size == b.size && a.mode == b.mode && a.uid == b.uid &&
           a.gid == b.gid && a.mtime_ns == b.mtime_ns && a.chunk_crcs == b.chunk_crcs;
}

/// All objects of the store, by id.
inline std::vector<std::pair<ObjectId, ObjectLabel>> scan_all(ObjectStore& store) {
    std::vector<std::pair<ObjectId, ObjectLabel>> found;
    const Status status = store.scan([&](ObjectId id, const ObjectLabel& label) {
        found.emplace_back(id, label);
        return true;
    });
    if (!status) found.clear();
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return found;
}

}  // namespace kvfs::tests
