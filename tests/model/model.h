#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/model/side.h"

namespace kvfs::tests {

/// Takes steps on the mount and on a plain directory, and compares what they do.
///
/// What a step tries follows from the seed and the step's number alone, so that a history can be
/// replayed with steps left out.
class Model {
  public:
    struct Failure {
        int step = -1;  ///< none: all agreed
        std::string what{};
    };

    explicit Model(std::uint64_t seed);
    ~Model();
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    /// Up to the first step at which the two differ.
    Failure run(const std::vector<int>& steps);

    long fills() const { return fills_; }  ///< up to the last restart
    long evictions() const { return evictions_; }

  private:
    struct Difference {
        std::string what;
    };
    using Operation = std::function<Outcome(Side&)>;

    std::uint64_t any(std::uint64_t below) { return random_() % below; }
    template <typename T, std::size_t N>
    T any_of(const std::array<T, N>& choices) {
        return choices[any(N)];
    }
    std::string any_name();
    std::string any_key();
    std::string any_xattr();
    std::size_t any_offset();
    std::size_t any_size();

    /// Runs `operation` on both sides, and throws a Difference if there is one.
    void both(const std::string& what, const Operation& operation);

    void take_step();
    void save_one();
    void load_one();
    void open_one();
    void close_one();

    void step_on_names();
    void rename_one();

    void step_on_attributes();
    void set_xattr();
    void get_xattr();
    void set_times();

    void step_on_bytes();
    void write_one();
    void read_one();
    void write_at_position();
    void read_at_position();
    void write_vectors();
    void read_vectors();
    void direct_io();
    void seek_one();
    void copy_range();
    void truncate_one();
    void allocate_one();
    void sync_one();
    /// Appending files grow without end otherwise.
    void keep_small(std::size_t slot);

    void step_on_maps();
    void map_one();
    void read_map();
    void store_to_map();
    void map_privately();

    /// The file behind `slot` is not sealed until its last writer has closed it.
    void wrote_to(std::size_t slot);
    void wrote_to(const struct stat& file);
    void close_all();
    void restart(bool files_open);
    /// Removes from the plain side what the end of the daemon took with it, rightly.
    void forget_unfinished(const std::string& below, const std::vector<ino_t>& unfinished);
    void compare_trees(const std::string& below);

    std::uint64_t seed_;
    int step_ = 0;
    std::mt19937_64 random_;
    std::array<Side, 2> sides_;
    /// Of each slot: it can write, and its file has been written to since it was last sealed.
    std::array<bool, kSlotsMax> unfinished_{};
    std::deque<std::string> history_;
    long fills_ = 0;
    long evictions_ = 0;
};

}  // namespace kvfs::tests
