#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "fs/cache/chunks.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// Files that left a tier, as far as a policy wants to know them again: a table with one place for
/// each of many files, eight bytes each, so the next one to come to a place takes it. A file may
/// be mistaken for another once in 2^27 times.
class Ghosts {
  public:
    struct Ghost {
        std::uint32_t kind = 0;  ///< < 31
        std::uint32_t used = 0;  ///< when
    };

    /// Keeps as many as are worth their memory beside `files` files.
    void make_room(std::size_t files) {
        while (slots_.size() < std::max(kLeast, kPerFile * files)) slots_.push_back({});
    }
    /// Returns whom it took the place of.
    std::optional<Ghost> put(ObjectId id, Ghost ghost) {
        Slot& slot = slots_[place(id)];
        const auto gone = slot.ghost();
        slot = {print(id) | (ghost.kind + 1), ghost.used};
        return gone;
    }
    std::optional<Ghost> take(ObjectId id) {
        if (slots_.size() == 0) return std::nullopt;
        Slot& slot = slots_[place(id)];
        if (slot.is >> 5 != print(id) >> 5) return std::nullopt;
        const auto ghost = slot.ghost();
        slot = {};
        return ghost;
    }
    /// The same, and it stays.
    std::optional<Ghost> find(ObjectId id) const {
        if (slots_.size() == 0) return std::nullopt;
        const Slot& slot = slots_[place(id)];
        return slot.is >> 5 == print(id) >> 5 ? slot.ghost() : std::nullopt;
    }
    std::size_t slots() const { return slots_.size(); }
    std::optional<Ghost> in_slot(std::size_t slot) const {
        return slot < slots_.size() ? slots_[slot].ghost() : std::nullopt;
    }

  private:
    static constexpr std::size_t kPerFile = 2;
    /// Half a MiB: a small tier turns over long before its files are used again.
    static constexpr std::size_t kLeast = 65'536;

    struct Slot {
        std::uint32_t is = 0;  ///< print of the number, and 1 + kind; 0: nobody
        std::uint32_t used = 0;
        std::optional<Ghost> ghost() const {
            if ((is & 31) == 0) return std::nullopt;
            return Ghost{(is & 31) - 1, used};
        }
    };

    static std::uint64_t hash(ObjectId id) { return (id ^ id >> 32) * 0x9e3779b97f4a7c15; }
    static std::uint32_t print(ObjectId id) {
        return static_cast<std::uint32_t>(hash(id) ^ hash(id) >> 29) & ~31U;
    }
    /// Of those it may go to: the table grows without moving what is in it.
    std::size_t place(ObjectId id) const {
        const std::size_t half = std::bit_floor(slots_.size());
        const std::size_t at = (hash(id) >> 20) & (2 * half - 1);
        return at < slots_.size() ? at : at - half;
    }

    Chunks<Slot> slots_;
};

}  // namespace kvfs
