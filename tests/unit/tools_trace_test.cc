#include <criterion/criterion.h>

#include <sstream>
#include <string>

#include "tools/trace.h"

using kvfs::parse_request;
using kvfs::read_trace;

namespace {

std::string reason(const std::string& line) {
    const auto request = parse_request(line);
    return request ? "" : request.error().what;
}

bool mentions(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

const std::string kGood =
    R"({"timestamp": 27, "input_length": 1100, "output_length": 3, "hash_ids": [0, 7, 9]})";

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(tools_trace, .timeout = 10);

Test(tools_trace, a_line_of_the_published_format_is_read) {
    const auto request = parse_request(kGood);

    cr_assert(request.ok());
    cr_expect_eq(request->timestamp_ms, 27);
    cr_expect_eq(request->input_tokens, 1100);
    cr_expect_eq(request->output_tokens, 3);
    const std::vector<std::uint64_t> ids{0, 7, 9};
    cr_expect(request->hash_ids == ids);
}

Test(tools_trace, a_request_may_have_no_blocks_and_ids_may_have_gaps) {
    const auto none = parse_request(
        R"({"timestamp": 0.5, "input_length": 0, "output_length": 0, "hash_ids": []})");
    const auto large = parse_request(
        R"({"timestamp": 0, "input_length": 9999, "output_length": 0, "hash_ids": [5, 18446744073709551615]})");

    cr_assert(none.ok());
    cr_expect(none->hash_ids.empty());
    cr_assert(large.ok());
    cr_expect_eq(large->hash_ids.back(), UINT64_MAX);
}

Test(tools_trace, lengths_may_be_written_as_fractions_and_the_output_may_be_left_out) {
    const auto request =
        parse_request(R"({"timestamp": 1.25, "input_length": 1024.0, "hash_ids": [1, 2]})");

    cr_assert(request.ok());
    cr_expect_eq(request->input_tokens, 1024);
    cr_expect_eq(request->output_tokens, 0);
}

Test(tools_trace, a_line_without_end_is_refused_and_not_read) {
    std::istringstream in(kGood + "\n[" + std::string(70 << 20, '1'));

    const auto requests = read_trace(in, "some.jsonl", 0);

    cr_assert(!requests.ok());
    expect_text(requests.error().what, "some.jsonl:2: line is too long to be a request");
}

Test(tools_trace, a_damaged_line_is_refused_with_its_reason) {
    struct Case {
        const char* line;
        const char* word;
    };
    static const Case cases[] = {
        {"", "not JSON"},
        {R"({"timestamp": 1, "input_le)", "not JSON"},
        {"[1, 2]", "not a JSON object"},
        {R"({"input_length": 1, "output_length": 1, "hash_ids": []})", "timestamp"},
        {R"({"timestamp": -1, "input_length": 1, "output_length": 1, "hash_ids": []})",
         "timestamp"},
        {R"({"timestamp": "1", "input_length": 1, "output_length": 1, "hash_ids": []})",
         "timestamp"},
        {R"({"timestamp": 1, "output_length": 1, "hash_ids": []})", "input_length"},
        {R"({"timestamp": 1, "input_length": -5, "output_length": 1, "hash_ids": []})", "-5"},
        {R"({"timestamp": 1, "input_length": 1e300, "output_length": 1, "hash_ids": []})",
         "input_length"},
        {R"({"timestamp": 1, "input_length": 9999999999, "output_length": 1, "hash_ids": []})",
         "input_length"},
        {R"({"timestamp": 1, "input_length": 1, "output_length": "1", "hash_ids": []})",
         "output_length"},
        {R"({"timestamp": 1, "input_length": 1.5, "output_length": 1, "hash_ids": []})", "1.5"},
        {R"({"timestamp": 1, "input_length": 1, "output_length": 1})", "hash_ids"},
        {R"({"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": 3})", "hash_ids"},
        {R"({"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": ["a"]})", "\"a\""},
        {R"({"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": [-1]})", "-1"},
        {R"({"timestamp": 1, "input_length": 512, "output_length": 1, "hash_ids": [1, 2]})",
         "at most 1 blocks"},
    };
    for (const Case& one : cases)
        cr_expect(mentions(reason(one.line), one.word), "%s: '%s'", one.line,
                  reason(one.line).c_str());
}

Test(tools_trace, the_first_bad_line_is_named_and_empty_lines_are_not_bad) {
    std::istringstream in(kGood + "\n\n" + kGood + "\r\nnonsense\n" + kGood + "\n");

    const auto requests = read_trace(in, "some.jsonl", 0);

    cr_assert(!requests.ok());
    expect_text(requests.error().what, "some.jsonl:4: not JSON");
}

Test(tools_trace, nothing_is_read_behind_the_limit) {
    std::istringstream in(kGood + "\n" + kGood + "\nnonsense\n");

    const auto requests = read_trace(in, "some.jsonl", 2);

    cr_assert(requests.ok());
    cr_expect_eq(requests->size(), 2);
}

Test(tools_trace, the_last_line_needs_no_newline) {
    std::istringstream in(kGood);

    const auto requests = read_trace(in, "some.jsonl", 0);

    cr_assert(requests.ok());
    cr_expect_eq(requests->size(), 1);
}
