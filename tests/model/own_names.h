#pragma once
#include <cstddef>
#include <map>
#include <random>
#include <string>

namespace kvfs::tests {

/// A directory that one thread alone changes: what it holds is known to the byte.
///
/// The functions give "", or what was wrong.
class OwnNames {
  public:
    /// Sizes are below `bytes_max`.
    OwnNames(std::string directory, std::size_t bytes_max);

    std::string take_step(std::mt19937_64& random);
    std::string save(std::mt19937_64& random);
    std::string load(const std::string& name);
    std::string any_name(std::mt19937_64& random) const;
    std::string compare_all();

  private:
    std::string at(const std::string& name) const { return directory_ + "/" + name; }
    std::string write_in_place(const std::string& name, std::mt19937_64& random);
    std::string append(const std::string& name, std::mt19937_64& random);
    std::string truncate(const std::string& name, std::mt19937_64& random);
    std::string rename(const std::string& from, const std::string& to);
    std::string remove(const std::string& name);
    std::string remove_while_open(const std::string& name);
    std::string read_part(const std::string& name, std::mt19937_64& random);
    std::string tag(const std::string& name, std::mt19937_64& random);
    std::string compare(int fd, const std::string& name) const;

    struct File {
        std::string bytes{};
        std::string tag{};  ///< its xattr
    };

    std::string directory_;
    std::size_t bytes_max_;
    std::map<std::string, File> files_;
};

}  // namespace kvfs::tests
