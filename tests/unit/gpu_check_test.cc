// gpu-check over the fake driver: so that it runs at the first try where there is a GPU.
#include <criterion/criterion.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/spawn.h"
#include "tests/support/temp_dir.h"

using namespace kvfs::tests;
using nlohmann::json;

TestSuite(gpu_check, .timeout = 180);

namespace {

struct Checked {
    Outcome outcome;
    json report;       ///< null without one
    std::string text;  ///< for people
};

std::string bin() {
    const char* named = std::getenv("KVFS_BIN");
    cr_assert(named != nullptr, "KVFS_BIN is not set: run the tests through make check");
    return named;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// `fake`: the fake driver's knobs.
Checked check(const std::vector<std::string>& sections, const std::string& fake,
              const std::string& driver = bin() + "/fake_cuda/libcuda.so.1") {
    const std::string directory = make_temp_dir();
    Words words{bin() + "/gpu-check", "--small", "--seed=7", "--kvfsd=" + bin() + "/kvfsd",
                "--out=" + directory + "/out"};
    for (const std::string& section : sections) words.push_back("--only=" + section);
    const Environment environment{{"KVFS_LIBCUDA", driver},
                                  {"KVFS_GPU_CHECK_IDLE", bin() + "/idle_cuda/libcuda.so.1"},
                                  {"FAKE_CUDA", "strict=1," + fake}};
    Checked checked{run(words, environment), nullptr, ""};
    checked.text = text_of(directory + "/out/gpu-check.md");
    checked.report = json::parse(text_of(directory + "/out/gpu-check.json"), nullptr, false);
    return checked;
}

void expect_passed(const Checked& checked) {
    cr_expect_eq(checked.outcome.code, 0, "%s", checked.outcome.err.c_str());
    cr_assert(checked.report.is_object());
    cr_expect(checked.report.at("failures").empty());
}

/// The row whose name begins so.
json row(const Checked& checked, const std::string& name) {
    for (const json& entry : checked.report.at("entries"))
        if (entry.value("row", "").starts_with(name)) return entry;
    cr_assert_fail("no row '%s'", name.c_str());
    return nullptr;
}

}  // namespace

Test(gpu_check, every_method_is_right_on_a_driver_that_is) {
    const Checked checked = check({"verify"}, "poison=1,reverse=1,jitter_us=20");
    expect_passed(checked);
    cr_expect(checked.text.find("method=gather") != std::string::npos);
    cr_expect(checked.text.find("ranges loaded from SSD") != std::string::npos);
}

Test(gpu_check, what_is_measured_is_told_with_its_ceiling_and_its_goal) {
    const Checked checked = check({"raw", "directions", "latency", "files", "models"}, "");
    expect_passed(checked);
    const json blocks = row(checked, "2 MiB blocks from the device");
    cr_expect_eq(blocks.at("kvfs").size(), blocks.at("reference").size());
    cr_expect_float_eq(blocks.at("goal").get<double>(), 0.95, 1e-9);
    cr_expect(blocks.contains("met"));
    cr_expect(checked.text.find("fake device") != std::string::npos);
}

Test(gpu_check, the_sweep_and_files_on_ssd_are_measured) {
    const Checked checked = check({"ssd", "sweep"}, "");
    expect_passed(checked);
    row(checked, "4 KiB apart in both, by gather");
    row(checked, "1 file(s) of 4 MiB from SSD");
}

Test(gpu_check, the_other_questions_are_asked) {
    expect_passed(check({"products", "descriptors", "registration", "batches", "waits"}, ""));
}

Test(gpu_check, a_copy_with_a_wrong_byte_is_found) {
    const Checked checked = check({"verify"}, "damage=97");
    cr_expect_eq(checked.outcome.code, 1);
    cr_expect(checked.text.find("FAILED: verify") != std::string::npos, "%s", checked.text.c_str());
}

Test(gpu_check, a_section_that_crashes_does_not_stop_the_next) {
    const Checked checked = check({"waits", "batches"}, "crash=cuStreamWaitValue64");
    cr_expect_eq(checked.outcome.code, 1);
    cr_assert(checked.report.is_object());
    cr_expect_eq(checked.report.at("failures").size(), 1);
    cr_expect(checked.text.find("FAILED: waits: the section gets to its end: ended by signal 6") !=
                  std::string::npos,
              "%s", checked.text.c_str());
    row(checked, "256 copies of 16 KiB in a batch");
}

Test(gpu_check, without_a_driver_it_says_so_and_exits_77) {
    const Checked checked = check({}, "", "/nonexistent/libcuda.so.1");
    cr_expect_eq(checked.outcome.code, 77);
    cr_expect(checked.outcome.err.find("there is no GPU to check: /nonexistent/libcuda.so.1") !=
                  std::string::npos,
              "%s", checked.outcome.err.c_str());
}

Test(gpu_check, a_section_that_there_is_not_is_a_mistake_of_usage) {
    cr_expect_eq(check({"nothing"}, "").outcome.code, 2);
}
