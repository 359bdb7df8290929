#include "tests/model/shared_names.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <type_traits>

#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

constexpr std::size_t kBytesMax = 1'500'000;

struct Header {
    std::uint64_t which;
    std::uint64_t version;
    std::uint64_t size;
};

std::string file_name(std::size_t which) { return "s" + std::to_string(which); }

std::string version_bytes(std::size_t which, long version, std::size_t size) {
    std::string bytes = pattern(size, which * 1'000'003 + static_cast<std::uint64_t>(version));
    const Header header{which, static_cast<std::uint64_t>(version), size};
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
}

/// -1: these are not the bytes of a whole version of that name.
long version_of(std::size_t which, const std::string& bytes) {
    Header header{};
    if (bytes.size() < sizeof header) return -1;
    std::memcpy(&header, bytes.data(), sizeof header);
    const auto version = static_cast<long>(header.version);
    if (header.which != which || header.size != bytes.size()) return -1;
    return bytes == version_bytes(which, version, bytes.size()) ? version : -1;
}

}  // namespace

std::string SharedNames::save(Front& front, MountFront& mount, std::mt19937_64& random) {
    const std::size_t which = random() % kNames;
    Name& name = names_[which];
    const std::scoped_lock turn(name.saving);
    const long version = ++name.begun;
    ++name.changes;
    const std::string wrong = front.save(
        file_name(which), version_bytes(which, version, sizeof(Header) + random() % kBytesMax));
    ++name.changes;
    if (!wrong.empty()) return "save s" + std::to_string(which) + ": " + wrong;
    // What a program saves through libgpumap shows in the mount within a moment (N13).
    std::string seen;
    const bool shows = eventually([&] {
        const Loaded loaded = mount.load(file_name(which), random);
        seen = loaded.is == Loaded::Is::there
                   ? "version " + std::to_string(version_of(which, loaded.bytes))
                   : "none " + loaded.why;
        return seen == "version " + std::to_string(version);
    });
    if (!shows)
        return file_name(which) + ": version " + std::to_string(version) + ", saved through the " +
               front.name() + ", does not show in the mount: " + seen;
    name.least = version;
    name.there = true;
    return {};
}

std::string SharedNames::load(Front& front, Seen& seen, std::mt19937_64& random) {
    return compare(front, random() % kNames, seen, random);
}

std::string SharedNames::compare(Front& front, std::size_t which, Seen& seen,
                                 std::mt19937_64& random) {
    Name& name = names_[which];
    const long changes = name.changes;
    const long removals = name.removals;  // before `there`: a remover changes that first
    const bool there = name.there;
    const long least = name.least;
    Loaded loaded = front.load(file_name(which), random);
    // A close may be on its way for longer than the moment that the mapper waits for it (N14).
    for (int tries = 0; loaded.is == Loaded::Is::replaced && name.changes == changes && tries < 50;
         ++tries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        loaded = front.load(file_name(which), random);
    }
    const std::string where = file_name(which) + " through the " + front.name() +
                              " (at least version " + std::to_string(least) +
                              (there ? ", there" : ", perhaps absent") + "): ";
    if (loaded.is == Loaded::Is::failed) return where + loaded.why;
    if (loaded.is == Loaded::Is::absent)
        return there && name.removals == removals ? where + "not there" : "";
    if (loaded.is == Loaded::Is::replaced)
        return changes % 2 == 0 && name.changes == changes ? where + "replaced, though nobody did"
                                                           : "";
    const long version = version_of(which, loaded.bytes);
    if (version < 0)
        return where + std::to_string(loaded.bytes.size()) + " bytes that are no whole version";
    if (version < least || version < seen[which] || version > name.begun)
        return where + "version " + std::to_string(version) + "; this thread has seen " +
               std::to_string(seen[which]) + ", the newest is " + std::to_string(name.begun);
    seen[which] = version;
    return {};
}

std::string SharedNames::look(Front& front, std::mt19937_64& random) {
    const std::size_t which = random() % kNames;
    Name& name = names_[which];
    const long removals = name.removals;
    const bool there = name.there;
    const Loaded found = front.look(file_name(which));
    if (found.is == Loaded::Is::there) return {};
    if (found.is == Loaded::Is::absent && (!there || name.removals != removals)) return {};
    return "look for " + file_name(which) + " through the " + front.name() + ": not there " +
           found.why;
}

std::string SharedNames::remove(const std::string& directory, std::mt19937_64& random) {
    const std::size_t which = random() % kNames;
    Name& name = names_[which];
    const std::scoped_lock turn(name.saving);
    const bool there = name.there;
    name.there = false;
    ++name.removals;
    ++name.changes;
    const int result = ::unlink((directory + "/" + file_name(which)).c_str());
    const int error = errno;
    ++name.changes;
    if ((result == 0) != there || (result != 0 && error != ENOENT))
        return (there ? "unlink " : "unlink absent ") + failed(file_name(which));
    name.least = name.begun + 1;
    return {};
}

std::string SharedNames::compare_all(Front& front, std::mt19937_64& random) {
    for (std::size_t which = 0; which < kNames; ++which) {
        Seen seen{};
        seen[which] = names_[which].begun;  // no older, and there is none newer
        const std::string wrong = compare(front, which, seen, random);
        if (!wrong.empty()) return wrong;
        const bool found = front.look(file_name(which)).is == Loaded::Is::there;
        if (found != names_[which].there) return file_name(which) + " is there, though removed";
    }
    return {};
}

}  // namespace kvfs::tests
