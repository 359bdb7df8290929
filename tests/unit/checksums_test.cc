// The checksums a file gets while it is written, against those of its bytes in the end.
#include "fs/cache/checksums.h"

#include <criterion/criterion.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fs/base/crc32c.h"
#include "fs/cache/content.h"

using namespace kvfs;

namespace {

constexpr std::size_t kCapacity = 4 * kChunkBytes;

/// A file's memory, written as the cache writes it.
class Written {
  public:
    Written() {
        auto arena = Arena::create({.bytes = 16 << 20});
        cr_assert(arena.ok());
        arena_ = std::move(*arena);
        auto memory = arena_->allocate(1, kCapacity);
        cr_assert(memory.ok());
        content_.emplace(std::move(*memory), 0, room_);
    }

    void put(std::uint64_t offset, const std::vector<std::byte>& bytes) {
        std::size_t done = 0;
        for (const auto& span : content_->spans(offset, bytes.size())) {
            std::memcpy(span.data(), bytes.data() + done, span.size());
            done += span.size();
        }
    }
    void write(std::uint64_t offset, const std::vector<std::byte>& bytes) {
        put(offset, bytes);
        content_->checksums().wrote(offset, bytes);
        size_ = std::max(size_, offset + bytes.size());
    }
    void cut(std::uint64_t size) {
        content_->checksums().changed(size);
        size_ = size;
    }
    Checksums& sums() { return content_->checksums(); }
    std::uint64_t size() const { return size_; }

    std::vector<std::uint32_t> finished() { return content_->checksums().finish(*content_, size_); }
    /// Of the bytes that are there, read anew.
    std::vector<std::uint32_t> right() const { return Checksums().finish(*content_, size_); }

  private:
    Room room_;
    std::unique_ptr<Arena> arena_;
    std::optional<Content> content_;
    std::uint64_t size_ = 0;
};

std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
}

}  // namespace

Test(checksums, of_a_file_written_in_order_need_no_second_look) {
    std::mt19937_64 random(1);
    Written file;
    const auto bytes = random_bytes(random, kChunkBytes + 300'000);
    std::vector<std::uint32_t> expected = {crc32c(std::span(bytes).first(kChunkBytes)),
                                           crc32c(std::span(bytes).subspan(kChunkBytes))};
    constexpr std::size_t kStep = 100'000;
    for (std::size_t at = 0; at < bytes.size(); at += kStep) {
        const auto end = std::min(at + kStep, bytes.size());
        file.write(at, {bytes.begin() + static_cast<std::ptrdiff_t>(at),
                        bytes.begin() + static_cast<std::ptrdiff_t>(end)});
    }
    file.put(0, random_bytes(random, 10));  // behind its back: would show if it looked
    cr_expect(file.finished() == expected);
}

Test(checksums, of_an_empty_file_are_none) {
    Written file;
    cr_expect(file.finished().empty());
}

Test(checksums, are_right_after_any_writes_and_cuts) {
    const char* given = std::getenv("KVFS_SEED");
    const unsigned long seed = given == nullptr ? std::random_device{}() : std::stoul(given);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 40; ++round) {
        Written file;
        for (int step = 0; step < 12; ++step) {
            const auto kind = random() % 4;
            const std::uint64_t offset =
                kind == 0 ? random() % (kCapacity / 2) : file.size();  // else: appends
            const std::size_t length = random() % (kChunkBytes / 2) + 1;
            if (kind == 1 && file.size() > 0) {
                file.cut(random() % file.size());
            } else if (offset + length <= kCapacity) {
                // As the cache does with a write that others overlap in time.
                if (kind == 0) file.sums().changed(offset);
                file.write(offset, random_bytes(random, length));
            }
            cr_assert(file.finished() == file.right(), "KVFS_SEED=%lu: round %d, step %d", seed,
                      round, step);
        }
    }
}
