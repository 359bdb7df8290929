// Which file a new one builds on, from the order in which files are asked for.
#include "fs/files/lineage.h"

#include <criterion/criterion.h>

#include <string>

using namespace kvfs;

namespace {

constexpr Lineage::Client kReader = 1, kWriter = 2, kOther = 3;

/// Files of one directory, under a clock of their own.
struct Prompt {
    Lineage lineage;
    Lineage::Time now{std::chrono::hours(1)};
    std::size_t most = 100;

    static Lineage::Name name(const std::string& file) { return Lineage::name(7, file); }
    void passes(std::chrono::milliseconds time) { now += time; }
    void asks(Lineage::Client client, const std::string& file, Ino ino = 0) {
        lineage.asked(client, name(file), ino, now);
    }
    /// Returns what it seems to build on.
    Ino makes(Lineage::Client client, const std::string& file, Ino ino) {
        lineage.makes(client, name(file), most, now);
        const Ino parent = lineage.parent_of(name(file));
        lineage.is(name(file), ino);
        return parent;
    }
};

}  // namespace

TestSuite(lineage, .timeout = 10);

Test(lineage, files_made_one_after_the_other_build_on_each_other) {
    Prompt prompt;
    cr_expect_eq(prompt.makes(kWriter, "a", 10), 0);
    cr_expect_eq(prompt.makes(kWriter, "b", 11), 10);
    cr_expect_eq(prompt.makes(kWriter, "c", 12), 11);
}

Test(lineage, what_is_missing_builds_on_the_last_file_that_was_found_however_long_it_is_computed) {
    Prompt prompt;
    prompt.asks(kWriter, "a", 10);
    prompt.asks(kWriter, "b", 11);
    prompt.asks(kWriter, "c");
    prompt.passes(std::chrono::seconds(20));
    cr_expect_eq(prompt.makes(kWriter, "c", 12), 11);
    prompt.asks(kWriter, "d.tmp");
    cr_expect_eq(prompt.makes(kWriter, "d", 13), 12, "the pause was before c");
}

Test(lineage, threads_other_than_the_one_that_asked_may_write_in_any_order) {
    Prompt prompt;
    prompt.asks(kReader, "a", 10);
    for (const char* missing : {"b", "c", "d"}) prompt.asks(kReader, missing);
    cr_expect_eq(prompt.makes(kOther, "c", 12), 10, "b is not there yet");
    cr_expect_eq(prompt.makes(kWriter, "b", 11), 10);
    cr_expect_eq(prompt.makes(kOther, "d", 13), 12);
}

Test(lineage, a_file_under_a_temporary_name_builds_on_what_its_own_name_builds_on) {
    Prompt prompt;
    prompt.asks(kReader, "a", 10);
    prompt.asks(kReader, "b");
    prompt.asks(kWriter, "b");
    cr_expect_eq(prompt.makes(kWriter, "b.tmp", 11), 10);
    prompt.lineage.is(Prompt::name("b"), 11);
    cr_expect_eq(prompt.makes(kWriter, "c.tmp", 12), 11);
}

Test(lineage, a_client_that_pauses_after_writing_begins_a_prompt) {
    Prompt prompt;
    prompt.makes(kWriter, "a", 10);
    prompt.passes(std::chrono::milliseconds(1001));
    cr_expect_eq(prompt.makes(kWriter, "b", 11), 0);
}

Test(lineage, so_many_files_in_a_row_are_one_prompt_and_no_more) {
    Prompt prompt;
    prompt.most = 3;
    Ino parent = 0;
    for (Ino ino = 10; ino < 19; ++ino) {
        const bool first = (ino - 10) % 3 == 0;
        cr_expect_eq(prompt.makes(kWriter, std::to_string(ino), ino), first ? 0 : parent);
        parent = ino;
    }
    prompt.asks(kWriter, "18", 18);  // found: what is missing builds on it
    cr_expect_eq(prompt.makes(kWriter, "19", 19), 18);
    prompt.most = 0;
    cr_expect_eq(prompt.makes(kWriter, "20", 20), 0);
}

Test(lineage, a_pause_between_two_prompts_leaves_the_second_its_whole_length) {
    Prompt prompt;
    prompt.most = 3;
    for (const char* file : {"a", "b"}) prompt.makes(kWriter, file, 10);
    prompt.passes(std::chrono::seconds(2));
    cr_expect_eq(prompt.makes(kWriter, "c", 20), 0);
    cr_expect_eq(prompt.makes(kWriter, "d", 21), 20);
    cr_expect_eq(prompt.makes(kWriter, "e", 22), 21);
}

Test(lineage, clients_do_not_disturb_each_other) {
    Prompt prompt;
    prompt.makes(kWriter, "a", 10);
    prompt.makes(kOther, "x", 20);
    cr_expect_eq(prompt.makes(kWriter, "b", 11), 10);
    cr_expect_eq(prompt.makes(kOther, "y", 21), 20);
}

Test(lineage, what_has_gone_is_nobodys_parent_and_a_file_never_its_own) {
    Prompt prompt;
    prompt.asks(kWriter, "a", 10);
    prompt.makes(kWriter, "b", 11);
    prompt.lineage.gone(Prompt::name("a"), 10);
    prompt.lineage.gone(Prompt::name("b"), 99);
    cr_expect_eq(prompt.makes(kWriter, "c", 12), 11);
    prompt.lineage.gone(Prompt::name("b"), 11);
    prompt.lineage.gone(Prompt::name("c"), 12);
    cr_expect_eq(prompt.makes(kWriter, "c", 13), 0);
}

Test(lineage, nobody_is_not_watched) {
    Prompt prompt;
    prompt.asks(Lineage::kNobody, "a", 10);
    cr_expect_eq(prompt.makes(Lineage::kNobody, "b", 11), 0);
}

Test(lineage, only_the_last_names_are_known) {
    Prompt prompt;
    prompt.asks(kReader, "first", 1);
    prompt.asks(kReader, "missing");
    for (int i = 0; i < 40'000; ++i) prompt.asks(kOther, std::to_string(i), 100);
    cr_expect_eq(prompt.lineage.parent_of(Prompt::name("missing")), 0);
}
