// kvfs fsck: every kind of damage, made by hand on a real directory, is found, touched by --repair
// alone, and then served right by a daemon.
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/kvfs_tool.h"
#include "tests/support/mounted.h"
#include "tests/support/second_ssd.h"

using namespace kvfs::tests;

namespace {

namespace stdfs = std::filesystem;

constexpr std::size_t kSize = (2 << 20) + 12'345;

Outcome fsck(std::vector<std::string> more = {}, bool both = false) {
    std::vector<std::string> words{"fsck", "--ssd", mounted->ssd() + ",size=1GiB"};
    if (both) words.insert(words.end(), {"--ssd", second_ssd()});
    words.insert(words.end(), more.begin(), more.end());
    return kvfs_tool(words);
}

bool mentions(const std::string& text, const std::string& word) {
    return text.find(word) != std::string::npos;
}

/// Every file below the SSD directory with its size and the time of its last change.
std::map<std::string, std::string> as_it_is() {
    std::map<std::string, std::string> all;
    for (const auto& entry : stdfs::recursive_directory_iterator(mounted->ssd())) {
        struct stat st {};
        cr_assert_eq(::lstat(entry.path().c_str(), &st), 0);
        all[entry.path()] = std::to_string(st.st_size) + " " + std::to_string(st.st_ctim.tv_sec) +
                            "." + std::to_string(st.st_ctim.tv_nsec);
    }
    return all;
}

/// kv/a, kv/b and kv/deep/c, all on SSD, under no daemon.
std::uint64_t inode_of_a = 0;

void make_files(Mounted::Options options) {
    mount_up_with(std::move(options));
    ::mkdir(mounted->path("kv").c_str(), 0755);
    ::mkdir(mounted->path("kv/deep").c_str(), 0755);
    write_file(mounted->path("kv/a"), pattern(kSize, 1));
    write_file(mounted->path("kv/b"), pattern(kSize, 2));
    write_file(mounted->path("kv/deep/c"), pattern(4096, 3));
    write_file(mounted->path("kv/empty"), "");
    inode_of_a = inode_of(mounted->path("kv/a"));
}

void set_up() { make_files({}); }
void set_up_on_two() { make_files({.arguments = {"--ssd", second_ssd()}}); }
void tear_down_two() {
    mount_down();
    remove_second_ssd();
}

std::string object_of_a() { return mounted->object(inode_of_a); }

void expect_the_others_right() {
    cr_expect(read_file(mounted->path("kv/b")) == pattern(kSize, 2));
    cr_expect(read_file(mounted->path("kv/deep/c")) == pattern(4096, 3));
    cr_expect(read_file(mounted->path("kv/empty")).empty());
}

/// `subject` and `what` are found, nothing is touched; then they are repaired, and nothing is left.
void expect_found_and_repaired(const std::string& subject, const std::string& what,
                               const std::vector<std::string>& options = {}, bool both = false) {
    const auto before = as_it_is();
    const Outcome found = fsck(options, both);
    cr_expect_eq(found.code, 1, "%s%s", found.out.c_str(), found.err.c_str());
    cr_expect(mentions(found.out, subject + ": "), "no %s in %s", subject.c_str(),
              found.out.c_str());
    cr_expect(mentions(found.out, what), "no '%s' in %s", what.c_str(), found.out.c_str());
    cr_expect(mentions(found.out, "[--repair would "), "%s", found.out.c_str());
    cr_expect(as_it_is() == before, "something was touched without --repair");

    std::vector<std::string> repairing = options;
    repairing.push_back("--repair");
    const Outcome repaired = fsck(repairing, both);
    cr_expect_eq(repaired.code, 0, "%s%s", repaired.out.c_str(), repaired.err.c_str());
    cr_expect(mentions(repaired.out, "[repaired: "), "%s", repaired.out.c_str());

    const Outcome again = fsck(options, both);
    cr_expect_eq(again.code, 0, "%s%s", again.out.c_str(), again.err.c_str());
    cr_expect(mentions(again.out, " 0 findings"), "%s", again.out.c_str());
}

void expect_a_gone() {
    mounted->start();
    cr_expect_eq(::access(mounted->path("kv/a").c_str(), F_OK), -1);
    cr_expect_eq(errno, ENOENT);
    expect_the_others_right();
}

void expect_a_right() {
    mounted->start();
    cr_expect(read_file(mounted->path("kv/a")) == pattern(kSize, 1));
    expect_the_others_right();
}

/// Keeps the object of kv/a, with its label, beside what the daemon does with it.
void keep_object_of_a() {
    await_spilled(mounted->path("kv/a"));
    stdfs::create_hard_link(object_of_a(), mounted->scrap() + "/kept");
}
void put_back_object_of_a() { stdfs::rename(mounted->scrap() + "/kept", object_of_a()); }

void flip_a_byte(const std::string& path, long at) {
    std::FILE* file = std::fopen(path.c_str(), "r+");
    cr_assert_not_null(file);
    std::fseek(file, at, SEEK_SET);
    const int byte = std::fgetc(file);
    std::fseek(file, at, SEEK_SET);
    std::fputc(byte ^ 1, file);
    std::fclose(file);
}

}  // namespace

TestSuite(fsck, .init = set_up, .fini = mount_down, .timeout = 120);

Test(fsck, a_healthy_directory_has_no_findings) {
    mounted->stop();

    const auto before = as_it_is();
    const Outcome outcome = fsck({"--verify"});

    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    cr_expect(mentions(outcome.out,
                       "4 files in 3 directories, 3 objects, 4.0 MiB verified: "
                       "0 findings, 0 left\n"),
              "%s", outcome.out.c_str());
    cr_expect(as_it_is() == before);
}

Test(fsck, a_repair_of_a_healthy_directory_changes_no_file) {
    mounted->stop();
    cr_expect_eq(fsck({"--repair"}).code, 0);
    expect_a_right();
}

Test(fsck, is_refused_while_a_daemon_runs) {
    for (const char* option : {"--verify", "--repair", "--rebuild"}) {
        const Outcome outcome = fsck({option});
        cr_expect_eq(outcome.code, 3);
        cr_expect(mentions(outcome.err, "a kvfsd uses it: stop that first"), "%s",
                  outcome.err.c_str());
    }
    cr_expect(read_file(mounted->path("kv/a")) == pattern(kSize, 1));
}

Test(fsck, a_missing_object_costs_its_file) {
    mounted->stop();
    stdfs::remove(object_of_a());
    expect_found_and_repaired("kv/a", "is missing");
    expect_a_gone();
}

Test(fsck, a_short_object_costs_its_file) {
    mounted->stop();
    stdfs::resize_file(object_of_a(), kSize / 2);
    expect_found_and_repaired("kv/a", std::to_string(kSize / 2) + " bytes where its record says " +
                                          std::to_string(kSize));
    expect_a_gone();
}

Test(fsck, verify_finds_a_flipped_byte) {
    mounted->stop();
    flip_a_byte(object_of_a(), kSize - 7);
    cr_expect_eq(fsck().code, 0, "it was looked for without --verify");
    expect_found_and_repaired("kv/a", "chunk 2: checksum mismatch", {"--verify"});
    expect_a_gone();
}

Test(fsck, an_object_whose_name_is_free_gets_it_back) {
    keep_object_of_a();
    cr_assert_eq(::unlink(mounted->path("kv/a").c_str()), 0);
    mounted->stop();
    put_back_object_of_a();
    expect_found_and_repaired("kv/a", "give it its name back");
    expect_a_right();
    cr_expect_eq(inode_of(mounted->path("kv/a")), inode_of_a);
}

Test(fsck, an_object_whose_name_has_another_file_is_removed) {
    keep_object_of_a();
    cr_assert_eq(::unlink(mounted->path("kv/a").c_str()), 0);
    write_file(mounted->path("kv/a"), "later");
    mounted->stop();
    put_back_object_of_a();
    expect_found_and_repaired("object " + stdfs::path(object_of_a()).filename().string(),
                              "was kv/a, which is another file now");
    cr_expect(!stdfs::exists(object_of_a()));
    mounted->start();
    cr_expect(read_file(mounted->path("kv/a")) == "later");
}

Test(fsck, an_orphan_that_is_not_whole_is_removed) {
    keep_object_of_a();
    cr_assert_eq(::unlink(mounted->path("kv/a").c_str()), 0);
    mounted->stop();
    put_back_object_of_a();
    stdfs::resize_file(object_of_a(), 1);
    expect_found_and_repaired("object " + stdfs::path(object_of_a()).filename().string(),
                              "is of no file: it has 1 of");
    cr_expect(!stdfs::exists(object_of_a()));
    expect_a_gone();
}

Test(fsck, a_label_that_disagrees_is_written_anew) {
    mounted->stop();
    cr_assert_eq(::setxattr(object_of_a().c_str(), "user.kvfs", "{}", 2, 0), 0);
    expect_found_and_repaired("kv/a", "has no label that can be read");
    expect_a_right();
    mounted->stop();
    cr_expect_eq(fsck({"--rebuild"}).code, 0);
    mounted->start();
    cr_expect(read_file(mounted->path("kv/a")) == pattern(kSize, 1));
}

Test(fsck, labels_below_a_renamed_directory_are_no_finding_and_can_be_written_anew) {
    await_spilled(mounted->path("kv/deep/c"));
    cr_assert_eq(::rename(mounted->path("kv/deep").c_str(), mounted->path("kv/d").c_str()), 0);
    mounted->stop();
    const Outcome found = fsck();
    cr_expect_eq(found.code, 0, "%s", found.out.c_str());
    cr_expect(
        mentions(found.out, " 0 findings, 0 left\n1 object is labelled with what a directory"),
        "%s", found.out.c_str());
    cr_expect(mentions(fsck({"--json"}).out, "\"older_labels\": 1"));
    cr_expect_eq(fsck({"--repair"}).code, 0);
    cr_expect_not(mentions(fsck().out, "labelled"));
    cr_expect_eq(fsck({"--rebuild"}).code, 0);
    mounted->start();
    cr_expect(read_file(mounted->path("kv/d/c")) == pattern(4096, 3));
}

Test(fsck, leftovers_are_removed) {
    mounted->stop();
    const std::string temporary = mounted->ssd() + "/tmp/0000000000000099.0";
    const std::string label = object_of_a() + ".0badc0de";
    const std::string foreign = mounted->ssd() + "/objects/core";
    for (const auto& path : {temporary, label, foreign}) std::ofstream(path) << "x";
    for (const auto& path : {temporary, label, foreign})
        cr_expect(mentions(fsck().out, path + ": is of no object"), "%s", path.c_str());
    expect_found_and_repaired(temporary, "is of no object");
    for (const auto& path : {temporary, label, foreign}) cr_expect(!stdfs::exists(path));
    expect_a_right();
}

Test(fsck, what_a_killed_daemon_had_not_finished_is_dropped) {
    std::FILE* file = std::fopen(mounted->path("kv/open").c_str(), "w");
    cr_assert_not_null(file);
    std::fputs("half", file);
    std::fflush(file);
    for (const char* name : {"kv/a", "kv/b", "kv/deep/c"}) {
        await_spilled(mounted->path(name));
        cr_assert(eventually(
            [&] { return mentions(xattr_of(mounted->path(name), "user.kvfs.tier"), "ssd"); }));
    }
    mounted->kill();
    expect_found_and_repaired("kv/open", "was not finished");
    expect_a_right();
    cr_expect_eq(::access(mounted->path("kv/open").c_str(), F_OK), -1);
    std::fclose(file);
}

Test(fsck, names_of_another_boot_are_rebuilt) {
    await_spilled(mounted->path("kv/a"));
    mounted->stop();
    std::ofstream(mounted->ssd() + "/names/state")
        << "kvfs-names 1\nboot another\nclean 0\nrebuild 0\ninodes_below 1000000\n";
    const auto before = as_it_is();
    const Outcome found = fsck();
    cr_expect_eq(found.code, 1);
    cr_expect(mentions(found.out, "names: cannot be trusted: the machine went down"), "%s",
              found.out.c_str());
    cr_expect(as_it_is() == before);
    const Outcome repaired = fsck({"--repair"});
    cr_expect_eq(repaired.code, 0, "%s%s", repaired.out.c_str(), repaired.err.c_str());
    cr_expect(mentions(repaired.out, "3 files are back"), "%s", repaired.out.c_str());
    mounted->start();
    cr_expect(read_file(mounted->path("kv/a")) == pattern(kSize, 1));
    cr_expect(!mentions(mounted->log(), "rebuilding names"));
}

Test(fsck, rebuild_makes_the_names_anew_from_the_objects_alone) {
    mounted->stop();
    stdfs::remove_all(mounted->ssd() + "/names");
    const Outcome found = fsck();
    cr_expect_eq(found.code, 1);
    cr_expect(mentions(found.out, "names: cannot be trusted: there are none"), "%s",
              found.out.c_str());
    const Outcome rebuilt = fsck({"--rebuild", "--verify"});
    cr_expect_eq(rebuilt.code, 0, "%s%s", rebuilt.out.c_str(), rebuilt.err.c_str());
    cr_expect(mentions(rebuilt.out, "names were made anew: 3 files are back"), "%s",
              rebuilt.out.c_str());
    mounted->start();
    cr_expect(read_file(mounted->path("kv/a")) == pattern(kSize, 1));
    cr_expect(read_file(mounted->path("kv/b")) == pattern(kSize, 2));
    cr_expect(read_file(mounted->path("kv/deep/c")) == pattern(4096, 3));
    cr_expect_eq(::access(mounted->path("kv/empty").c_str(), F_OK), -1, "it had no object");
}

Test(fsck, json_is_one_document) {
    mounted->stop();
    stdfs::remove(object_of_a());
    const Outcome outcome = fsck({"--json"});
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome.out, "\"subject\": \"kv/a\""), "%s", outcome.out.c_str());
    cr_expect(mentions(outcome.out, "\"left\": 1"), "%s", outcome.out.c_str());
}

Test(fsck, directories_that_are_no_stores_are_named) {
    mounted->stop();
    const Outcome empty = kvfs_tool({"fsck", "--ssd", mounted->scrap()});
    cr_expect_eq(empty.code, 3);
    cr_expect(mentions(empty.err, mounted->scrap() + " is no SSD directory of kvfsd"), "%s",
              empty.err.c_str());
    cr_expect(stdfs::is_empty(mounted->scrap()));
    cr_expect_eq(kvfs_tool({"fsck", "--ssd", mounted->ssd() + ",sizes=1"}).code, 2);
    cr_expect_eq(kvfs_tool({"fsck", mounted->ssd()}).code, 2);
}

Test(fsck, the_directories_may_come_from_the_config_file) {
    mounted->stop();
    const std::string config = mounted->scrap() + "/kvfs.conf";
    std::ofstream(config) << "# of the daemon\ndram = 64MiB\nssd = " << mounted->ssd()
                          << ",size=1GiB\n";
    const Outcome outcome = kvfs_tool({"fsck", "--config", config});
    cr_expect_eq(outcome.code, 0, "%s", outcome.err.c_str());
    cr_expect(mentions(outcome.out, "4 files in 3 directories"), "%s", outcome.out.c_str());
}

TestSuite(fsck_of_two, .init = set_up_on_two, .fini = tear_down_two, .timeout = 120);

Test(fsck_of_two, a_second_copy_is_removed) {
    mounted->stop();
    const std::string place = object_of_a().substr(mounted->ssd().size());
    const bool in_first = stdfs::exists(object_of_a());
    const std::string from = (in_first ? mounted->ssd() : second_ssd()) + place;
    const std::string to = (in_first ? second_ssd() : mounted->ssd()) + place;
    stdfs::create_directories(stdfs::path(to).parent_path());
    stdfs::create_hard_link(from, to);
    expect_found_and_repaired("object " + stdfs::path(to).filename().string(),
                              "is a second copy of kv/a", {}, true);
    cr_expect(stdfs::exists(from) && !stdfs::exists(to));
    expect_a_right();
}

Test(fsck_of_two, files_in_a_directory_that_is_not_given_are_left_alone) {
    for (int i = 0; i < 8; ++i)
        write_file(mounted->path("kv/more" + std::to_string(i)), pattern(kSize, 10));
    mounted->stop();
    const Outcome outcome = fsck({"--repair"});
    cr_expect_eq(outcome.code, 1);
    cr_expect(mentions(outcome.out, "is in an SSD directory that is not given [left]"), "%s",
              outcome.out.c_str());
    cr_expect_eq(fsck({}, true).code, 0);
    expect_a_right();
}

Test(fsck_of_two, directories_in_another_order_are_refused) {
    mounted->stop();
    const Outcome outcome =
        kvfs_tool({"fsck", "--repair", "--ssd", second_ssd(), "--ssd", mounted->ssd()});
    cr_expect_eq(outcome.code, 3);
    cr_expect(mentions(outcome.err, "the names are in " + mounted->ssd()), "%s",
              outcome.err.c_str());
}
