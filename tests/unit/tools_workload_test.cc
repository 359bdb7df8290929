#include <criterion/criterion.h>

#include <algorithm>
#include <set>

#include "tools/workload.h"

using kvfs::generate_workload;
using kvfs::kBlockTokens;
using kvfs::TraceRequest;

namespace {

std::vector<TraceRequest> workload(std::uint64_t seed) {
    kvfs::WorkloadOptions options;
    options.requests = 300;
    options.seed = seed;
    return generate_workload(options);
}

}  // namespace

TestSuite(tools_workload, .timeout = 10);

Test(tools_workload, the_same_seed_gives_the_same_requests) {
    const bool same = workload(7) == workload(7);
    const bool differs = workload(7) != workload(8);

    cr_expect(same);
    cr_expect(differs);
}

/// Fixed, so that figures of different machines and years can be compared.
Test(tools_workload, its_first_request_is_always_the_same) {
    const TraceRequest first = workload(1).front();

    cr_expect_eq(first.hash_ids.front(), 3342518250691133789ULL, "%llu",
                 static_cast<unsigned long long>(first.hash_ids.front()));
}

Test(tools_workload, requests_are_what_a_trace_may_hold) {
    double last_ms = 0;
    for (const TraceRequest& request : workload(3)) {
        const std::uint64_t blocks = (request.input_tokens + kBlockTokens - 1) / kBlockTokens;
        cr_expect_eq(request.hash_ids.size(), blocks);
        cr_expect_geq(request.timestamp_ms, last_ms);
        cr_expect_gt(request.output_tokens, 0);
        last_ms = request.timestamp_ms;
    }
}

Test(tools_workload, conversations_go_on_and_share_system_prompts) {
    std::set<std::uint64_t> seen;
    std::uint64_t blocks = 0, reused = 0;
    for (const TraceRequest& request : workload(5)) {
        for (const std::uint64_t id : request.hash_ids) reused += seen.contains(id) ? 1 : 0;
        blocks += request.hash_ids.size();
        seen.insert(request.hash_ids.begin(), request.hash_ids.end());
    }

    cr_expect_gt(static_cast<double>(reused), 0.5 * static_cast<double>(blocks));
    cr_expect_lt(reused, blocks);
}

Test(tools_workload, a_block_has_always_the_same_blocks_before_it) {
    std::set<std::pair<std::uint64_t, std::uint64_t>> links;
    std::set<std::uint64_t> successors;
    for (const TraceRequest& request : workload(6))
        for (std::size_t i = 1; i < request.hash_ids.size(); ++i)
            if (links.emplace(request.hash_ids[i - 1], request.hash_ids[i]).second)
                cr_expect(successors.insert(request.hash_ids[i]).second);
}
