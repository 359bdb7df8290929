#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "fs/cache/file_lists.h"
#include "fs/cache/ghosts.h"
#include "fs/cache/lru_rival.h"
#include "fs/cache/policy.h"
#include "fs/cache/reuse_times.h"

namespace kvfs {
namespace {

/// Learns from the files of the tier, and from those that it let go or refused, how soon files of a
/// kind are used again, and keeps those of which most is to be expected for the room they take.
/// Only a file without others that build on it is evicted: the last block of a prompt before the
/// one before it. Where that does not beat LRU, it does what LRU would.
class KvfsPolicy final : public EvictionPolicy {
  public:
    bool admits(const FileUse& file) override;
    void admitted(const FileUse& file) override;
    void used(const FileUse& file) override;
    void changed(const FileUse& file) override;
    void removed(ObjectId id) override;
    std::vector<ObjectId> victims(std::size_t count) override;
    std::size_t files() const override { return files_.size() - husks_; }
    bool has(ObjectId id) const override {
        const Index at = files_.find(id);
        return at != files_.kNone && files_[at].here;
    }

  private:
    // Kinds are few, so that each is learned soon. Of a file that was used once: how many new ones
    // its prompt had brought up to it, in powers of two; a long new text comes back more seldom
    // than a short turn of a conversation. Of others: how often they were used, as far as that
    // tells more. Of both: whether anything was built on it; the end of a prompt is seldom
    // another's.
    static constexpr unsigned kRuns = 8, kUses = 3;
    static constexpr unsigned kKinds = 2 * (kRuns + kUses);
    /// The lists: of each kind, the files on which none in the tier builds, by their last use; the
    /// files on which some do.
    static constexpr unsigned kInner = kKinds, kLists = kKinds + 1;

    /// What was learned is an estimate: LRU's victim goes, unless another is worth less than half
    /// of it, and a newcomer must be clearly worth less to be refused.
    static constexpr float kOutOfTurn = 0.5F, kAdmit = 0.8F;

    struct Facts {
        std::uint32_t name = 0;
        std::uint32_t parent = 0;    ///< its index
        std::uint32_t used = 0;      ///< when, by the clock of uses
        std::uint32_t children = 0;  ///< files in the tier that build on it
        std::uint8_t rank = 0;       ///< the kind, but for `extended`
        bool extended = false;       ///< something was built on it
        bool here = false;           ///< or a husk: it left, and others that build on it have not
    };
    using Files = FileLists<Facts>;
    using Index = Files::Index;

    /// A file that could go.
    struct Candidate {
        Index at = Files::kNone;
        std::uint32_t used = 0;
        float worth = 0;
    };
    /// Of each kind the oldest and the youngest: worth goes up with age to where most uses are, and
    /// down from there, so that the least is at one of the ends.
    using Ends = std::array<Candidate, std::size_t{2} * kKinds>;

    static unsigned kind_of(unsigned rank, bool extended) { return 2 * rank + extended; }
    static unsigned kind_of(const Facts& file) { return kind_of(file.rank, file.extended); }
    static unsigned next_rank(unsigned rank) {
        return rank < kRuns ? kRuns : std::min(rank + 1, kRuns + kUses - 1);
    }
    /// Of a new file, `run` of its prompt's new ones.
    static unsigned first_rank(unsigned run) {
        return std::min(static_cast<unsigned>(std::bit_width(run)) - 1, kRuns - 1);
    }
    unsigned run_of(const FileUse& file) const {
        return file.parent != 0 && file.parent == newest_.id ? newest_.run + 1 : 1;
    }
    float worth(Index at) const {
        return reuse_.worth(kind_of(files_[at]), now_ - files_[at].used);
    }
    Candidate candidate(Index at) const {
        if (at == Files::kNone) return {};
        return {at, files_[at].used, worth(at)};
    }

    /// As a rule it is the one before it in its prompt that is asked for.
    Index find(ObjectId id) const {
        return last_ != files_.kNone && files_.id(last_) == id ? last_ : files_.find(id);
    }
    void touch(Index at) { changed_ |= 1U << kind_of(files_[at]); }
    void told_of(const FileUse& file);
    void is_newest(const FileUse& file);
    void reused(unsigned kind, std::uint32_t age, bool hit);
    void use(Index at, const FileUse& file, bool hit);
    void find_parent(Index at, ObjectId parent);
    void let_go_of_parent(Index at);
    void enqueue(Index at);
    const Ends& ends();
    Candidate next_to_go(const Ends& ends, const std::vector<Candidate>& more) const;
    void take(Ends& ends, Index at) const;
    void learn();

    Files files_{kLists};
    Ghosts ghosts_;
    ReuseTimes reuse_{kKinds};
    LruRival rival_;
    std::size_t husks_ = 0;
    std::uint32_t now_ = 0;
    Candidate next_;              ///< to go, until something changes
    Ends ends_;                   ///< as looked at last
    std::uint32_t changed_ = 0;   ///< the lists that have, since then, as bits
    std::uint32_t looked_ = 0;    ///< when
    std::uint32_t learned_ = 0;   ///< when
    std::uint32_t prompts_ = 0;   ///< that there were
    std::uint32_t built_on_ = 0;  ///< so many files with a parent were told of since learned_
    ObjectId before_ = 0;         ///< the file told of last
    std::uint32_t evicted_ = 0;   ///< when last
    Index last_ = Files::kNone;   ///< what the next one may build on: it stays
    /// The new file told of last, and its place among its prompt's new ones.
    struct Newest {
        ObjectId id = 0;
        unsigned run = 0;
    };
    Newest newest_, before_newest_;
};

/// Files of one prompt come and go together: they are one prompt's worth of evidence.
void KvfsPolicy::told_of(const FileUse& file) {
    ++now_;
    built_on_ += file.parent != 0;
    prompts_ += file.parent == 0 || file.parent != before_;
    before_ = file.id;
}

void KvfsPolicy::is_newest(const FileUse& file) {
    const unsigned run = run_of(file);
    before_newest_ = std::exchange(newest_, {file.id, run});
}

bool KvfsPolicy::admits(const FileUse& file) {
    const auto ghost = ghosts_.find(file.name);
    const unsigned run = run_of(file);
    const unsigned rank = ghost ? next_rank(ghost->kind / 2) : first_rank(run);
    bool worth_it = rival_.leads();
    if (!worth_it) {
        const Index parent = file.parent == 0 ? files_.kNone : find(file.parent);
        const bool useless = file.parent != 0 && (parent == files_.kNone || !files_[parent].here);
        next_ = next_to_go(ends(), {});
        worth_it = !useless && (next_.at == files_.kNone ||
                                reuse_.worth(kind_of(rank, true), 0) >= kAdmit * next_.worth);
    }
    if (worth_it) return true;
    told_of(file);
    bool extended = false;
    if (ghost) {
        extended = ghost->kind % 2 != 0;
        reused(ghost->kind, now_ - ghost->used, false);
    } else {
        is_newest(file);
    }
    const auto gone = ghosts_.put(file.name, {kind_of(rank, extended || !ghost), now_});
    if (gone && !ghost) reuse_.gone(gone->kind, now_ - gone->used);
    ghosts_.make_room(files_.size());
    evicted_ = now_;
    learn();
    return false;
}

void KvfsPolicy::admitted(const FileUse& file) {
    next_ = {};
    Index at = files_.find(file.id);
    if (at == files_.kNone) {
        at = files_.add(file.id);
        Facts& facts = files_[at];
        facts.here = true;
        facts.name = file.name;
        if (const auto ghost = ghosts_.take(file.name)) {
            facts.rank = static_cast<std::uint8_t>(ghost->kind / 2);
            facts.extended = ghost->kind % 2 != 0;
            facts.used = ghost->used;
            use(at, file, false);
        } else {
            is_newest(file);
            facts.rank = static_cast<std::uint8_t>(first_rank(newest_.run));
            told_of(file);
            facts.used = now_;
            find_parent(at, file.parent);
            enqueue(at);
        }
        ghosts_.make_room(files_.size());
    } else {
        const bool hit = std::exchange(files_[at].here, true);
        husks_ -= !hit;
        use(at, file, hit);
    }
    last_ = at;
    learn();
}

void KvfsPolicy::used(const FileUse& file) {
    const Index at = files_.find(file.id);
    if (at == files_.kNone || !files_[at].here) return;
    next_ = {};
    use(at, file, true);
    last_ = at;
    learn();
}

void KvfsPolicy::changed(const FileUse& file) {
    const Index at = files_.find(file.id);
    if (at == files_.kNone || !files_[at].here) return;
    files_[at].name = file.name;
    if (file.parent == 0 || files_[at].parent != files_.kNone) return;
    next_ = {};
    find_parent(at, file.parent);
    if (file.id != newest_.id || file.parent != before_newest_.id) return;
    newest_.run = before_newest_.run + 1;
    if (files_[at].rank >= kRuns) return;
    touch(at);
    files_[at].rank = static_cast<std::uint8_t>(first_rank(newest_.run));
    enqueue(at);
}

void KvfsPolicy::reused(unsigned kind, std::uint32_t age, bool hit) {
    reuse_.reused(kind, age);
    rival_.reused(age, hit);
}

void KvfsPolicy::use(Index at, const FileUse& file, bool hit) {
    Facts& facts = files_[at];
    facts.name = file.name;  // it may have another now
    told_of(file);
    touch(at);
    reused(kind_of(facts), now_ - facts.used, hit);
    facts.rank = static_cast<std::uint8_t>(next_rank(facts.rank));
    facts.used = now_;
    if (facts.parent == files_.kNone) find_parent(at, file.parent);
    enqueue(at);
}

/// Only of a file on which nothing builds: so there are no circles, whatever we are told.
void KvfsPolicy::find_parent(Index at, ObjectId parent) {
    if (parent == 0 || files_[at].children > 0) return;
    const Index found = find(parent);
    if (found == files_.kNone || found == at) return;
    files_[at].parent = found;
    touch(found);
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

/// To its place among those that could go. It is found a few steps from either end, where the one
/// that built on it was; else the file gets off lightly.
void KvfsPolicy::enqueue(Index at) {
    constexpr int kSteps = 16;
    const Facts& facts = files_[at];
    if (facts.children > 0) return;
    const auto kind = kind_of(facts);
    const auto age = now_ - facts.used;
    touch(at);
    files_.make_youngest(at, kind);
    if (age == 0) return;
    Index next = files_.oldest(kind);
    for (int step = 0; step < kSteps && next != at; ++step, next = files_.newer(next))
        if (now_ - files_[next].used <= age) return files_.put_behind(at, next);
    next = files_.older(at);
    for (int step = 0; step < kSteps && next != files_.kNone; ++step, next = files_.older(next))
        if (now_ - files_[next].used >= age) return files_.put_ahead(at, next);
}

void KvfsPolicy::removed(ObjectId id) {
    const Index at = files_.find(id);
    if (at == files_.kNone || !files_[at].here) return;
    next_ = {};
    touch(at);
    Facts& facts = files_[at];
    if (const auto gone = ghosts_.put(facts.name, {kind_of(facts), facts.used}))
        reuse_.gone(gone->kind, now_ - gone->used);
    facts.here = false;
    if (last_ == at) last_ = files_.kNone;
    if (facts.children > 0) {
        ++husks_;
        return;
    }
    let_go_of_parent(at);
    files_.erase(at);
}

/// Worth changes slowly: it is looked at again where a list has changed, and now and then.
const KvfsPolicy::Ends& KvfsPolicy::ends() {
    constexpr std::uint32_t kStale = 32;
    if (now_ - looked_ >= kStale) {
        looked_ = now_;
        changed_ = (1U << kKinds) - 1;
    }
    for (; changed_ != 0; changed_ &= changed_ - 1) {
        const auto kind = static_cast<unsigned>(std::countr_zero(changed_));
        const Index oldest = files_.oldest(kind), youngest = files_.youngest(kind);
        ends_[std::size_t{2} * kind] = candidate(oldest);
        ends_[std::size_t{2} * kind + 1] = oldest == youngest ? Candidate{} : candidate(youngest);
    }
    return ends_;
}

KvfsPolicy::Candidate KvfsPolicy::next_to_go(const Ends& ends,
                                             const std::vector<Candidate>& more) const {
    Candidate least, oldest;
    const auto consider = [&](const Candidate& file, Index spared) {
        if (file.at == files_.kNone || file.at == spared) return;
        if (least.at == files_.kNone || file.worth < least.worth) least = file;
        if (oldest.at == files_.kNone || now_ - file.used > now_ - oldest.used) oldest = file;
    };
    for (const Index spared : {last_, files_.kNone}) {
        for (const Candidate& file : ends) consider(file, spared);
        for (const Candidate& file : more) consider(file, spared);
        if (least.at != files_.kNone) break;
    }
    return rival_.leads() || least.worth > kOutOfTurn * oldest.worth ? oldest : least;
}

/// `at` goes: of `ends`, another one is the end.
void KvfsPolicy::take(Ends& ends, Index at) const {
    const auto kind = kind_of(files_[at]);
    Candidate& oldest = ends[std::size_t{2} * kind];
    Candidate& youngest = ends[std::size_t{2} * kind + 1];
    if (at == youngest.at)
        youngest = candidate(files_.older(at));
    else
        oldest = youngest.at == files_.kNone ? youngest : candidate(files_.newer(at));
    if (oldest.at == youngest.at) youngest = {};
}

std::vector<ObjectId> KvfsPolicy::victims(std::size_t count) {
    evicted_ = now_;
    if (count == 1) {
        const Candidate out = next_.at != files_.kNone ? next_ : next_to_go(ends(), {});
        return out.at == files_.kNone ? std::vector<ObjectId>{} : std::vector{files_.id(out.at)};
    }
    Ends left = ends();
    std::vector<Candidate> freed;  // all that build on them were taken
    std::vector<Index> taken;
    while (taken.size() < count) {
        const Index at = next_to_go(left, freed).at;
        if (at == files_.kNone) break;
        taken.push_back(at);
        if (std::erase_if(freed, [at](const Candidate& file) { return file.at == at; }) == 0)
            take(left, at);
        Index parent = files_[at].parent;
        while (parent != files_.kNone && --files_[parent].children == 0 && !files_[parent].here)
            parent = files_[parent].parent;  // a husk would go with it
        if (parent != files_.kNone && files_[parent].children == 0)
            freed.push_back(candidate(parent));
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
    // Prompts of a kind: below that, luck says more than the kind.
    constexpr float kFewPrompts = 4;
    // In the time in which as many files are used as the tier has: what comes back within a moment
    // is there anyhow.
    constexpr std::size_t kMoments = 16;
    if (now_ - learned_ < std::max<std::size_t>(kEvery, files_.size() / 4)) return;
    const auto sample = [this](std::size_t slots, auto look) {
        const std::size_t step = slots / kSample + 1;
        for (std::size_t slot = now_ % step; slot < slots; slot += step) {
            const auto [kind, used] = look(slot);
            if (kind == kKinds) continue;
            const auto count = static_cast<float>(step);
            reuse_.waiting(kind, now_ - used, count);
            rival_.waiting(now_ - used, count);
        }
    };
    const std::pair<unsigned, std::uint32_t> nobody{kKinds, 0};
    sample(files_.slots(), [&](std::size_t slot) {
        const Index at = files_.in_slot(slot);
        if (at == files_.kNone || !files_[at].here) return nobody;
        return std::pair{kind_of(files_[at]), files_[at].used};
    });
    sample(ghosts_.slots(), [&](std::size_t slot) {
        const auto ghost = ghosts_.in_slot(slot);
        return ghost ? std::pair{static_cast<unsigned>(ghost->kind), ghost->used} : nobody;
    });
    reuse_.learn(static_cast<std::uint32_t>(files() / kMoments),
                 kFewPrompts * static_cast<float>(now_) / static_cast<float>(prompts_ + 1));
    // Without parents, hits would be counted that nobody can use, as a block before them is gone.
    const bool full = now_ - evicted_ <= now_ - learned_;
    if (full && 2 * built_on_ > now_ - learned_)
        rival_.look(now_, files());
    else
        rival_.reset(now_);
    built_on_ = 0;
    learned_ = now_;
}

}  // namespace

std::unique_ptr<EvictionPolicy> make_kvfs() { return std::make_unique<KvfsPolicy>(); }

}  // namespace kvfs
