#include "fs/cache/policy.h"
#include "fs/cache/recency_list.h"

namespace kvfs {
namespace {

class Lru final : public EvictionPolicy {
  public:
    void admitted(ObjectId id, std::uint64_t) override { order_.put(id); }
    void used(ObjectId id) override { order_.touch(id); }
    void removed(ObjectId id) override { order_.remove(id); }
    std::vector<ObjectId> victims(std::size_t count) const override { return order_.oldest(count); }
    std::size_t files() const override { return order_.size(); }

  private:
    RecencyList order_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<Lru>(); }

}  // namespace kvfs
