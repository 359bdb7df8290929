#include "fs/files/lineage.h"

#include <functional>

namespace kvfs {
namespace {

/// What belongs to one prompt is asked for in one go; longer, and it is taken for several. This
/// also bounds how many prompts a guess may string together.
constexpr auto kInOneGo = std::chrono::seconds(1);
/// Between finding what is there and writing what is not lies the engine's computation.
constexpr auto kComputing = std::chrono::seconds(30);
/// Blocks before the new one that are not there (yet): its writers run side by side.
constexpr int kMissingMax = 64;

}  // namespace

Lineage::Name Lineage::name(Ino directory, std::string_view name) {
    const std::uint64_t mixed = directory * 0x9e3779b97f4a7c15;
    return std::hash<std::string_view>()(name) ^ (mixed ^ mixed >> 32);
}

void Lineage::asked(Client client, Name name, Ino ino, Time now) {
    if (client == kNobody) return;
    const MutexLock lock(mutex_);
    ask(client, name, ino, now);
}

void Lineage::ask(Client client, Name name, Ino ino, Time now) {
    Asking& asking = clients_[client];
    if (ino != 0) asking.made = 0;
    if (asking.last == name) return;
    bool goes_on = asking.last != 0 && now - asking.begun <= kInOneGo;
    if (!goes_on) {
        goes_on =
            ino == 0 && asking.last != 0 && asking.made == 0 && now - asking.when <= kComputing;
        asking.begun = now;
        asking.made = 0;
    }
    Known& known = names_[name];
    if (ino == 0 && (known.ino != 0 || known.before == 0)) known.before = goes_on ? asking.last : 0;
    known.ino = ino;
    asking.last = name;
    asking.when = now;
}

void Lineage::makes(Client client, Name name, std::size_t most, Time now) {
    if (client == kNobody) return;
    const MutexLock lock(mutex_);
    ask(client, name, 0, now);
    Asking& asking = clients_[client];
    if (asking.made == 0 || asking.made >= most) asking.begun = now;
    if (asking.made >= most) {
        names_[name].before = 0;
        asking.made = 0;
    }
    ++asking.made;
}

Ino Lineage::parent_of(Name name) {
    const MutexLock lock(mutex_);
    const Known* known = names_.find(name);
    for (int steps = 0; known != nullptr && steps < kMissingMax; ++steps) {
        known = names_.find(known->before);
        if (known != nullptr && known->ino != 0) return known->ino;
    }
    return 0;
}

void Lineage::is(Name name, Ino ino) {
    const MutexLock lock(mutex_);
    names_[name].ino = ino;
}

void Lineage::gone(Name name, Ino ino) {
    const MutexLock lock(mutex_);
    if (Known* const known = names_.find(name); known != nullptr && known->ino == ino)
        known->ino = 0;
}

}  // namespace kvfs
