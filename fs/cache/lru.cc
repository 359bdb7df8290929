#include "fs/cache/file_lists.h"
#include "fs/cache/policy.h"

namespace kvfs {
namespace {

/// Least recently used first; of one prompt's blocks, the last: a block without those before it is
/// useless.
class Lru final : public EvictionPolicy {
  public:
    void admitted(const FileUse& file) override {
        const auto at = order_.find(file.id);
        touch(at != order_.kNone ? at : order_.add(file.id), file.parent);
    }
    void used(const FileUse& file) override {
        if (const auto at = order_.find(file.id); at != order_.kNone) touch(at, file.parent);
    }
    void changed(const FileUse& file) override {
        const auto at = order_.find(file.id);
        if (at != order_.kNone && clock_ - order_[at].used <= kSamePrompt)
            put_behind_parent(at, file.parent);
    }
    void removed(ObjectId id) override {
        if (const auto at = order_.find(id); at != order_.kNone) order_.erase(at);
    }
    std::vector<ObjectId> victims(std::size_t count) override {
        std::vector<ObjectId> ids;
        for (auto at = order_.oldest(); at != order_.kNone && ids.size() < count;
             at = order_.newer(at))
            ids.push_back(order_.id(at));
        return ids;
    }
    std::size_t files() const override { return order_.size(); }
    bool has(ObjectId id) const override { return order_.find(id) != order_.kNone; }

  private:
    /// A parent that was used this many uses ago or less was used for the same prompt.
    static constexpr std::uint32_t kSamePrompt = 1024;

    struct Facts {
        std::uint32_t used = 0;  ///< when, by the clock of uses
    };

    void touch(FileLists<Facts>::Index at, ObjectId parent) {
        order_[at].used = ++clock_;
        if (!put_behind_parent(at, parent)) order_.make_youngest(at);
    }
    /// If that was used for the same prompt.
    bool put_behind_parent(FileLists<Facts>::Index at, ObjectId parent) {
        const auto before = parent == 0 ? order_.kNone : order_.find(parent);
        if (before == order_.kNone || before == at || clock_ - order_[before].used > kSamePrompt)
            return false;
        order_.put_behind(at, before);
        return true;
    }

    FileLists<Facts> order_;
    std::uint32_t clock_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<Lru>(); }

}  // namespace kvfs
