#include <algorithm>

#include "fs/cache/file_lists.h"
#include "fs/cache/ghosts.h"
#include "fs/cache/policy.h"

namespace kvfs {
namespace {

/// S3-FIFO (Yang et al., SOSP 2023): new files pass through a small queue, and only those that were
/// used again there, or were known from a short while ago, get into the main one.
class S3Fifo final : public EvictionPolicy {
  public:
    void admitted(const FileUse& file) override {
        const auto at = files_.find(file.id);
        if (at != files_.kNone) return used(file);
        const auto ghost = ghosts_.take(file.name);
        const List list = ghost && left_ - ghost->used <= count_[kMain] + 1 ? kMain : kSmall;
        files_[files_.add(file.id, list)] = {.name = file.name, .list = list};
        ++count_[list];
        ghosts_.make_room(files());
    }
    void used(const FileUse& file) override {
        const auto at = files_.find(file.id);
        if (at == files_.kNone) return;
        files_[at].name = file.name;
        files_[at].uses = static_cast<std::uint8_t>(std::min(files_[at].uses + 1, kUsesMax));
    }
    void removed(ObjectId id) override {
        const auto at = files_.find(id);
        if (at == files_.kNone) return;
        const Facts& file = files_[at];
        --count_[file.list];
        if (file.list == kSmall) ghosts_.put(file.name, {.used = ++left_});
        files_.erase(at);
    }
    std::vector<ObjectId> victims(std::size_t count) override {
        settle();
        std::vector<ObjectId> ids;
        const bool small_first = count_[kSmall] * kSmallPart >= files();
        for (const auto list : {small_first ? kSmall : kMain, small_first ? kMain : kSmall})
            for (auto at = files_.oldest(list); at != files_.kNone && ids.size() < count;
                 at = files_.newer(at))
                ids.push_back(files_.id(at));
        return ids;
    }
    std::size_t files() const override { return count_[kSmall] + count_[kMain]; }
    bool has(ObjectId id) const override { return files_.find(id) != files_.kNone; }

  private:
    enum List : std::uint8_t { kSmall, kMain, kLists };
    static constexpr int kUsesMax = 3;
    static constexpr std::size_t kSmallPart = 10;  ///< the small queue: one file in so many

    struct Facts {
        std::uint32_t name = 0;
        List list = kSmall;
        std::uint8_t uses = 0;
    };

    void move(FileLists<Facts>::Index at, List list) {
        --count_[files_[at].list];
        ++count_[list];
        files_[at].list = list;
        files_.make_youngest(at, list);
    }
    /// Until the oldest of the queue that is to give a victim was not used.
    void settle() {
        for (;;) {
            const bool small = count_[kSmall] * kSmallPart >= files() && count_[kSmall] > 0;
            const auto at = files_.oldest(small ? kSmall : kMain);
            if (at == files_.kNone || files_[at].uses == 0) return;
            files_[at].uses = small ? 0 : static_cast<std::uint8_t>(files_[at].uses - 1);
            move(at, kMain);
        }
    }

    FileLists<Facts> files_{kLists};
    Ghosts ghosts_;           ///< of the small queue
    std::uint32_t left_ = 0;  ///< so many have left it
    std::size_t count_[kLists] = {};
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3fifo() { return std::make_unique<S3Fifo>(); }

}  // namespace kvfs
