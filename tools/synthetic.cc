#include "tools/synthetic.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <utility>

namespace kvfs {
namespace {

/// What a kind of service is like; tokens.
struct Service {
    std::string_view name;
    std::uint64_t systems, system_tokens;
    std::uint64_t open;         ///< conversations that wait for their next turn
    double turns;               ///< of a conversation, on average; most have fewer
    double first, turn;         ///< what its first turn and a later one add, on average
    std::uint64_t documents;    ///< to put between system prompt and question
    double document;            ///< their size, on average
    double one_shot, one_size;  ///< part of the requests that are these, and their size
};
constexpr Service kServices[] = {
    {"chat", 4, 1000, 600, 4, 3000, 700, 0, 0, 0, 0},
    {"agents", 3, 8000, 60, 25, 2000, 1200, 0, 0, 0, 0},
    {"rag", 1, 600, 100, 1.3, 200, 300, 4000, 4000, 0, 0},
    {"scans", 4, 1000, 300, 4, 3000, 700, 0, 0, 0.33, 20000},
};

class Generator {
  public:
    Generator(const Service& service, std::uint64_t block_tokens, std::uint64_t seed)
        : service_(service), block_tokens_(block_tokens), random_(seed) {}

    TraceRequest next() {
        now_ms_ += exponential(250);
        if (unit() < service_.one_shot) {
            Prompt once;
            extend(once, exponential(service_.one_size));
            return request(once);
        }
        const bool fresh = open_.size() < service_.open;
        const std::size_t at = fresh ? open_.size() : pick_open();
        if (fresh) open_.push_back(begin());
        Prompt& prompt = open_[at];
        extend(prompt, exponential(prompt.turns == 0 ? service_.first : service_.turn));
        ++prompt.turns;
        TraceRequest made = request(prompt);
        if (prompt.turns >= prompt.turns_wanted || prompt.tokens > kTokensMax)
            open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
        return made;
    }

  private:
    static constexpr double kTokensMax = 100'000;

    struct Prompt {
        double tokens = 0;
        std::vector<std::uint64_t> ids;
        int turns = 0, turns_wanted = 1;
    };

    double unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
    double exponential(double mean) { return -mean * std::log1p(-unit()); }
    std::uint64_t below(std::uint64_t bound) {
        return static_cast<std::uint64_t>(unit() * static_cast<double>(bound));
    }
    /// The first ones far more often.
    std::uint64_t popular(std::uint64_t bound) {
        return static_cast<std::uint64_t>(std::pow(static_cast<double>(bound), unit())) - 1;
    }
    /// Those who were served last go on soonest, as a rule.
    std::size_t pick_open() {
        const double u = unit();
        return open_.size() - 1 -
               static_cast<std::size_t>(u * u * static_cast<double>(open_.size()));
    }
    Prompt begin() {
        Prompt prompt;
        const std::uint64_t system = below(service_.systems);
        share(prompt, 1 + system, static_cast<double>(service_.system_tokens));
        for (int i = 0; service_.documents > 0 && i < 2 && (i == 0 || unit() < 0.3); ++i) {
            const std::uint64_t document = popular(service_.documents);
            const double size = service_.document * (0.25 + static_cast<double>(document % 7) / 4);
            share(prompt, 100 + document, size);
        }
        const double mean = unit() < 0.5 ? 1 : 2 * service_.turns;
        prompt.turns_wanted = 1 + static_cast<int>(exponential(mean));
        return prompt;
    }
    /// Full blocks that others with the same beginning have too.
    void share(Prompt& prompt, std::uint64_t text, double tokens) {
        prompt.tokens = std::floor(prompt.tokens + tokens);
        fill(prompt, [&](Prompt& to) {
            const std::uint64_t before = to.ids.empty() ? 0 : to.ids.back() + 1;
            const auto key = std::pair{before, text};
            const auto [found, fresh] = shared_.try_emplace(key, next_);
            next_ += fresh;
            return found->second;
        });
    }
    void extend(Prompt& prompt, double tokens) {
        prompt.tokens = std::floor(prompt.tokens + tokens + 1);
        fill(prompt, [this](Prompt&) { return next_++; });
    }
    template <typename Id>
    void fill(Prompt& prompt, Id id) {
        const auto blocks = static_cast<std::uint64_t>(prompt.tokens) / block_tokens_;
        while (prompt.ids.size() < blocks) prompt.ids.push_back(id(prompt));
    }
    TraceRequest request(const Prompt& prompt) {
        return {std::floor(now_ms_), static_cast<std::uint64_t>(prompt.tokens), 1 + below(500),
                prompt.ids};
    }

    Service service_;
    std::uint64_t block_tokens_;
    std::mt19937_64 random_;
    std::vector<Prompt> open_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> shared_;
    std::uint64_t next_ = 0;
    double now_ms_ = 0;
};

}  // namespace

std::vector<TraceRequest> generate_synthetic(std::string_view kind, std::uint64_t requests,
                                             std::uint64_t block_tokens, std::uint64_t seed) {
    std::vector<TraceRequest> made;
    for (const Service& service : kServices) {
        if (service.name != kind) continue;
        Generator generator(service, block_tokens, seed);
        for (std::uint64_t i = 0; i < requests; ++i) made.push_back(generator.next());
    }
    return made;
}

std::string synthetic_kinds() {
    std::string kinds;
    for (const Service& service : kServices)
        kinds.append(kinds.empty() ? "" : ", ").append(service.name);
    return kinds;
}

}  // namespace kvfs
