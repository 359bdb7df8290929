// Names: present and absent ones, that the kernel has seen before or not, and in batches by gpumap.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "tools/bench.h"
#include "tools/bench_files.h"
#include "tools/bench_machine.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

/// Thousands of lookups a second of names PREFIX<first>.., each expected to be there or not.
double look_up(const std::string& prefix, unsigned first, unsigned count, bool present) {
    const double seconds = time_of([&] {
        for (unsigned i = first; i < first + count; ++i)
            if ((::access(numbered(prefix, i).c_str(), F_OK) == 0) != present)
                throw Failure(numbered(prefix, i) + (present ? ": is gone" : ": is there"));
    });
    return count / seconds / 1e3;
}

/// Looked up twice: the kernel asks kvfs the first time and may remember until the second.
std::vector<double> look_up_twice(const std::string& prefix, unsigned first, unsigned count,
                                  bool present) {
    const double unseen = look_up(prefix, first, count, present);
    return {unseen, look_up(prefix, first, count, present)};
}

/// Empty-handed makers of names: through gpumap, so that the kernel has not seen them.
void make_by_mapper(gm_ctx* context, const std::string& prefix, unsigned count) {
    gm_devptr memory = 0;
    expect_ok(gm_device_alloc(context, 4096, &memory), "gm_device_alloc");
    const gm_range range{0, 4096, memory, 0, 0};
    for (unsigned i = 0; i < count; ++i) {
        std::uint64_t size = range.len;
        gm_file* draft = nullptr;
        expect_ok(gm_file_open(context, numbered(prefix, i).c_str(), GM_CREATE | GM_MAKE_DIRS,
                               &draft, &size),
                  "draft");
        expect_ok(gm_save(draft, &range, 1, nullptr, nullptr), "save");
        expect_ok(gm_commit(draft, 0, nullptr), "commit");
        gm_file_close(draft);
        if (i % 256 == 0) check_interrupted();
    }
    gm_device_free(context, memory);
}

double look_up_batch(gm_ctx* context, const std::string& prefix, unsigned count,
                     gm_status expected) {
    std::vector<std::string> paths;
    std::vector<const char*> texts;
    std::vector<gm_stat> stats(count);
    for (unsigned i = 0; i < count; ++i) paths.push_back(numbered(prefix, i));
    for (const std::string& path : paths) texts.push_back(path.c_str());
    const double seconds = time_of(
        [&] { expect_ok(gm_lookup(context, texts.data(), count, stats.data()), "gm_lookup"); });
    for (const gm_stat& stat : stats)
        if (stat.status != expected) throw Failure("gm_lookup: wrong answer");
    return count / seconds / 1e3;
}

BenchRow names_row(const std::string& name) {
    return {name, "k/s", Better::kHigher, {}, {}, "tmpfs", 0};
}

BenchRow prompt_row(const std::string& name, double goal_ms) {
    BenchRow row{name, "ms", Better::kLower, {}, {}, "tmpfs"};
    row.figure_goal = goal_ms;
    return row;
}

}  // namespace

void measure_names(Bench& bench) {
    const unsigned count = bench.quick ? 250 : 1000;
    const unsigned all = count * static_cast<unsigned>(bench.rounds + 1);
    BenchDaemon& daemon = bench.machine.roomy();
    gm_ctx* context = daemon.mapper();
    const std::string ours = daemon.mount() + "/names/n", theirs = bench.machine.tmpfs() + "/n";
    make_by_mapper(context, "names/n", all);
    for (unsigned i = 0; i < all; ++i) write_file(numbered(theirs, i), 0, {});

    // Each round has names of its own: nobody has asked for them.
    unsigned our_round = 0, their_round = 0;
    bench.compare_many(
        {names_row("present names, first lookup"), names_row("present names, again")},
        [&] { return look_up_twice(ours, count * our_round++, count, true); },
        [&] { return look_up_twice(theirs, count * their_round++, count, true); });
    our_round = their_round = 0;
    BenchRow absent_again = names_row("absent names, again");
    absent_again.figure_goal = 500;
    bench.compare_many(
        {names_row("absent names, first lookup"), absent_again},
        [&] { return look_up_twice(ours + "o", count * our_round++, count, false); },
        [&] { return look_up_twice(theirs + "o", count * their_round++, count, false); });
    const auto on_tmpfs = [&](bool present) {
        return [&, present] { return look_up(present ? theirs : theirs + "o", 0, count, present); };
    };
    bench.compare(
        names_row(fmt::format("present, {} by one gm_lookup", count)),
        [&] { return look_up_batch(context, "names/n", count, GM_OK); }, on_tmpfs(true));
    bench.compare(
        names_row(fmt::format("absent, {} by one gm_lookup", count)),
        [&] { return look_up_batch(context, "names/no", count, GM_ENOENT); }, on_tmpfs(false));
    for (unsigned i = 0; i < all; ++i) {
        remove_file(numbered(ours, i));
        remove_file(numbered(theirs, i));
    }
}

void measure_prompt(Bench& bench) {
    constexpr unsigned kNames = 3600;  // blocks of a long prompt
    BenchDaemon& daemon = bench.machine.roomy();
    gm_ctx* context = daemon.mapper();
    const std::string ours = daemon.mount() + "/prompt/n", theirs = bench.machine.tmpfs() + "/p";
    make_by_mapper(context, "prompt/n", kNames);
    for (unsigned i = 0; i < kNames; ++i) write_file(numbered(theirs, i), 0, {});
    // tmpfs has its names nowhere else, so they are never cold there.
    const auto on_tmpfs = [&] { return kNames / look_up(theirs, 0, kNames, true); };
    if (daemon.forget_names())
        bench.compare(
            prompt_row("3,600 names of a prompt, cold", 100),
            [&] {
                daemon.forget_names();
                return kNames / look_up(ours, 0, kNames, true);
            },
            on_tmpfs);
    bench.compare(
        prompt_row("3,600 names of a prompt, by one gm_lookup", 10),
        [&] { return kNames / look_up_batch(context, "prompt/n", kNames, GM_OK); }, on_tmpfs);
    for (unsigned i = 0; i < kNames; ++i) {
        remove_file(numbered(ours, i));
        remove_file(numbered(theirs, i));
    }
}

}  // namespace kvfs
