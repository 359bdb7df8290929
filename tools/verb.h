#pragma once
#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/result.h"
#include "tools/program.h"

namespace kvfs {

namespace po = boost::program_options;
/// Keys in the order in which they were put in: reports read the same for people and programs.
using Json = nlohmann::ordered_json;

/// The command line was wrong: exit 2, with a hint at `kvfs help VERB`.
struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// What to tell of an error: "OBJECT: reason". The reason is the errno's, unless there is a better
/// one than the errno has: then its sentence is the whole message (not_kvfs, no_daemon).
std::string sentence(const Error& error);
Error not_kvfs(const std::string& path);
Error no_daemon(const std::string& what);

/// The verb cannot go on: exit 1. The message is "OBJECT: reason".
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
    explicit Failure(const Error& error) : std::runtime_error(sentence(error)) {}
};

/// What stood behind a verb on the command line.
struct Arguments {
    po::variables_map options;
    std::vector<std::string> operands;

    bool has(const char* option) const { return options.count(option) > 0; }
    bool flag(const char* option) const { return options.at(option).as<bool>(); }
    template <typename T>
    const T& get(const char* option) const {
        return options.at(option).as<T>();
    }
    /// A size option ("64MiB"). Throws UsageError.
    std::uint64_t size(const char* option) const;
};

/// One verb of the program: `kvfs NAME SYNOPSIS`. Each lives in a file of its name.
struct Verb {
    const char* name;
    const char* synopsis;
    const char* purpose;  ///< one line
    po::options_description (*options)();
    /// Returns an ExitCode; throws UsageError, Failure and what the libraries throw.
    int (*run)(const Arguments& arguments, Io& io);
};

extern const Verb ls_verb;
extern const Verb du_verb;
extern const Verb df_verb;
extern const Verb stat_verb;
extern const Verb pin_verb;
extern const Verb unpin_verb;
extern const Verb ttl_verb;
extern const Verb priority_verb;
extern const Verb quota_verb;
extern const Verb evict_verb;
extern const Verb prefetch_verb;
extern const Verb replay_verb;
extern const Verb bench_verb;
extern const Verb simulate_verb;
extern const Verb fsck_verb;
extern const Verb add_verb;
extern const Verb drain_verb;

/// "kvfs: VERB: MESSAGE", on a line of its own.
void complain(Io& io, std::string_view verb, std::string_view message);
void complain(Io& io, std::string_view verb, const Error& error);

}  // namespace kvfs
