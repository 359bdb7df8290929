#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/model/model.h"
#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

constexpr std::size_t kPage = 4096;

}  // namespace

void Model::step_on_maps() {
    const std::uint64_t choice = any(20);
    if (choice < 4) return map_one();
    if (choice < 9) return read_map();
    if (choice < 14) return store_to_map();
    if (choice < 18) return map_privately();
    const std::size_t which = any(kMapsMax);
    both("unmap " + std::to_string(which), [&](Side& s) {
        s.maps[which].unmap();
        return Outcome{};
    });
}

/// It stays while other steps write, truncate, rename and close the file.
void Model::map_one() {
    const std::size_t which = any(kMapsMax);
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset() / kPage * kPage;
    const std::size_t length = any_size();
    const int protection = any(3) == 0 ? PROT_READ : PROT_READ | PROT_WRITE;
    both("map " + std::to_string(slot) + " from " + std::to_string(offset) + ", " +
             std::to_string(length) + ", protection " + std::to_string(protection) + " as map " +
             std::to_string(which),
         [&](Side& s) {
             Map& map = s.maps[which];
             map.unmap();
             void* memory = ::mmap(nullptr, length, protection, MAP_SHARED, s.fds[slot],
                                   static_cast<off_t>(offset));
             if (memory == MAP_FAILED) return outcome_of(-1);
             map = {static_cast<char*>(memory), length, offset,
                    ::fcntl(s.fds[slot], F_DUPFD_CLOEXEC, 0)};
             return outcome_of(0);
         });
}

void Model::read_map() {
    const std::size_t which = any(kMapsMax);
    const std::size_t from = any_offset();
    const std::size_t size = any_size();
    both("read map " + std::to_string(which) + " " + std::to_string(size) + " from " +
             std::to_string(from),
         [&](Side& s) {
             const Map& map = s.maps[which];
             const std::size_t end = std::min(map.in_file(), from + size);
             if (from >= end) return outcome_of(0, "beyond");
             return outcome_of(0, std::string(map.memory + from, end - from));
         });
}

void Model::store_to_map() {
    const std::size_t which = any(kMapsMax);
    const std::size_t from = any_offset();
    const std::string bytes = pattern(std::min<std::size_t>(any_size(), 300'000), random_());
    const bool unmap = any(4) == 0;
    if (sides_[1].maps[which].memory != nullptr) {
        struct stat st {};
        if (::fstat(sides_[1].maps[which].fd, &st) == 0) wrote_to(st);
    }
    both("store to map " + std::to_string(which) + " " + std::to_string(bytes.size()) + " at " +
             std::to_string(from) + (unmap ? ", unmap" : ", msync"),
         [&](Side& s) {
             Map& map = s.maps[which];
             const std::size_t end = std::min(map.in_file(), from + bytes.size());
             // A map that was made for reading stays so.
             if (from >= end || ::mprotect(map.memory, map.length, PROT_READ | PROT_WRITE) != 0)
                 return outcome_of(0, "cannot");
             std::memcpy(map.memory + from, bytes.data(), end - from);
             if (!unmap) return outcome_of(::msync(map.memory, map.length, MS_SYNC));
             map.unmap();
             return outcome_of(0);
         });
}

/// As a loader of model weights does, that then changes its copy: the file stays as it is.
void Model::map_privately() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset() / kPage * kPage;
    const std::size_t size = any_size();
    both("map privately " + std::to_string(slot) + " " + std::to_string(size) + " at " +
             std::to_string(offset),
         [&](Side& s) {
             struct stat st {};
             if (::fstat(s.fds[slot], &st) != 0) return outcome_of(-1);
             if (!S_ISREG(st.st_mode)) return outcome_of(0);  // sizes of directories are anybody's
             const auto end = static_cast<std::size_t>(st.st_size);
             if (offset >= end) return outcome_of(0, "beyond");
             const std::size_t length = std::min(size, end - offset);
             void* memory =
                 ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE,
                        s.fds[slot], static_cast<off_t>(offset));
             if (memory == MAP_FAILED) return outcome_of(-1);
             std::string bytes(static_cast<const char*>(memory), length);
             std::memset(memory, 0x5a, length);
             ::munmap(memory, length);
             return outcome_of(0, std::move(bytes));
         });
}

}  // namespace kvfs::tests
