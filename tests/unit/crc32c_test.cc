#include "fs/base/crc32c.h"

#include <criterion/criterion.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

using kvfs::crc32c;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

TestSuite(crc32c, .timeout = 30);

// RFC 3720, B.4; "123456789" is the check value of the CRC catalogue.
Test(crc32c, gives_the_values_of_the_standard) {
    std::array<std::byte, 32> block{};
    cr_expect_eq(crc32c(block), 0x8a9136aaU);
    block.fill(std::byte{0xff});
    cr_expect_eq(crc32c(block), 0x62a8ab43U);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(i);
    cr_expect_eq(crc32c(block), 0x46dd794eU);
    cr_expect_eq(crc32c(bytes_of("123456789")), 0xe3069283U);
    cr_expect_eq(crc32c({}), 0U);
}

Test(crc32c, goes_on_from_an_earlier_result) {
    const std::uint32_t whole = crc32c(bytes_of("123456789"));
    for (std::size_t cut = 0; cut <= 9; ++cut) {
        const std::string_view text = "123456789";
        const std::uint32_t head = crc32c(bytes_of(text.substr(0, cut)));
        cr_expect_eq(crc32c(bytes_of(text.substr(cut)), head), whole);
    }
}

Test(crc32c, sees_every_flipped_bit) {
    std::vector<std::byte> chunk(4096, std::byte{0x5a});
    const std::uint32_t right = crc32c(chunk);
    for (std::size_t bit = 0; bit < 8 * chunk.size(); bit += 37) {
        chunk[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        cr_expect_neq(crc32c(chunk), right);
        chunk[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    }
}
