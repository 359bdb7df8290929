#include "fs/store/label.h"

#include <criterion/criterion.h>

#include <random>

using kvfs::decode_label;
using kvfs::encode_label;
using kvfs::ObjectLabel;

namespace {

ObjectLabel label_with_path(std::string path) {
    return {.path = std::move(path),
            .size = 5'000'000'000,
            .mode = 0100644,
            .uid = 1000,
            .gid = 7,
            .mtime_ns = -1,
            .chunk_crcs = {0, 0xffffffff, 0x0123abcd}};
}

bool same(const ObjectLabel& a, const ObjectLabel& b) {
    return a.path == b.path && a.size == b.size && a.mode == b.mode && a.uid == b.uid &&
           a.gid == b.gid && a.mtime_ns == b.mtime_ns && a.chunk_crcs == b.chunk_crcs;
}

bool survives(const ObjectLabel& label) {
    const auto decoded = decode_label(encode_label(label));
    return decoded.ok() && same(*decoded, label);
}

}  // namespace

TestSuite(label, .timeout = 30);

Test(label, comes_back_as_it_was) {
    cr_expect(survives(label_with_path("models/llama/k.0")));
    cr_expect(survives(ObjectLabel{}));
}

Test(label, any_bytes_of_a_path_survive) {
    cr_expect(survives(label_with_path("\xff\xfe/caf\xe9")));
    cr_expect(survives(label_with_path("\xef\xbf\xbd")));  // U+FFFD itself, which is UTF-8
    cr_expect(survives(label_with_path("quote\" back\\ line\n \x01")));
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        std::string path(1 + random() % 300, '\0');
        for (char& byte : path) byte = static_cast<char>(1 + random() % 255);
        cr_assert(survives(label_with_path(path)));
    }
}

Test(label, an_administrator_can_read_the_path) {
    const std::string text = encode_label(label_with_path("modèles/clé"));
    cr_expect(text.find("\"path\":\"modèles/clé\"") != std::string::npos, "%s", text.c_str());
}

Test(label, what_is_no_label_is_refused) {
    const std::string good = encode_label(label_with_path("a"));
    for (const char* text : {"", "{}", "[]", "null", "{\"format\":1}", "\xff"})
        cr_expect_not(decode_label(text).ok(), "%s", text);
    for (std::size_t length = 0; length < good.size(); ++length)
        cr_expect_not(decode_label(good.substr(0, length)).ok());
    std::string later = good;
    later.replace(later.find("\"format\":1"), 10, "\"format\":2");
    cr_expect_not(decode_label(later).ok());
    std::string cut = good;
    cut.replace(cut.find("0123abcd"), 8, "0123abc");
    cr_expect_not(decode_label(cut).ok());
}
