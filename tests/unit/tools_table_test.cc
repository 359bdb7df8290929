#include <criterion/criterion.h>

#include <sstream>
#include <string>

#include "tools/bench.h"
#include "tools/replay_run.h"
#include "tools/table.h"

using namespace kvfs;

namespace {

/// The strings of Criterion's own comparison must outlive its macro.
void expect_text(const std::string& actual, const std::string& expected) {
    cr_expect(actual == expected, "'%s' instead of '%s'", actual.c_str(), expected.c_str());
}

}  // namespace

TestSuite(tools_table, .timeout = 10);

Test(tools_table, columns_are_as_wide_as_their_widest_cell) {
    Table table({{"SIZE"}, {"NAME", Table::Align::kLeft}});
    table.add({"1 B", "a"});
    table.add_heading("more");
    table.add({"1023.9 MiB", "b"});
    std::ostringstream out;

    table.print(out);

    expect_text(out.str(),
                "      SIZE  NAME\n"
                "       1 B  a\n"
                "more\n"
                "1023.9 MiB  b\n");
}

Test(tools_table, names_are_measured_in_characters) {
    Table table({{"NAME", Table::Align::kLeft}, {"N"}});
    table.add({"\xc3\xa4\xc3\xb6", "1"});  // two letters, four bytes
    table.add({"abcd", "2"});
    std::ostringstream out;

    table.print(out);

    expect_text(out.str(), "NAME  N\n\xc3\xa4\xc3\xb6    1\nabcd  2\n");
}

Test(tools_table, ages_are_short) {
    expect_text(format_age(-3), "0s");
    expect_text(format_age(59.9), "59s");
    expect_text(format_age(60), "1m");
    expect_text(format_age(7200), "2h");
    expect_text(format_age(86400 * 400), "400d");
}

Test(tools_table, counts_are_grouped) {
    expect_text(format_count(0), "0");
    expect_text(format_count(999), "999");
    expect_text(format_count(1000), "1,000");
    expect_text(format_count(12345678), "12,345,678");
}

Test(tools_table, percent_of_nothing_is_no_number) {
    expect_text(format_percent(1, 0), "-");
    expect_text(format_percent(1, 8), "12.5 %");
}

Test(tools_table, percentiles_are_of_the_nearest_rank) {
    const std::vector<double> values{1, 2, 3, 4};
    cr_expect_eq(percentile(values, 50), 2);
    cr_expect_eq(percentile(values, 99), 4);
    cr_expect_eq(percentile(values, 0), 1);
    cr_expect_eq(percentile({}, 50), 0);
}

Test(tools_table, ratios_are_of_the_rounds_and_better_when_higher) {
    BenchRow row;
    row.kvfs.values = {1, 3, 30};  // the machine grew faster; kvfs was always half as fast
    row.reference.values = {2, 6, 60};
    cr_expect_eq(row.kvfs.median(), 3);
    cr_expect_eq(row.kvfs.max(), 30);
    cr_expect_eq(row.ratio(), 0.5);

    row.better = Better::kLower;
    cr_expect_eq(row.ratio(), 2);
    row.reference.values.clear();
    cr_expect_eq(row.ratio(), 0);
    row.kvfs.values = {4, 2};
    cr_expect_eq(row.kvfs.median(), 3);
}

Test(tools_table, a_goal_is_of_the_ratio_or_of_the_figure_itself) {
    BenchRow row;
    row.kvfs.values = {10};
    row.reference.values = {20};
    cr_expect(row.meets_goal(), "without a goal there is nothing to miss");
    row.goal = 0.6;
    cr_expect_not(row.meets_goal());
    row.goal = 0.5;
    cr_expect(row.meets_goal());

    row.goal = 0;
    row.figure_goal = 11;
    cr_expect_not(row.meets_goal());
    row.better = Better::kLower;
    cr_expect(row.meets_goal(), "10 us are as good as 11");
    row.figure_goal = 10;
    cr_expect(row.meets_goal());
    row.figure_goal = 9;
    cr_expect_not(row.meets_goal());
}
