#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "tests/model/model.h"
#include "tests/support/client.h"
#include "tests/support/mounted.h"

namespace kvfs::tests {
namespace {

constexpr std::size_t kFileBytesMax = 3 << 20;
constexpr std::size_t kPage = 4096;

std::string range_text(std::size_t slot, std::size_t size, std::size_t offset) {
    return std::to_string(slot) + " " + std::to_string(size) + " at " + std::to_string(offset);
}

/// `bytes` in three pieces, the middle one of no length at times.
std::array<iovec, 3> in_pieces(std::string& bytes, std::uint64_t choice) {
    const std::size_t first = choice % (bytes.size() + 1);
    const std::size_t second = choice % 3 == 0 ? first : first + (bytes.size() - first) / 2;
    return {iovec{bytes.data(), first}, iovec{bytes.data() + first, second - first},
            iovec{bytes.data() + second, bytes.size() - second}};
}

}  // namespace

void Model::step_on_bytes() {
    const std::uint64_t choice = any(40);
    if (choice < 6) return write_one();
    if (choice < 11) return read_one();
    if (choice < 14) return write_at_position();
    if (choice < 16) return read_at_position();
    if (choice < 19) return write_vectors();
    if (choice < 21) return read_vectors();
    if (choice < 25) return direct_io();
    if (choice < 27) return seek_one();
    if (choice < 30) return copy_range();
    if (choice < 35) return truncate_one();
    if (choice < 38) return allocate_one();
    sync_one();
}

void Model::keep_small(std::size_t slot) {
    wrote_to(slot);
    both("fstat " + std::to_string(slot), [&](Side& s) {
        struct stat st {};
        const int result = ::fstat(s.fds[slot], &st);
        if (result == 0 && S_ISREG(st.st_mode) && st.st_size > off_t{2 * kFileBytesMax})
            return outcome_of(::ftruncate(s.fds[slot], 1000));
        return stat_outcome(result, st);
    });
}

void Model::write_one() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset();
    const std::string bytes = pattern(std::min(any_size(), kFileBytesMax - offset), random_());
    both("pwrite " + range_text(slot, bytes.size(), offset), [&](Side& s) {
        return outcome_of(
            ::pwrite(s.fds[slot], bytes.data(), bytes.size(), static_cast<off_t>(offset)));
    });
    keep_small(slot);
}

void Model::read_one() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset();
    const std::size_t size = any_size();
    both("pread " + range_text(slot, size, offset), [&](Side& s) {
        std::string bytes(size, '\0');
        const long n = ::pread(s.fds[slot], bytes.data(), size, static_cast<off_t>(offset));
        return outcome_of(n, std::move(bytes));
    });
}

void Model::write_at_position() {
    const std::size_t slot = any(kSlotsMax);
    const std::string bytes = pattern(any_size(), random_());
    both("write " + std::to_string(slot) + " " + std::to_string(bytes.size()), [&](Side& s) {
        const long n = ::write(s.fds[slot], bytes.data(), bytes.size());
        if (n < 0) return outcome_of(n);
        return outcome_of(n, std::to_string(::lseek(s.fds[slot], 0, SEEK_CUR)));
    });
    keep_small(slot);
}

void Model::read_at_position() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t size = any_size();
    both("read " + std::to_string(slot) + " " + std::to_string(size), [&](Side& s) {
        std::string bytes(size, '\0');
        const long n = ::read(s.fds[slot], bytes.data(), size);
        return outcome_of(n, std::move(bytes));
    });
}

void Model::write_vectors() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset();
    const bool at_position = any(2) == 0;
    std::string bytes = pattern(std::min(any_size(), kFileBytesMax - offset), random_());
    const auto pieces = in_pieces(bytes, random_());
    both((at_position ? "writev " : "pwritev ") + range_text(slot, bytes.size(), offset),
         [&](Side& s) {
             return outcome_of(at_position ? ::writev(s.fds[slot], pieces.data(), 3)
                                           : ::pwritev(s.fds[slot], pieces.data(), 3,
                                                       static_cast<off_t>(offset)));
         });
    keep_small(slot);
}

void Model::read_vectors() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset();
    const bool at_position = any(2) == 0;
    const std::size_t size = any_size();
    const std::uint64_t cut = random_();
    both((at_position ? "readv " : "preadv ") + range_text(slot, size, offset), [&](Side& s) {
        std::string bytes(size, '\0');
        const auto pieces = in_pieces(bytes, cut);
        const long n = at_position
                           ? ::readv(s.fds[slot], pieces.data(), 3)
                           : ::preadv(s.fds[slot], pieces.data(), 3, static_cast<off_t>(offset));
        return outcome_of(n, std::move(bytes));
    });
}

/// As engines use O_DIRECT: memory, offset and length are whole pages. Slots that are not direct
/// take the same calls.
void Model::direct_io() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset() / kPage * kPage;
    const std::size_t size = (any_size() + kPage - 1) / kPage * kPage;
    if (any(2) == 0) {
        both("read pages " + range_text(slot, size, offset), [&](Side& s) {
            PageBuffer buffer(size);
            const long n = ::pread(s.fds[slot], buffer.data(), size, static_cast<off_t>(offset));
            if (n < 0) return outcome_of(n);
            return outcome_of(n, std::string(buffer.data(), static_cast<std::size_t>(n)));
        });
        return;
    }
    PageBuffer buffer(pattern(size, random_()));
    both("write pages " + range_text(slot, size, offset), [&](Side& s) {
        return outcome_of(::pwrite(s.fds[slot], buffer.data(), size, static_cast<off_t>(offset)));
    });
    keep_small(slot);
}

void Model::seek_one() {
    const std::size_t slot = any(kSlotsMax);
    const int whence = any_of(std::array<int, 3>{SEEK_SET, SEEK_CUR, SEEK_END});
    const off_t offset = static_cast<off_t>(any_offset()) - (any(2) == 0 ? 0 : 300'000);
    both("seek " + std::to_string(slot) + " " + std::to_string(offset) + " whence " +
             std::to_string(whence),
         [&](Side& s) {
             struct stat st {};
             // Sizes of directories are anybody's.
             if (::fstat(s.fds[slot], &st) == 0 && S_ISDIR(st.st_mode)) return Outcome{};
             return outcome_of(::lseek(s.fds[slot], offset, whence));
         });
}

void Model::copy_range() {
    const std::size_t from = any(kSlotsMax);
    const std::size_t to = any(kSlotsMax);
    const auto source = static_cast<off_t>(any_offset());
    const auto target = static_cast<off_t>(any_offset());
    const std::size_t size = std::min(any_size(), kFileBytesMax - static_cast<std::size_t>(target));
    both("copy range " + std::to_string(from) + " at " + std::to_string(source) + " to " +
             range_text(to, size, static_cast<std::size_t>(target)),
         [&](Side& s) {
             off_t in = source, out = target;
             std::size_t done = 0;
             while (done < size) {  // a call may copy less
                 const long n =
                     ::copy_file_range(s.fds[from], &in, s.fds[to], &out, size - done, 0);
                 if (n < 0) return outcome_of(-1, std::to_string(done));
                 if (n == 0) break;
                 done += static_cast<std::size_t>(n);
             }
             return outcome_of(static_cast<long>(done));
         });
    keep_small(to);
}

void Model::truncate_one() {
    const std::size_t slot = any(kSlotsMax);
    const auto size = static_cast<off_t>(any_offset());
    if (any(3) != 0) {
        both("ftruncate " + std::to_string(slot) + " " + std::to_string(size),
             [&](Side& s) { return outcome_of(::ftruncate(s.fds[slot], size)); });
        return wrote_to(slot);
    }
    const std::string name = any(4) == 0 ? any_key() : any_name();
    both("truncate " + name + " " + std::to_string(size),
         [&](Side& s) { return outcome_of(::truncate(s.at(name).c_str(), size)); });
    struct stat st {};
    if (::stat(sides_[1].at(name).c_str(), &st) == 0) wrote_to(st);
}

void Model::allocate_one() {
    const std::size_t slot = any(kSlotsMax);
    const std::size_t offset = any_offset();
    const std::size_t size = any_size();
    const int mode = any(2) == 0 ? 0 : FALLOC_FL_KEEP_SIZE;
    both("fallocate " + range_text(slot, size, offset) + " mode " + std::to_string(mode),
         [&](Side& s) {
             return outcome_of(::fallocate(s.fds[slot], mode, static_cast<off_t>(offset),
                                           static_cast<off_t>(size)));
         });
    keep_small(slot);
}

void Model::sync_one() {
    const std::size_t slot = any(kSlotsMax);
    const bool data_alone = any(2) == 0;
    both((data_alone ? "fdatasync " : "fsync ") + std::to_string(slot), [&](Side& s) {
        return outcome_of(data_alone ? ::fdatasync(s.fds[slot]) : ::fsync(s.fds[slot]));
    });
}

}  // namespace kvfs::tests
