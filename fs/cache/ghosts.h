#pragma once
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "fs/cache/chunks.h"

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
    std::optional<Ghost> put(std::uint32_t name, Ghost ghost) {
        Slot& slot = slots_[place(name)];
        const auto gone = slot.ghost();
        slot = {print(name) | (ghost.kind + 1), ghost.used};
        return gone;
    }
    std::optional<Ghost> take(std::uint32_t name) {
        if (slots_.size() == 0) return std::nullopt;
        Slot& slot = slots_[place(name)];
        if (slot.is >> 5 != print(name) >> 5) return std::nullopt;
        const auto ghost = slot.ghost();
        slot = {};
        return ghost;
    }
    /// The same, and it stays.
    std::optional<Ghost> find(std::uint32_t name) const {
        if (slots_.size() == 0) return std::nullopt;
        const Slot& slot = slots_[place(name)];
        return slot.is >> 5 == print(name) >> 5 ? slot.ghost() : std::nullopt;
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

    static std::uint64_t hash(std::uint32_t name) { return name * 0x9e3779b97f4a7c15; }
    static std::uint32_t print(std::uint32_t name) {
        return static_cast<std::uint32_t>(hash(name) ^ hash(name) >> 29) & ~31U;
    }
    /// Of those it may go to: the table grows without moving what is in it.
    std::size_t place(std::uint32_t name) const {
        const std::size_t half = std::bit_floor(slots_.size());
        const std::size_t at = (hash(name) >> 20) & (2 * half - 1);
        return at < slots_.size() ? at : at - half;
    }

    Chunks<Slot> slots_;
};

}  // namespace kvfs
