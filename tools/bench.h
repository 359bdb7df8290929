#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/verb.h"

namespace kvfs {

/// Values of one quantity, one a round.
struct Samples {
    std::vector<double> values;

    double median() const;
    double min() const;
    double max() const;
};

enum class Better { kHigher, kLower };

/// One line of the report: what kvfs does, beside what the machine does without it.
struct BenchRow {
    std::string name;
    std::string unit;  ///< of both sides: "GB/s", "us", "k/s"
    Better better = Better::kHigher;
    Samples kvfs;
    Samples reference;           ///< no values: a figure by itself
    std::string reference_name;  ///< "tmpfs"
    // A row has one goal at most.
    double goal = 0;         ///< ratio that is aimed at; 0: none
    double figure_goal = 0;  ///< kvfs's own median that is aimed at, in `unit`; 0: none

    bool meets_goal() const;
    /// How many times as good as the reference: the median over the rounds, in each of which both
    /// sides were measured one after the other, so that what else the machine does cancels out. 0
    /// without a reference.
    double ratio() const;
};

class BenchMachine;  // bench_machine.h

/// What a measurement gets: where to measure, how much, and where to say what it saw.
struct Bench {
    BenchMachine& machine;
    bool quick = false;
    int rounds = 11;          ///< samples of each side
    std::uint64_t names = 0;  ///< of a directory that is to be large
    std::vector<BenchRow>& rows;

    /// Measures both sides by turns, so that a slow moment of the machine befalls both, in changing
    /// order; the first round is thrown away. Each call returns one value. Throws when interrupted.
    void compare(BenchRow row, const std::function<double()>& kvfs,
                 const std::function<double()>& reference) const;
    /// The same of many rows at a time: a call returns a value for each.
    void compare_many(std::vector<BenchRow> batch, const std::function<std::vector<double>()>& kvfs,
                      const std::function<std::vector<double>()>& reference) const;
};

/// A group of measurements, by the name that --only takes. To add one, write its function and list
/// it in bench.cc.
struct Measurement {
    const char* name;
    const char* what;
    void (*run)(Bench& bench);
    bool unasked = true;  ///< whether it is run when --only does not name it
};

void measure_reads(Bench& bench);
void measure_writes(Bench& bench);
void measure_small_files(Bench& bench);
void measure_random_reads(Bench& bench);
void measure_ssd(Bench& bench);
void measure_scratch(Bench& bench);
void measure_mapper(Bench& bench);
void measure_leases(Bench& bench);
void measure_names(Bench& bench);
void measure_prompt(Bench& bench);
void measure_listings(Bench& bench);
void measure_storm(Bench& bench);
void measure_scale(Bench& bench);

}  // namespace kvfs
