#include <list>
#include <unordered_map>

#include "fs/cache/policy.h"

namespace kvfs {
namespace {

class Lru final : public EvictionPolicy {
  public:
    void admitted(ObjectId id, std::uint64_t) override {
        removed(id);
        order_.push_back(id);
        where_.emplace(id, std::prev(order_.end()));
    }

    void used(ObjectId id) override {
        const auto found = where_.find(id);
        if (found != where_.end()) order_.splice(order_.end(), order_, found->second);
    }

    void removed(ObjectId id) override {
        const auto found = where_.find(id);
        if (found == where_.end()) return;
        order_.erase(found->second);
        where_.erase(found);
    }

    std::vector<ObjectId> victims(std::size_t count) const override {
        std::vector<ObjectId> first;
        for (auto at = order_.begin(); at != order_.end() && first.size() < count; ++at)
            first.push_back(*at);
        return first;
    }

    std::size_t files() const override { return where_.size(); }

  private:
    std::list<ObjectId> order_;  ///< coldest first
    std::unordered_map<ObjectId, std::list<ObjectId>::iterator> where_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<Lru>(); }

}  // namespace kvfs
