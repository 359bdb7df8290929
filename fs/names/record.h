#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/names/inode.h"

// Keys and values of the database's tables. Inode numbers in keys are big endian, so that LMDB's
// byte order is theirs; values are little endian and carry a version each.

namespace kvfs::record {

inline constexpr std::size_t kNameMax = 255;

/// Bumped when a database of an older format cannot be read any more.
inline constexpr std::uint64_t kFormatVersion = 2;

/// inode, optionally followed by a name of at most kNameMax bytes: the key of all tables but
/// `meta`.
class Key {
  public:
    explicit Key(Ino ino, std::string_view name = {}) : size_(sizeof ino + name.size()) {
        const std::uint64_t big_endian = __builtin_bswap64(ino);
        std::memcpy(bytes_.data(), &big_endian, sizeof big_endian);
        if (!name.empty()) std::memcpy(bytes_.data() + sizeof big_endian, name.data(), name.size());
    }
    operator std::string_view() const { return {bytes_.data(), size_}; }

  private:
    std::array<char, sizeof(Ino) + kNameMax + 1> bytes_;  // one more: list() seeks past a name
    std::size_t size_;
};

/// Of a key with at least eight bytes.
Ino ino_of(std::string_view key);
std::string_view name_of(std::string_view key);

struct Dentry {
    Ino ino = 0;
    std::uint32_t type = 0;  ///< S_IFMT bits
};
std::array<char, 12> encode(const Dentry& dentry);
/// Errors here and below: EIO - the value is damaged or of another version.
Result<Dentry> decode_dentry(std::string_view value);

std::string encode(const Inode& inode);
Result<Inode> decode_inode(Ino ino, std::string_view value);

std::string encode(const Placement& placement);
Result<Placement> decode_placement(Ino ino, std::string_view value);

std::array<char, 8> encode_number(std::uint64_t number);
Result<std::uint64_t> decode_number(std::string_view value);

}  // namespace kvfs::record
