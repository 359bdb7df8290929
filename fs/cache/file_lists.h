#pragma once
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "fs/cache/chunks.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// What eviction policies are made of: files by number, each in one of a few lists ordered from the
/// oldest to the youngest, with `Facts` of the policy's own. 20 bytes a file and about two for its
/// place in the table, besides the facts: a tier may hold 10^7 files.
///
/// The lists' links are indices into one array; a hash table of chains finds a number's place. The
/// table grows by one chain at a time (linear hashing, Litwin 1980), so no insertion is slower than
/// another. Memory of numbers that are gone is used again, and not given back. Not thread-safe.
template <typename Facts>
class FileLists {
  public:
    using Index = std::uint32_t;
    static constexpr Index kNone = 0;  ///< no file

    explicit FileLists(Index lists = 1) : lists_(lists) {
        chains_.push_back(kNone);
        for (Index end = 0; end < lists; ++end) {
            Node& node = nodes_.push_back({});
            node.older = node.newer = end;
        }
    }

    /// kNone when it is in no list.
    Index find(ObjectId id) const {
        Index at = chains_[chain_of(id)];
        while (at != kNone && nodes_[at].id() != id) at = nodes_[at].chained;
        return at;
    }
    /// A file that is in no list yet becomes the youngest of `list`.
    Index add(ObjectId id, Index list = 0) {
        Index at = unused_;
        if (at != kNone) {
            unused_ = nodes_[at].chained;
        } else {
            assert(nodes_.size() < std::numeric_limits<Index>::max());
            at = static_cast<Index>(nodes_.size());
            nodes_.push_back({});
        }
        Index& first = chains_[chain_of(id)];
        nodes_[at] = Node(id, first);
        first = at;
        link_before(at, list);
        if (++size_ > kChainLength * chains_.size()) add_chain();
        return at;
    }
    void erase(Index at) {
        unlink(at);
        Index* link = &chains_[chain_of(id(at))];
        while (*link != at) link = &nodes_[*link].chained;
        *link = nodes_[at].chained;
        nodes_[at] = Node();
        nodes_[at].chained = unused_;
        unused_ = at;
        --size_;
    }

    Facts& operator[](Index at) { return nodes_[at].facts; }
    const Facts& operator[](Index at) const { return nodes_[at].facts; }
    ObjectId id(Index at) const { return nodes_[at].id(); }
    std::size_t size() const { return size_; }

    /// Files lie in slots, for those who want to see a sample: kNone in one that is empty.
    std::size_t slots() const { return nodes_.size(); }
    Index in_slot(std::size_t slot) const {
        return slot < lists_ || !nodes_[slot].taken() ? kNone : static_cast<Index>(slot);
    }

    void make_youngest(Index at, Index list = 0) { unlink(at), link_before(at, list); }
    /// The next older one in the list of `other`.
    void put_behind(Index at, Index other) { unlink(at), link_before(at, other); }
    /// The next younger one in the list of `other`.
    void put_ahead(Index at, Index other) { unlink(at), link_before(at, nodes_[other].newer); }

    Index oldest(Index list = 0) const { return newer(list); }
    Index youngest(Index list = 0) const { return older(list); }
    /// kNone when there is none.
    Index newer(Index at) const {
        const Index next = nodes_[at].newer;
        return next < lists_ ? kNone : next;
    }

    Index older(Index at) const {
        const Index next = nodes_[at].older;
        return next < lists_ ? kNone : next;
    }

  private:
    static constexpr std::size_t kChainLength = 2;  ///< on average

    struct Node {
        Node() = default;
        Node(ObjectId id, Index next)
            : id_low(static_cast<std::uint32_t>(id)),
              id_high(static_cast<std::uint32_t>(id >> 32)),
              chained(next) {}
        ObjectId id() const { return ObjectId{id_high} << 32 | id_low; }
        bool taken() const { return id() != 0; }  ///< no object has that number

        std::uint32_t id_low = 0, id_high = 0;  // in halves: a Node needs no padding
        Index older = kNone;
        Index newer = kNone;
        Index chained = kNone;  ///< the next of its chain; of a node not in use: the next such
        Facts facts{};
    };

    std::size_t chain_of(ObjectId id) const {
        // Numbers are given out in order, and a tier's may all be multiples of something.
        constexpr std::uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
        const auto hash = static_cast<std::size_t>((id ^ id >> 32) * kGoldenRatio >> 24);
        const std::size_t half = std::bit_floor(chains_.size());
        const std::size_t chain = hash & (2 * half - 1);
        return chain < chains_.size() ? chain : chain - half;  // not there yet: still with that
    }
    /// Parts one chain in two, in turn.
    void add_chain() {
        const std::size_t parted = chains_.size() - std::bit_floor(chains_.size());
        Index at = chains_[parted];
        chains_[parted] = kNone;
        chains_.push_back(kNone);
        while (at != kNone) {
            Index& first = chains_[chain_of(id(at))];
            const Index next = nodes_[at].chained;
            nodes_[at].chained = first;
            first = at;
            at = next;
        }
    }
    /// `next` may be a list's number, its end.
    void link_before(Index at, Index next) {
        nodes_[at].newer = next;
        nodes_[at].older = nodes_[next].older;
        nodes_[nodes_[at].older].newer = at;
        nodes_[next].older = at;
    }
    void unlink(Index at) {
        nodes_[nodes_[at].older].newer = nodes_[at].newer;
        nodes_[nodes_[at].newer].older = nodes_[at].older;
    }

    Index lists_;  ///< so many first nodes stand for both ends of a list each
    Chunks<Node> nodes_;
    Chunks<Index> chains_;
    Index unused_ = kNone;
    std::size_t size_ = 0;
};

}  // namespace kvfs
