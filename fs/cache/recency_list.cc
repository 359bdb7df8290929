#include "fs/cache/recency_list.h"

#include <bit>
#include <cassert>
#include <limits>

namespace kvfs {
namespace {

/// Numbers are given out in order, and a tier's may all be multiples of something.
std::size_t scattered(ObjectId id) {
    constexpr std::uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;
    return static_cast<std::size_t>((id ^ id >> 32) * kGoldenRatio >> 24);
}

}  // namespace

RecencyList::RecencyList() : nodes_(1, Node(0)), chains_(1, kNone) {}

void RecencyList::put(ObjectId id) {
    Index& link = link_to(id);
    if (link != kNone) {
        unlink(link);
        append(link);
        return;
    }
    Index node = unused_;
    if (node != kNone) {
        unused_ = nodes_[node].chained;
        nodes_[node] = Node(id);
    } else {
        assert(nodes_.size() < std::numeric_limits<Index>::max());
        node = static_cast<Index>(nodes_.size());
        nodes_.emplace_back(id);
    }
    link = node;
    append(node);
    if (++size_ > kChainLength * chains_.size()) add_chain();
}

void RecencyList::touch(ObjectId id) {
    const Index node = link_to(id);
    if (node == kNone) return;
    unlink(node);
    append(node);
}

void RecencyList::remove(ObjectId id) {
    Index& link = link_to(id);
    const Index node = link;
    if (node == kNone) return;
    unlink(node);
    link = nodes_[node].chained;
    nodes_[node].chained = unused_;
    unused_ = node;
    --size_;
}

std::vector<ObjectId> RecencyList::oldest(std::size_t count) const {
    std::vector<ObjectId> ids;
    for (Index at = nodes_[0].newer; at != kNone && ids.size() < count; at = nodes_[at].newer)
        ids.push_back(nodes_[at].id());
    return ids;
}

std::size_t RecencyList::chain_of(ObjectId id) const {
    const std::size_t half = std::bit_floor(chains_.size());
    const std::size_t chain = scattered(id) & (2 * half - 1);
    return chain < chains_.size() ? chain : chain - half;  // not there yet: it is still with that
}

RecencyList::Index& RecencyList::link_to(ObjectId id) {
    Index* link = &chains_[chain_of(id)];
    while (*link != kNone && nodes_[*link].id() != id) link = &nodes_[*link].chained;
    return *link;
}

/// Parts one chain in two, in turn.
void RecencyList::add_chain() {
    const std::size_t parted = chains_.size() - std::bit_floor(chains_.size());
    Index node = chains_[parted];
    chains_[parted] = kNone;
    chains_.push_back(kNone);
    while (node != kNone) {
        Index& first = chains_[chain_of(nodes_[node].id())];
        const Index next = nodes_[node].chained;
        nodes_[node].chained = first;
        first = node;
        node = next;
    }
}

void RecencyList::append(Index node) {
    const Index latest = nodes_[0].older;
    nodes_[node].older = latest;
    nodes_[node].newer = kNone;
    nodes_[latest].newer = node;
    nodes_[0].older = node;
}

void RecencyList::unlink(Index node) {
    nodes_[nodes_[node].older].newer = nodes_[node].newer;
    nodes_[nodes_[node].newer].older = nodes_[node].older;
}

}  // namespace kvfs
