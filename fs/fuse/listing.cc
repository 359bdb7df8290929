#include "fs/fuse/listing.h"

#include <algorithm>

namespace kvfs::fuse {

Listing::Place Listing::place_of(std::uint64_t position) const {
    if (position <= kDots) return {};
    if (!batch_.empty() && position >= batch_.front().position &&
        position <= batch_.back().position) {
        return {batch_[position - batch_.front().position].name, 0};
    }
    const auto mark = std::upper_bound(
        marks_.begin(), marks_.end(), position,
        [](std::uint64_t wanted, const auto& candidate) { return wanted < candidate.first; });
    if (mark == marks_.begin()) return {"", position - kDots};
    return {std::prev(mark)->second, position - std::prev(mark)->first};
}

Result<std::vector<Listing::Entry>> Listing::next(const Namespace& names, std::uint64_t position,
                                                  std::size_t count) {
    std::vector<Entry> entries;
    if (position < kDots) {
        auto self = names.get(ino_);
        if (!self.ok()) return self.error();
        const Ino parent = self->parent == 0 ? ino_ : self->parent;
        if (position == 0) entries.push_back({".", ino_, S_IFDIR, 1});
        entries.push_back({"..", parent, S_IFDIR, kDots});
    }
    const std::size_t dots = entries.size();

    MutexLock lock(mutex_);
    if (position == 0) {
        batch_.clear();
        marks_.clear();
    }
    Place place = place_of(position);
    std::uint64_t next_position = std::max(position, kDots);
    std::vector<Entry> batch;
    const Status listed = names.list(ino_, place.after, [&](const Namespace::Entry& entry) {
        if (place.skip > 0) {
            --place.skip;
            return true;
        }
        batch.push_back({std::string(entry.name), entry.ino, entry.type, ++next_position});
        return batch.size() + dots < count;
    });
    if (!listed.ok()) return listed.error();
    if (!batch.empty()) {
        if (marks_.empty() || marks_.back().first < batch.back().position) {
            marks_.emplace_back(batch.back().position, batch.back().name);
        }
        batch_ = batch;
    }
    entries.insert(entries.end(), std::make_move_iterator(batch.begin()),
                   std::make_move_iterator(batch.end()));
    return entries;
}

}  // namespace kvfs::fuse
