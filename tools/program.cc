#include "tools/program.h"

#include <algorithm>
#include <array>
#include <exception>
#include <ostream>

#include "fs/base/size.h"
#include "tools/verb.h"

#ifndef KVFS_VERSION
#define KVFS_VERSION "unknown"
#endif

namespace kvfs {
namespace {

constexpr std::array kVerbs{&ls_verb,       &du_verb,   &df_verb,       &stat_verb,  &pin_verb,
                            &unpin_verb,    &ttl_verb,  &priority_verb, &quota_verb, &evict_verb,
                            &prefetch_verb, &add_verb,  &drain_verb,    &fsck_verb,  &replay_verb,
                            &simulate_verb, &bench_verb};

const Verb* find_verb(const std::string& name) {
    const auto found = std::find_if(kVerbs.begin(), kVerbs.end(),
                                    [&](const Verb* verb) { return verb->name == name; });
    return found == kVerbs.end() ? nullptr : *found;
}

void print_overview(std::ostream& out) {
    out << "usage: kvfs VERB [OPTION...] [OPERAND...]\n\n"
           "Looks at, and works with, a mounted kvfs: a cache file system for KV caches.\n\n";
    for (const Verb* verb : kVerbs)
        out << "  " << verb->name << std::string(10 - std::string(verb->name).size(), ' ')
            << verb->purpose << '\n';
    out << "\n`kvfs help VERB` tells a verb's options; kvfs(1) tells all. `kvfs --version`.\n";
}

void print_help(const Verb& verb, std::ostream& out) {
    out << "usage: kvfs " << verb.name << ' ' << verb.synopsis << "\n\n"
        << verb.purpose << ".\n\n"
        << verb.options();
}

Arguments parse(const Verb& verb, const std::vector<std::string>& words) {
    po::options_description all = verb.options();
    all.add_options()("operand", po::value<std::vector<std::string>>());
    po::positional_options_description positions;
    positions.add("operand", -1);
    // No guessing: an abbreviation that works today would be ambiguous with tomorrow's option.
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    Arguments arguments;
    po::store(po::command_line_parser(words).options(all).positional(positions).style(style).run(),
              arguments.options);
    po::notify(arguments.options);
    if (arguments.has("operand"))
        arguments.operands = arguments.get<std::vector<std::string>>("operand");
    return arguments;
}

bool wants_help(const std::vector<std::string>& words) {
    return std::find(words.begin(), words.end(), "--help") != words.end();
}

int complain_of_usage(Io& io, const Verb& verb, const char* message) {
    complain(io, verb.name, message);
    io.err << "try `kvfs help " << verb.name << "`\n";
    return kUsage;
}

int run_verb(const Verb& verb, const std::vector<std::string>& words, Io& io) {
    if (wants_help(words)) {
        print_help(verb, io.out);
        return kSuccess;
    }
    try {
        return verb.run(parse(verb, words), io);
    } catch (const po::error& error) {
        return complain_of_usage(io, verb, error.what());
    } catch (const UsageError& error) {
        return complain_of_usage(io, verb, error.what());
    } catch (const std::exception& error) {
        complain(io, verb.name, error.what());
        return kFailed;
    }
}

int run_help(const std::vector<std::string>& arguments, Io& io) {
    if (arguments.size() < 2) {
        print_overview(io.out);
        return kSuccess;
    }
    const Verb* verb = find_verb(arguments[1]);
    if (verb == nullptr) {
        complain(io, "help", "no verb '" + arguments[1] + "'; `kvfs help` lists them");
        return kUsage;
    }
    print_help(*verb, io.out);
    return kSuccess;
}

int dispatch(const std::vector<std::string>& arguments, Io& io) {
    if (arguments.empty()) {
        print_overview(io.err);
        return kUsage;
    }
    const std::string& first = arguments.front();
    if (first == "help" || first == "--help" || first == "-h") return run_help(arguments, io);
    if (first == "--version" || first == "-V") {
        io.out << "kvfs " KVFS_VERSION "\n";
        return kSuccess;
    }
    const Verb* verb = find_verb(first);
    if (verb != nullptr) return run_verb(*verb, {arguments.begin() + 1, arguments.end()}, io);
    const char* kind = first.starts_with('-') ? "option" : "verb";
    io.err << "kvfs: no " << kind << " '" << first << "'; `kvfs help` lists the verbs\n";
    return kUsage;
}

}  // namespace

std::string sentence(const Error& error) {
    return error.code == ENOTTY || error.code == ENOTCONN ? error.what : error.message();
}

Error not_kvfs(const std::string& path) { return {ENOTTY, path + ": not on a kvfs mount"}; }

Error no_daemon(const std::string& what) { return {ENOTCONN, what}; }

void complain(Io& io, std::string_view verb, std::string_view message) {
    io.err << "kvfs: " << verb << ": " << message << std::endl;
}

void complain(Io& io, std::string_view verb, const Error& error) {
    complain(io, verb, sentence(error));
}

std::uint64_t Arguments::size(const char* option) const {
    const Result<std::uint64_t> bytes = parse_size(get<std::string>(option));
    if (!bytes) throw UsageError("--" + std::string(option) + ": " + bytes.error().what);
    return *bytes;
}

int run_kvfs(const std::vector<std::string>& arguments, Io io) {
    const int code = dispatch(arguments, io);
    io.out.flush();
    if (io.out.good()) return code;
    io.err << "kvfs: standard output: write failed\n";
    return kFailed;
}

}  // namespace kvfs
