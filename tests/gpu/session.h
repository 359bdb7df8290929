#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/bench.h"

namespace kvfs::gpu_check {

/// How much is measured.
struct Scale {
    int rounds = 5;                          ///< samples of each side
    std::uint64_t dram_bytes = 12ULL << 30;  ///< of the daemon that holds everything in DRAM
    std::uint64_t tight_bytes = 1ULL << 30;  ///< of the daemon whose files are on SSD
    std::uint64_t ssd_bytes = 16ULL << 30;   ///< of either's SSD directory
    std::uint64_t raw_bytes = 1ULL << 30;    ///< of the copy that is the ceiling
    std::uint64_t sweep_bytes = 256ULL << 20;
    std::uint64_t files_bytes = 512ULL << 20;  ///< of the files of one size
    std::uint64_t cold_file_bytes = 32ULL << 20;
    std::uint64_t register_bytes = 1ULL << 30;
    std::uint64_t largest_piece = 16ULL << 20;
    std::uint64_t smallest_piece = 4ULL << 10;
    unsigned calls = 2000;          ///< of what is a matter of microseconds
    unsigned product_order = 8192;  ///< of the matrices that are multiplied meanwhile
    unsigned verify_rounds = 20;

    /// So little that a driver without a device gets through it in seconds: the figures say
    /// nothing.
    static Scale small();
};

/// What a section of the check is given, and where it tells what it found. All that is told is on
/// disk when the call returns.
class Session {
  public:
    struct Daemons {
        std::string roomy;          ///< socket of the one that holds everything in DRAM
        std::string tight;          ///< of the one whose files are on SSD
        std::string tight_objects;  ///< where the latter keeps its objects
    };

    /// `log`: what is told is appended to it, a JSON object a line.
    Session(std::string section, std::string log, Scale scale, Daemons daemons, std::uint64_t seed);

    const Scale scale;
    const Daemons daemons;
    const std::uint64_t seed;

    /// Measures both sides by turns, and tells of them. Each call returns one value; the first of
    /// each is thrown away. Without `raw` it is a figure by itself.
    void compare(BenchRow row, const std::function<double()>& ours,
                 const std::function<double()>& raw);
    void tell(const BenchRow& row);
    /// Something seen, as "copy engines", "3".
    void tell(const std::string& what, const std::string& value);
    /// Something that must hold: the whole check fails when one of these does not.
    void expect(const std::string& what, bool holds, const std::string& otherwise = "");
    bool all_held() const { return all_held_; }

  private:
    const std::string section_;
    const std::string log_;
    bool all_held_ = true;
};

/// A part of the check, in a process of its own: what hangs or crashes takes nothing else with it.
/// To add one, write its function and list it in sections.cc.
struct Section {
    const char* name;
    const char* what;
    unsigned seconds;  ///< at most
    void (*run)(Session& session);
};

const std::vector<Section>& sections();

void see_machine(Session& session);
void verify_copies(Session& session);
void measure_raw(Session& session);
void measure_registration(Session& session);
void register_again(Session& session);
void sweep_pieces(Session& session);
void measure_directions(Session& session);
void measure_files(Session& session);
void measure_models(Session& session);
void measure_cold_files(Session& session);
void measure_latency(Session& session);
void measure_descriptors(Session& session);
void measure_products(Session& session);
void measure_batch_sizes(Session& session);
void ask_about_waits(Session& session);

/// A row in GB/s beside a raw copy; `goal`: ratio that is aimed at, 0: none.
BenchRow copy_row(const std::string& name, double goal = 0);

}  // namespace kvfs::gpu_check
