// Verbs that tell a daemon what to do with files: each sets one extended attribute of each.
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <ostream>
#include <set>

#include "tools/cache_file.h"
#include "tools/mount.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

struct Setting {
    const char* verb;
    std::string name;  ///< of the attribute
    std::string value;
    bool of_directories = false;  ///< they can have it, for what is made in them
};

/// Why the daemon would not, in terms of the setting.
Error explained(const Setting& setting, const std::string& path, int code) {
    if (code == EBUSY && setting.value == "all")
        return Error{code, path + ": it is open, pinned or being moved"};
    if (code == EBUSY)
        return Error{code,
                     path + ": no SSD has it yet, or it is pinned, being read or being moved"};
    if (code == EPERM && !setting.of_directories) return Error{code, path + ": is no regular file"};
    return Error{code, path};
}

class Controls {
  public:
    Controls(Io& io, Setting setting, bool recursive)
        : io_(io), setting_(std::move(setting)), recursive_(recursive) {}

    void apply_to(const std::string& path) {
        const Result<Mount> mount = find_mount(path);
        if (!mount) return fail(mount.error());
        const Result<CacheFile> file = look_at(path);
        if (!file) return fail(file.error());
        if (file->is_directory() && !recursive_ && !setting_.of_directories)
            return fail({EISDIR, path + ": is a directory; -R goes through it"});
        visit(*file);
    }
    int exit_code() const { return failed_ ? kFailed : kSuccess; }
    void fail(const Error& error) {
        failed_ = true;
        complain(io_, setting_.verb, error);
    }

  private:
    void visit(const CacheFile& file) {
        const bool directory = file.is_directory();
        if (file.kind == CacheFile::Kind::kFile || (directory && setting_.of_directories))
            set(file.path);
        if (!directory || !recursive_) return;
        const Result<std::vector<std::string>> names = list_directory(file.path);
        if (!names) {
            if (names.error().code != ENOENT) fail(names.error());
            return;
        }
        for (const std::string& name : *names) {
            const Result<CacheFile> below = look_at(join(file.path, name));
            if (below)
                visit(*below);
            else if (below.error().code != ENOENT)  // evicted meanwhile
                fail(below.error());
        }
    }

    void set(const std::string& path) {
        if (::lsetxattr(path.c_str(), setting_.name.c_str(), setting_.value.data(),
                        setting_.value.size(), 0) != 0)
            fail(explained(setting_, path, errno));
    }

    Io& io_;
    const Setting setting_;
    const bool recursive_;
    bool failed_ = false;
};

int apply(const Arguments& arguments, Io& io, Setting setting, std::size_t first_path = 0) {
    if (arguments.operands.size() <= first_path) throw UsageError("give at least one PATH");
    Controls controls(io, std::move(setting), arguments.flag("recursive"));
    for (std::size_t i = first_path; i < arguments.operands.size(); ++i)
        controls.apply_to(arguments.operands[i]);
    return controls.exit_code();
}

po::options_description recursion() {
    po::options_description options("Options");
    options.add_options()("recursive,R", po::bool_switch(), "directories with all below them");
    return options;
}

int pin(const Arguments& arguments, Io& io) {
    return apply(arguments, io, {"pin", "user.kvfs.pin", "1"});
}

int unpin(const Arguments& arguments, Io& io) {
    return apply(arguments, io, {"unpin", "user.kvfs.pin", "0"});
}

/// Seconds of "90", "90s", "10m", "4h", "7d"; 0 of "none".
std::optional<std::uint32_t> parse_time(const std::string& text) {
    if (text == "none") return 0;
    std::uint64_t count = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, count);
    const std::string unit(rest, end);
    std::uint64_t seconds = 0;
    if (unit.empty() || unit == "s") seconds = 1;
    if (unit == "m") seconds = 60;
    if (unit == "h") seconds = 3600;
    if (unit == "d") seconds = 86400;
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    if (error != std::errc{} || seconds == 0 || count == 0 || count > kMost / seconds)
        return std::nullopt;
    return static_cast<std::uint32_t>(count * seconds);
}

int ttl(const Arguments& arguments, Io& io) {
    if (arguments.operands.empty()) throw UsageError("give a TIME and at least one PATH");
    const std::string& text = arguments.operands.front();
    const auto seconds = parse_time(text);
    if (!seconds)
        throw UsageError("'" + text +
                         "' is no time: 90, 90s, 10m, 4h, 7d, or none, up to 136 years");
    return apply(arguments, io, {"ttl", "user.kvfs.ttl", std::to_string(*seconds), true}, 1);
}

int priority(const Arguments& arguments, Io& io) {
    const std::string level = arguments.operands.empty() ? "" : arguments.operands.front();
    if (level != "low" && level != "normal" && level != "high")
        throw UsageError("give low, normal or high, and at least one PATH");
    return apply(arguments, io, {"priority", "user.kvfs.priority", level, true}, 1);
}

po::options_description eviction() {
    po::options_description options = recursion();
    options.add_options()("dram", po::bool_switch(), "from DRAM only; SSD keeps it");
    return options;
}

int evict(const Arguments& arguments, Io& io) {
    return apply(arguments, io,
                 {"evict", "user.kvfs.evict", arguments.flag("dram") ? "dram" : "all"});
}

/// The file that the one at `path` builds on, as a path from the mount's root; "" when none is
/// known.
std::string parent_of(const std::string& path) {
    std::array<char, 4096> value{};
    const ssize_t length =
        ::lgetxattr(path.c_str(), "user.kvfs.parent", value.data(), value.size());
    return length < 0 ? "" : std::string(value.data(), static_cast<std::size_t>(length));
}

/// `path` and before it all that it builds on, the first block of its prompt first.
Result<std::vector<std::string>> chain_to(const std::string& path) {
    const Result<Mount> mount = find_mount(path);
    if (!mount) return mount.error();
    if (const Result<CacheFile> file = look_at(path); !file) return file.error();
    std::vector<std::string> chain{path};
    std::set<std::string> seen;  // parents are what anybody has set: they may go round in circles
    for (std::string at = parent_of(path); !at.empty() && seen.insert(at).second;
         at = parent_of(chain.back()))
        chain.push_back(mount->path + at);
    std::reverse(chain.begin(), chain.end());
    return chain;
}

po::options_description prefetching() {
    po::options_description options = recursion();
    options.add_options()("chain", po::bool_switch(),
                          "files with all that they build on: the blocks of a prompt up to them");
    return options;
}

int prefetch(const Arguments& arguments, Io& io) {
    const Setting setting{"prefetch", "user.kvfs.prefetch", "dram"};
    if (!arguments.flag("chain")) return apply(arguments, io, setting);
    if (arguments.operands.empty()) throw UsageError("give at least one PATH");
    if (arguments.flag("recursive")) throw UsageError("--chain is of files: not with -R");
    Controls controls(io, setting, false);
    for (const std::string& path : arguments.operands) {
        const auto chain = chain_to(path);
        if (!chain)
            controls.fail(chain.error());
        else
            for (const std::string& block : *chain) controls.apply_to(block);
    }
    return controls.exit_code();
}

}  // namespace

const Verb pin_verb{"pin", "[-R] PATH...",
                    "Keeps files: they are not evicted until they are unpinned", recursion, pin};
const Verb unpin_verb{"unpin", "[-R] PATH...", "Lets pinned files be evicted again", recursion,
                      unpin};
const Verb ttl_verb{"ttl", "[-R] TIME PATH...",
                    "Lets files go when they have not been used for a time", recursion, ttl};
const Verb priority_verb{"priority", "[-R] low|normal|high PATH...",
                         "Tells which files to evict before, and which after all others", recursion,
                         priority};
const Verb evict_verb{"evict", "[-R] [--dram] PATH...",
                      "Drops files now, or moves them out of DRAM", eviction, evict};
const Verb prefetch_verb{"prefetch", "[-R | --chain] PATH...",
                         "Brings files into DRAM ahead of their use", prefetching, prefetch};

}  // namespace kvfs
