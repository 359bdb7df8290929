#include "tools/workload.h"

#include <cmath>
#include <random>

#include "tools/block.h"

namespace kvfs {
namespace {

/// Draws from std::mt19937_64, whose output the standard fixes; the standard's distributions are
/// not fixed, so these are our own.
class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }  ///< [0, 1)
    std::uint64_t below(std::uint64_t bound) {
        return static_cast<std::uint64_t>(unit() * static_cast<double>(bound));
    }
    double exponential(double mean) { return -mean * std::log1p(-unit()); }

  private:
    std::mt19937_64 engine_;
};

using Blocks = std::vector<std::uint64_t>;

class Conversations {
  public:
    explicit Conversations(const WorkloadOptions& options)
        : options_(options), dice_(options.seed) {
        for (std::uint64_t i = 0; i < options.assistants; ++i) {
            Blocks system;
            extend(system, options.system_blocks);
            assistants_.push_back(system);
        }
    }

    TraceRequest next() {
        const bool fresh = open_.empty() || dice_.unit() * options_.turns_mean < 1;
        Blocks blocks = fresh ? begin() : take_recent();
        const std::uint64_t added = 1 + dice_.below(options_.blocks_a_turn_max);
        extend(blocks, added);
        now_ms_ += dice_.exponential(1000 / options_.requests_a_s);
        const std::uint64_t input = blocks.size() * kBlockTokens - dice_.below(kBlockTokens);
        const std::uint64_t output = 1 + dice_.below(2 * kBlockTokens);
        TraceRequest request{std::floor(now_ms_), input, output, blocks};
        if (blocks.size() < options_.blocks_max) keep(std::move(blocks));
        return request;
    }

  private:
    Blocks begin() {
        return assistants_.empty() ? Blocks{} : assistants_[dice_.below(assistants_.size())];
    }
    /// Recent ones, which are last, more often: people answer soon or never.
    Blocks take_recent() {
        const double u = dice_.unit();
        const auto back = static_cast<std::size_t>(u * u * static_cast<double>(open_.size()));
        const std::size_t at = open_.size() - 1 - back;
        Blocks blocks = std::move(open_[at]);
        open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
        return blocks;
    }
    void keep(Blocks blocks) {
        open_.push_back(std::move(blocks));
        if (open_.size() > options_.conversations) open_.erase(open_.begin());
    }
    void extend(Blocks& blocks, std::uint64_t count) {
        for (; count > 0; --count) blocks.push_back(mix(options_.seed, next_block_++) >> 1);
    }

    WorkloadOptions options_;
    Dice dice_;
    std::vector<Blocks> assistants_;
    std::vector<Blocks> open_;
    std::uint64_t next_block_ = 0;
    double now_ms_ = 0;
};

}  // namespace

std::vector<TraceRequest> generate_workload(const WorkloadOptions& options) {
    Conversations conversations(options);
    std::vector<TraceRequest> requests;
    requests.reserve(options.requests);
    for (std::uint64_t i = 0; i < options.requests; ++i) requests.push_back(conversations.next());
    return requests;
}

}  // namespace kvfs
