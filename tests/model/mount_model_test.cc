// Random operations on the mount and on a plain directory: results, errnos and contents must agree.
//
//     KVFS_SEED=n KVFS_STEPS=n make unit ARGS='--filter=mount_model/*'      replays a failure
//     KVFS_SEED=n KVFS_ONLY=n,n,... make unit ARGS='--filter=mount_model/*' replays a few of its
//     steps
//
// DRAM holds a fraction of the files, SSD all: spills, evictions and fills run underneath. Left
// out: hard links, which the mount refuses, and what else SEMANTICS.md says it has otherwise.
#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/model/model.h"
#include "tests/support/mounted.h"

using namespace kvfs::tests;

namespace {

using Steps = std::vector<int>;
constexpr int kStepsDefault = 6000;
constexpr std::chrono::seconds kShrinkTime(60);

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Steps first_steps(int count) {
    Steps steps(static_cast<std::size_t>(count));
    std::iota(steps.begin(), steps.end(), 0);
    return steps;
}

Steps steps_wanted() {
    const char* only = std::getenv("KVFS_ONLY");
    if (only == nullptr)
        return first_steps(static_cast<int>(number_from("KVFS_STEPS", kStepsDefault)));
    Steps steps;
    std::istringstream text(only);
    for (std::string step; std::getline(text, step, ',');) steps.push_back(std::atoi(step.c_str()));
    return steps;
}

void mount_small() { mount_up_with({.dram = "16MiB", .ssd_size = "1GiB"}); }

/// Another daemon and other directories, whatever has become of the last ones.
void mount_anew() {
    mounted->kill();
    mount_down();
    mount_small();
}

/// What reads and stores in a map get when the mount fails them.
void tell_seed_and_die(int signal) {
    static std::array<char, 100> text{};
    const int length = std::snprintf(text.data(), text.size(), "signal %d with KVFS_SEED=%s\n",
                                     signal, std::getenv("KVFS_SEED"));
    static_cast<void>(!::write(STDERR_FILENO, text.data(), static_cast<std::size_t>(length)));
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

/// The steps that are needed for a failure, as far as leaving some out finds them in the time there
/// is: halves, quarters, and so on. What runs underneath is not replayed, so a step may stay that
/// need not.
Steps shrunk(std::uint64_t seed, Steps steps) {
    const auto end = std::chrono::steady_clock::now() + kShrinkTime;
    for (std::size_t size = steps.size() / 2; size > 0; size /= 2) {
        for (std::size_t from = 0; from < steps.size();) {
            if (std::chrono::steady_clock::now() > end) return steps;
            Steps fewer = steps;
            fewer.erase(fewer.begin() + static_cast<long>(from),
                        fewer.begin() + static_cast<long>(std::min(from + size, steps.size())));
            mount_anew();
            if (Model(seed).run(fewer).step < 0) {
                from += size;
            } else {
                steps = std::move(fewer);
            }
        }
    }
    return steps;
}

}  // namespace

TestSuite(mount_model, .init = mount_small, .fini = mount_down, .timeout = 3600);

Test(mount_model, the_mount_is_as_a_plain_directory) {
    const std::uint64_t seed = number_from("KVFS_SEED", std::random_device()());
    ::setenv("KVFS_SEED", std::to_string(seed).c_str(), 1);
    for (const int signal : {SIGBUS, SIGSEGV}) ::signal(signal, tell_seed_and_die);
    Steps steps = steps_wanted();
    Model::Failure failure;
    {
        Model model(seed);
        failure = model.run(steps);
        // Otherwise it was only a test of memory.
        if (failure.step < 0 && steps.size() >= kStepsDefault)
            cr_expect(model.fills() > 10 && model.evictions() > 10,
                      "KVFS_SEED=%s: %ld fills, %ld evictions", std::getenv("KVFS_SEED"),
                      model.fills(), model.evictions());
    }
    if (failure.step < 0) return;
    std::fprintf(
        stderr,
        "KVFS_SEED=%s KVFS_STEPS=%d: the mount differs from a plain directory\n%s\nlog:\n%s",
        std::getenv("KVFS_SEED"), failure.step + 1, failure.what.c_str(), mounted->log().c_str());
    if (std::getenv("KVFS_ONLY") == nullptr) steps = first_steps(failure.step + 1);
    std::string only;
    for (const int step : shrunk(seed, steps)) only += "," + std::to_string(step);
    cr_assert_fail("KVFS_SEED=%s KVFS_ONLY=%s replays it", std::getenv("KVFS_SEED"),
                   only.c_str() + 1);
}
