#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "fs/store/object_store.h"

namespace kvfs {

/// Object numbers in the order of their last use, each at most once, in about 24 bytes each: a tier
/// may hold 10^7 files.
///
/// The list's links are indices into one array; a hash table of chains finds a number's place. The
/// table grows by one chain at a time (linear hashing, Litwin 1980), so no insertion is slower than
/// another. Memory of numbers that are gone is used again, and not given back. Not thread-safe.
class RecencyList {
  public:
    RecencyList();

    /// Makes `id` the latest, whether it is in the list or not.
    void put(ObjectId id);
    /// Makes `id` the latest. An unknown one is ignored.
    void touch(ObjectId id);
    /// An unknown one is ignored.
    void remove(ObjectId id);
    /// The `count` that were used longest ago, those first.
    std::vector<ObjectId> oldest(std::size_t count) const;
    std::size_t size() const { return size_; }

  private:
    using Index = std::uint32_t;
    static constexpr Index kNone = 0;  ///< no node of a chain; in the list's links: its two ends
    static constexpr std::size_t kChainLength = 2;  ///< on average

    struct Node {
        explicit Node(ObjectId id)
            : id_low(static_cast<std::uint32_t>(id)),
              id_high(static_cast<std::uint32_t>(id >> 32)) {}
        ObjectId id() const { return ObjectId{id_high} << 32 | id_low; }

        std::uint32_t id_low, id_high;  // in halves: a Node needs no padding
        Index older = kNone;
        Index newer = kNone;
        Index chained = kNone;  ///< the next of its chain; of a node not in use: the next such
    };

    std::size_t chain_of(ObjectId id) const;
    /// What refers to the node of `id`, or to none at the chain's end.
    Index& link_to(ObjectId id);
    void add_chain();
    void append(Index node);
    void unlink(Index node);

    std::deque<Node> nodes_;  ///< the first stands for both ends of the list
    std::deque<Index> chains_;
    Index unused_ = kNone;
    std::size_t size_ = 0;
};

}  // namespace kvfs
