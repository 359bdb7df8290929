#include <algorithm>

#include "fs/cache/file_lists.h"
#include "fs/cache/policy.h"

namespace kvfs {
namespace {

/// S3-FIFO (Yang et al., SOSP 2023): new files pass through a small queue, and only those that were
/// used again there, or were known from a short while ago, get into the main one.
class S3Fifo final : public EvictionPolicy {
  public:
    void admitted(const FileUse& file) override {
        const auto at = files_.find(file.id);
        if (at == files_.kNone) {
            files_.add(file.id, kSmall);
            ++count_[kSmall];
        } else if (files_[at].list == kGhost) {
            move(at, kMain);
            files_[at].uses = 0;
        } else {
            used(file);
        }
    }
    void used(const FileUse& file) override {
        const auto at = files_.find(file.id);
        if (at != files_.kNone && files_[at].list != kGhost)
            files_[at].uses = static_cast<std::uint8_t>(std::min(files_[at].uses + 1, kUsesMax));
    }
    void removed(ObjectId id) override {
        const auto at = files_.find(id);
        if (at == files_.kNone || files_[at].list == kGhost) return;
        const bool tried = files_[at].list == kSmall;
        move(at, kGhost);
        if (!tried || count_[kGhost] > count_[kMain] + 1) {
            const auto forgotten = tried ? files_.oldest(kGhost) : at;
            files_.erase(forgotten);
            --count_[kGhost];
        }
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

  private:
    enum List : std::uint8_t { kSmall, kMain, kGhost, kLists };
    static constexpr int kUsesMax = 3;
    static constexpr std::size_t kSmallPart = 10;  ///< the small queue: one file in so many

    struct Facts {
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
    std::size_t count_[kLists] = {};
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3fifo() { return std::make_unique<S3Fifo>(); }

}  // namespace kvfs
