#include "fs/base/copy.h"

#include <criterion/criterion.h>

#include <random>
#include <vector>

namespace {

using Copy = void (*)(std::byte*, const std::byte*, std::size_t);

/// Sizes about the borders within, at all alignments, with bytes around that must stay.
void copies_exactly(Copy copy) {
    constexpr std::size_t kAround = 70;
    std::mt19937 random(7);
    for (const std::size_t size : {0, 1, 63, 64, 512, 2559, 2560, 2561, 65'535, 65'536, 300'001}) {
        for (const std::size_t shift : {0, 1, 16, 63}) {
            std::vector<std::byte> from(size + kAround);
            for (std::byte& byte : from) byte = static_cast<std::byte>(random());
            std::vector<std::byte> to(size + 2 * kAround, std::byte{0xAA});
            std::vector<std::byte> expected = to;
            for (std::size_t i = 0; i < size; ++i) expected[shift + i] = from[i + 5];
            copy(to.data() + shift, from.data() + 5, size);
            cr_assert(to == expected, "%zu bytes at %zu", size, shift);
        }
    }
}

}  // namespace

Test(copy, from_memory_is_exact) { copies_exactly(kvfs::copy_from_memory); }

Test(copy, to_memory_is_exact) { copies_exactly(kvfs::copy_to_memory); }
