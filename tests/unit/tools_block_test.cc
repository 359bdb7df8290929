#include <criterion/criterion.h>

#include <cstring>
#include <vector>

#include "tools/block.h"

using kvfs::block_path;
using kvfs::fill_block;
using kvfs::find_mismatch;

namespace {

std::vector<std::byte> block(std::uint64_t id, std::size_t size = 64 << 10) {
    std::vector<std::byte> bytes(size);
    fill_block(id, bytes);
    return bytes;
}

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(tools_block, .timeout = 10);

Test(tools_block, content_is_recognised) {
    cr_expect(!find_mismatch(3, block(3)).has_value());
    cr_expect(!find_mismatch(0, block(0)).has_value());
    cr_expect(!find_mismatch(9, {}).has_value());
}

Test(tools_block, one_changed_bit_is_found_where_it_is) {
    for (const std::size_t at :
         {std::size_t{0}, std::size_t{7}, std::size_t{4099}, std::size_t{65535}}) {
        auto bytes = block(3);
        bytes[at] ^= std::byte{0x10};
        const auto offset = find_mismatch(3, bytes);
        cr_assert(offset.has_value());
        cr_expect_eq(*offset, at);
    }
}

Test(tools_block, the_content_of_another_block_is_found) {
    cr_expect(find_mismatch(4, block(3)).has_value());
}

Test(tools_block, bytes_from_elsewhere_in_the_block_are_found) {
    auto bytes = block(3);
    std::memmove(bytes.data() + 4096, bytes.data(), 4096);

    const auto offset = find_mismatch(3, bytes);

    cr_assert(offset.has_value());
    cr_expect_geq(*offset, 4096);
    cr_expect_lt(*offset, 4096 + 8);  // some bytes of the first word are right by chance
}

Test(tools_block, a_block_has_one_path_and_directories_are_256) {
    const std::string path = block_path("replay", 255);
    expect_text(path.substr(path.size() - 20), "/00000000000000ff.kv");
    cr_expect_eq(path.size(), std::strlen("replay/hh/00000000000000ff.kv"));
}
