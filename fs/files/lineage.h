#pragma once
#include <chrono>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "fs/base/clock.h"
#include "fs/base/mutex.h"
#include "fs/names/inode.h"

namespace kvfs {

/// Guesses which file a new one builds on: the block before it in its prompt. Engines look a
/// prompt's blocks up in their order, and write those that are missing in their order too; so what
/// a client has asked for just before is the block before, if that file is there by then.
///
/// A name that is not there is remembered with the one asked for before it, so that threads other
/// than the one that looked for it may write it, in any order, and under a temporary name. A guess
/// may be wrong: where a client goes from one prompt to the next without a pause, and finds nothing
/// of that, the first block of it seems to build on the last one of the other. How long such a
/// chain may become is bounded, for its end is what a tier gives up first.
///
/// Keeps the last names and clients only, about two MiB. Thread-safe.
class Lineage {
  public:
    /// Whoever asks for files one after the other: a thread of a program, a mapper client.
    using Client = std::uint64_t;
    static constexpr Client kNobody = 0;
    /// A name in a directory, hashed.
    using Name = std::uint64_t;
    static Name name(Ino directory, std::string_view name);

    using Time = Clock::time_point;

    /// `client` asked for `name`, and it is the file `ino`; 0: there is none.
    void asked(Client client, Name name, Ino ino, Time now = Clock::now());
    /// `client` is about to make the file `name`, which is not there yet. After `most` that it made
    /// one after the other, a prompt begins.
    void makes(Client client, Name name, std::size_t most, Time now = Clock::now());
    /// The file that a new one of that name builds on; 0: none, or unknown.
    Ino parent_of(Name name);
    /// `name` is the file `ino` now.
    void is(Name name, Ino ino);
    /// `name` was the file `ino`, which is no more.
    void gone(Name name, Ino ino);

  private:
    /// A map of the youngest keys: at least `most`, at most twice as many.
    template <typename Key, typename Value>
    class Recent {
      public:
        explicit Recent(std::size_t most) : most_(most) {}
        Value* find(Key key) {
            if (const auto found = young_.find(key); found != young_.end()) return &found->second;
            const auto found = old_.find(key);
            return found == old_.end() ? nullptr : &found->second;
        }
        Value& operator[](Key key) {
            if (const auto found = young_.find(key); found != young_.end()) return found->second;
            if (young_.size() >= most_) {
                old_.swap(young_);
                young_.clear();
            }
            Value& value = young_[key];
            if (const auto found = old_.find(key); found != old_.end()) value = found->second;
            return value;
        }

      private:
        std::size_t most_;
        std::unordered_map<Key, Value> young_, old_;
    };

    /// Of a name.
    struct Known {
        Ino ino = 0;      ///< 0: not there
        Name before = 0;  ///< asked for before it
    };
    struct Asking {
        Name last = 0;
        Time when{}, begun{};  ///< `last` was asked for, and the first of those in a row
        std::size_t made = 0;  ///< so many were, one after the other, by the client
    };

    void ask(Client client, Name name, Ino ino, Time now) REQUIRES(mutex_);

    Mutex mutex_;
    Recent<Name, Known> names_ GUARDED_BY(mutex_){16'384};
    Recent<Client, Asking> clients_ GUARDED_BY(mutex_){1'024};
};

}  // namespace kvfs
