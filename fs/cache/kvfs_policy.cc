#include <algorithm>
#include <utility>

#include "fs/cache/file_lists.h"
#include "fs/cache/ghosts.h"
#include "fs/cache/policy.h"
#include "fs/cache/reuse_times.h"

namespace kvfs {
namespace {

/// Learns from the files of the tier, and from those that it let go, how soon files of a kind are
/// used again, and evicts that of which least is to be expected for the room it takes. Only a file
/// without others that build on it is evicted: the last block of a prompt before the one before it.
///
/// Kinds are few, so that each is learned soon: how often the file was used, up to three times, and
/// whether anything was ever built on it.
class KvfsPolicy final : public EvictionPolicy {
  public:
    void admitted(const FileUse& file) override;
    void used(const FileUse& file) override;
    void removed(ObjectId id) override;
    std::vector<ObjectId> victims(std::size_t count) override;
    std::size_t files() const override { return files_.size() - husks_; }

  private:
    static constexpr std::uint8_t kUsesMax = 3;
    static constexpr std::uint32_t kKinds = 2 * (kUsesMax + 1);
    /// The lists: of each kind, the files on which none in the tier builds, by their last use; the
    /// files on which some do.
    static constexpr std::uint32_t kInner = kKinds, kLists = kKinds + 1;

    struct Facts {
        std::uint32_t parent = 0;    ///< its index
        std::uint32_t used = 0;      ///< when, by the clock of uses
        std::uint32_t children = 0;  ///< files in the tier that build on it
        std::uint8_t uses = 0;       ///< after the first
        bool extended = false;       ///< something was built on it
        bool here = false;           ///< or a husk: it left, and others that build on it have not
    };
    using Files = FileLists<Facts>;
    using Index = Files::Index;

    static std::uint32_t kind_of(unsigned uses, bool extended) { return 2 * uses + extended; }
    static std::uint32_t kind_of(const Facts& file) { return kind_of(file.uses, file.extended); }
    float worth(Index at) const {
        return reuse_.worth(kind_of(files_[at]), now_ - files_[at].used);
    }

    void use(Index at, const FileUse& file);
    void find_parent(Index at, ObjectId parent);
    void let_go_of_parent(Index at);
    void enqueue(Index at);
    void learn();

    Files files_{kLists};
    Ghosts ghosts_;
    ReuseTimes reuse_{kKinds};
    std::size_t husks_ = 0;
    std::uint32_t now_ = 0;
    std::uint32_t learned_ = 0;  ///< when
};

void KvfsPolicy::admitted(const FileUse& file) {
    Index at = files_.find(file.id);
    if (at == files_.kNone) {
        at = files_.add(file.id);
        Facts& facts = files_[at];
        facts.here = true;
        if (const auto ghost = ghosts_.take(file.id)) {
            facts.uses = static_cast<std::uint8_t>(ghost->kind / 2);
            facts.extended = ghost->kind % 2 != 0;
            facts.used = ghost->used;
            use(at, file);
        } else {
            ++now_;
            facts.used = now_;
            find_parent(at, file.parent);
            enqueue(at);
        }
        ghosts_.make_room(files_.size());
    } else {
        if (!files_[at].here) --husks_;
        files_[at].here = true;
        use(at, file);
    }
    learn();
}

void KvfsPolicy::used(const FileUse& file) {
    const Index at = files_.find(file.id);
    if (at == files_.kNone || !files_[at].here) return;
    use(at, file);
    learn();
}

void KvfsPolicy::use(Index at, const FileUse& file) {
    Facts& facts = files_[at];
    ++now_;
    reuse_.reused(kind_of(facts), now_ - facts.used);
    if (facts.uses < kUsesMax) ++facts.uses;
    facts.used = now_;
    if (facts.parent == files_.kNone) find_parent(at, file.parent);
    enqueue(at);
}

/// Only of a file on which nothing builds: so there are no circles, whatever we are told.
void KvfsPolicy::find_parent(Index at, ObjectId parent) {
    if (parent == 0 || files_[at].children > 0) return;
    const Index found = files_.find(parent);
    if (found == files_.kNone || found == at) return;
    files_[at].parent = found;
    Facts& facts = files_[found];
    facts.extended = true;
    if (++facts.children == 1) files_.make_youngest(found, kInner);
}

void KvfsPolicy::let_go_of_parent(Index at) {
    const Index parent = std::exchange(files_[at].parent, files_.kNone);
    if (parent == files_.kNone || --files_[parent].children > 0) return;
    if (files_[parent].here) {
        enqueue(parent);
    } else {
        let_go_of_parent(parent);
        files_.erase(parent);
        --husks_;
    }
}

/// To its place among those that could go. It is found at either end, or a few steps from the older
/// one, where the one that built on it was; else the file gets off lightly.
void KvfsPolicy::enqueue(Index at) {
    constexpr int kSteps = 16;
    const Facts& facts = files_[at];
    if (facts.children > 0) return;
    const auto kind = kind_of(facts);
    if (facts.used != now_) {
        Index next = files_.oldest(kind);
        for (int step = 0; next != files_.kNone && step < kSteps; ++step, next = files_.newer(next))
            if (next != at && now_ - files_[next].used <= now_ - facts.used)
                return files_.put_behind(at, next);
    }
    files_.make_youngest(at, kind);
}

void KvfsPolicy::removed(ObjectId id) {
    const Index at = files_.find(id);
    if (at == files_.kNone || !files_[at].here) return;
    Facts& facts = files_[at];
    if (const auto gone = ghosts_.put(id, {kind_of(facts), facts.used}))
        reuse_.gone(gone->kind, now_ - gone->used);
    facts.here = false;
    if (facts.children > 0) {
        ++husks_;
        return;
    }
    let_go_of_parent(at);
    files_.erase(at);
}

std::vector<ObjectId> KvfsPolicy::victims(std::size_t count) {
    std::vector<Index> taken;
    std::vector<Index> freed;  // all that build on them are taken
    Index oldest[kKinds];
    for (std::uint32_t kind = 0; kind < kKinds; ++kind) oldest[kind] = files_.oldest(kind);
    while (taken.size() < count) {
        Index* least = nullptr;
        float least_worth = 0;
        const auto consider = [&](Index& at) {
            if (at == files_.kNone) return;
            const float now = worth(at);
            if (least == nullptr || now < least_worth) least = &at, least_worth = now;
        };
        for (Index& at : oldest) consider(at);
        for (Index& at : freed) consider(at);
        if (least == nullptr) break;
        const Index at = *least;
        *least = least >= oldest && least < oldest + kKinds ? files_.newer(at) : files_.kNone;
        taken.push_back(at);
        Index parent = files_[at].parent;
        while (parent != files_.kNone && --files_[parent].children == 0 && !files_[parent].here)
            parent = files_[parent].parent;  // a husk would go with it
        if (parent != files_.kNone && files_[parent].children == 0) {
            std::erase(freed, files_.kNone);
            freed.push_back(parent);
        }
    }
    std::vector<ObjectId> ids;
    for (const Index at : taken) {
        ids.push_back(files_.id(at));
        Index parent = files_[at].parent;
        while (parent != files_.kNone && files_[parent].children++ == 0 && !files_[parent].here)
            parent = files_[parent].parent;
    }
    return ids;
}

/// Every so often, what was seen goes into worth(): also of those that still wait, a sample.
void KvfsPolicy::learn() {
    constexpr std::uint32_t kEvery = 4096;
    constexpr std::size_t kSample = 1024;
    if (now_ - learned_ < std::max<std::size_t>(kEvery, files_.size() / 4)) return;
    learned_ = now_;
    const auto sample = [this](std::size_t slots, auto look) {
        const std::size_t step = slots / kSample + 1;
        for (std::size_t slot = now_ % step; slot < slots; slot += step)
            look(slot, static_cast<float>(step));
    };
    sample(files_.slots(), [this](std::size_t slot, float count) {
        const Index at = files_.in_slot(slot);
        if (at != files_.kNone && files_[at].here)
            reuse_.waiting(kind_of(files_[at]), now_ - files_[at].used, count);
    });
    sample(ghosts_.slots(), [this](std::size_t slot, float count) {
        if (const auto ghost = ghosts_.in_slot(slot))
            reuse_.waiting(ghost->kind, now_ - ghost->used, count);
    });
    reuse_.learn();
}

}  // namespace

std::unique_ptr<EvictionPolicy> make_kvfs() { return std::make_unique<KvfsPolicy>(); }

}  // namespace kvfs
