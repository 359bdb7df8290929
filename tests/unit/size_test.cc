#include "fs/base/size.h"

#include <criterion/criterion.h>

using kvfs::format_size;
using kvfs::parse_size;

TestSuite(size, .timeout = 30);

Test(size, suffixes_are_powers_of_1024) {
    struct Case {
        const char* text;
        std::uint64_t bytes;
    };
    static constexpr Case cases[] = {{"0", 0},
                                     {"4096", 4096},
                                     {"7b", 7},
                                     {"64K", 64 << 10},
                                     {"64k", 64 << 10},
                                     {"64KB", 64 << 10},
                                     {"64KiB", 64 << 10},
                                     {"512 MiB", 512 << 20},
                                     {"1.5G", 3ULL << 29},
                                     {"2t", 2ULL << 40},
                                     {"0.5k", 512}};
    for (const Case& it : cases) {
        const auto bytes = parse_size(it.text);
        cr_assert(bytes.ok(), "%s", it.text);
        cr_expect_eq(*bytes, it.bytes, "%s is %llu", it.text,
                     static_cast<unsigned long long>(*bytes));
    }
}

Test(size, what_is_no_size_is_refused_and_quoted) {
    for (const char* text :
         {"", "G", "-1", "1X", "1Gi!", "1GiBs", "nan", "inf", "9000000T", "1 2"}) {
        const auto bytes = parse_size(text);
        cr_assert_not(bytes.ok(), "%s", text);
        cr_expect_eq(bytes.error().code, EINVAL);
        cr_expect(bytes.error().what.find("'" + std::string(text) + "'") != std::string::npos);
    }
}

Test(size, is_written_for_people) {
    cr_expect(format_size(0) == "0 B");
    cr_expect(format_size(1023) == "1023 B");
    cr_expect(format_size(1024) == "1 KiB");
    cr_expect(format_size(1536) == "1.5 KiB");
    cr_expect(format_size(3ULL << 29) == "1.5 GiB");
    cr_expect(format_size((1ULL << 40) - 1) == "1.0 TiB");
    cr_expect(format_size(~0ULL) == "16 EiB");
}
