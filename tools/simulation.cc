#include "tools/simulation.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

#include "fs/cache/policy.h"

namespace kvfs {
namespace {

using Request = std::vector<std::uint32_t>;

/// One tier under its policy.
class Tier {
  public:
    Tier(const std::string& policy, std::uint64_t room, std::uint64_t blocks)
        : policy_(policy_named(policy)()), room_(room), there_(blocks + 1) {}

    bool has(std::uint32_t block) const { return there_[block]; }
    std::uint64_t written() const { return written_; }
    void used(const FileUse& use) { policy_->used(use); }
    /// Comes into the tier if the policy wants it.
    void offer(const FileUse& use) {
        if (room_ == 0 || (policy_->files() >= room_ && !policy_->admits(use))) return;
        while (policy_->files() >= room_) {
            const ObjectId victim = policy_->victims(1).at(0);
            policy_->removed(victim);
            there_[victim] = false;
        }
        policy_->admitted(use);
        there_[use.id] = true;
        ++written_;
    }

  private:
    std::unique_ptr<EvictionPolicy> policy_;
    std::uint64_t room_;
    std::vector<bool> there_;
    std::uint64_t written_ = 0;
};

class UnderPolicy {
  public:
    UnderPolicy(const SimulatedTrace& trace, const std::string& policy, Room room)
        : trace_(trace),
          dram_(policy, room.dram, trace.blocks()),
          ssd_(policy, room.ssd, trace.blocks()) {}

    void serve(std::size_t number, SimulationResult& result) {
        const Request& request = trace_.requests[number];
        std::size_t hits = 0;
        for (; hits < request.size() && has(request[hits]); ++hits)
            result.dram_hits += dram_.has(request[hits]);
        for (const std::uint32_t block : request) {
            const FileUse use{block, block, trace_.parents[block], 1};
            for (Tier* const tier : {&dram_, &ssd_})
                if (tier->has(block))
                    tier->used(use);
                else
                    tier->offer(use);
        }
        result.count(hits, trace_, number);
        result.written = ssd_.written();
    }

  private:
    bool has(std::uint32_t block) const { return dram_.has(block) || ssd_.has(block); }

    const SimulatedTrace& trace_;
    Tier dram_, ssd_;
};

class Optimum {
  public:
    Optimum(const SimulatedTrace& trace, std::uint64_t blocks)
        : trace_(trace),
          room_(blocks),
          there_(trace.blocks() + 1),
          uses_(trace.blocks() + 1),
          next_(trace.blocks() + 1) {
        for (std::size_t number = 0; number < trace.requests.size(); ++number) {
            std::uint32_t place = 0;
            for (const std::uint32_t block : trace.requests[number])
                uses_[block].push_back({number, place++});
        }
    }

    void serve(std::size_t number, SimulationResult& result) {
        const Request& request = trace_.requests[number];
        std::size_t hits = 0;
        while (hits < request.size() && there_[request[hits]]) ++hits;
        std::vector<std::uint32_t> came;
        for (const std::uint32_t block : request) {
            if (there_[block]) kept_.erase({uses_[block][next_[block]], block});
            const bool again = ++next_[block] < uses_[block].size();
            if (again && !there_[block]) came.push_back(block);
            there_[block] = again;
            if (again) kept_.insert({uses_[block][next_[block]], block});
        }
        while (kept_.size() > room_) {
            const auto last = std::prev(kept_.end());
            there_[last->second] = false;
            kept_.erase(last);
        }
        result.written += static_cast<std::uint64_t>(
            std::ranges::count_if(came, [this](std::uint32_t block) { return there_[block]; }));
        result.count(hits, trace_, number);
    }

  private:
    using Use = std::pair<std::size_t, std::uint32_t>;  ///< request, and place in it

    const SimulatedTrace& trace_;
    std::uint64_t room_;
    std::vector<bool> there_;
    std::vector<std::vector<Use>> uses_;  ///< of each block
    std::vector<std::size_t> next_;       ///< which of them is the next
    std::set<std::pair<Use, std::uint32_t>> kept_;
};

template <typename Cache>
SimulationResult run(const SimulatedTrace& trace, Cache cache) {
    SimulationResult result;
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t number = 0; number < trace.requests.size(); ++number)
        cache.serve(number, result);
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return result;
}

/// The nearest power of two, in the ratio.
std::uint64_t fitting_block(std::uint64_t tokens, std::uint64_t references) {
    const double each = static_cast<double>(tokens) / static_cast<double>(references);
    std::uint64_t fits = 1;
    while (static_cast<double>(fits) * 1.4142 < each) fits *= 2;
    return fits;
}

}  // namespace

SimulatedTrace prepare(const std::vector<TraceRequest>& requests, std::uint64_t block_tokens) {
    SimulatedTrace trace;
    trace.parents.push_back(0);
    std::unordered_map<std::uint64_t, std::uint32_t> numbers;
    std::vector<std::size_t> last_in{SIZE_MAX};  // of each block: the request that had it last
    std::uint64_t tokens_in_blocks = 0;
    for (const TraceRequest& request : requests) {
        Request blocks;
        std::uint32_t before = 0;
        for (const std::uint64_t id : request.hash_ids) {
            const auto next = static_cast<std::uint32_t>(trace.parents.size());
            const auto [found, fresh] = numbers.try_emplace(id, next);
            const std::uint32_t block = found->second;
            if (fresh) {
                trace.parents.push_back(before);
                last_in.push_back(SIZE_MAX);
            }
            if (std::exchange(last_in[block], trace.requests.size()) == trace.requests.size()) {
                ++trace.repeated;
                continue;
            }
            trace.moved += trace.parents[block] != before;
            before = block;
            blocks.push_back(block);
        }
        trace.references += blocks.size();
        trace.input_tokens += request.input_tokens;
        trace.tokens.push_back(request.input_tokens);
        if (!blocks.empty()) tokens_in_blocks += request.input_tokens;
        trace.requests.push_back(std::move(blocks));
    }
    trace.block_tokens = block_tokens;
    if (block_tokens == 0 && trace.references > 0)
        trace.block_tokens = fitting_block(tokens_in_blocks, trace.references);
    return trace;
}

void SimulationResult::count(std::uint64_t blocks, const SimulatedTrace& trace,
                             std::size_t request) {
    hits += blocks;
    hit_tokens += std::min(blocks * trace.block_tokens, trace.tokens[request]);
}

SimulationResult simulate(const SimulatedTrace& trace, const std::string& policy, Room room) {
    return policy == kOptimum ? run(trace, Optimum(trace, room.dram + room.ssd))
                              : run(trace, UnderPolicy(trace, policy, room));
}

}  // namespace kvfs
