// The quotas of volumes: two extended attributes of a directory right below a mount.
#include <sys/xattr.h>

#include <charconv>
#include <optional>
#include <ostream>

#include "fs/base/size.h"
#include "tools/mount.h"
#include "tools/table.h"
#include "tools/verb.h"

namespace kvfs {
namespace {

constexpr const char* kSoft = "user.kvfs.quota.soft";
constexpr const char* kHard = "user.kvfs.quota.hard";
constexpr const char* kUsage = "user.kvfs.usage";

struct Limits {
    std::optional<std::uint64_t> soft;  ///< bytes; 0: none
    std::optional<std::uint64_t> hard;
};

std::optional<std::uint64_t> limit_of(const Arguments& arguments, const char* option) {
    if (!arguments.has(option)) return std::nullopt;
    const auto& text = arguments.get<std::string>(option);
    if (text == "none") return 0;
    const auto bytes = parse_size(text);
    if (!bytes) throw UsageError(bytes.error().message() + ", nor none");
    return *bytes;
}

Error explained(const std::string& path, const Error& error) {
    if (error.code == EPERM || error.code == ENODATA)
        return Error{error.code, path + ": is no volume, a directory right below the mount point"};
    if (error.code == EINVAL)
        return Error{EINVAL, path + ": the soft quota would be above the hard one"};
    return Error{error.code, path};
}

Result<std::uint64_t> read_number(const std::string& path, const char* name) {
    const auto text = read_xattr(path, name);
    if (!text) return explained(path, text.error());
    std::uint64_t number = 0;
    std::from_chars(text->data(), text->data() + text->size(), number);
    return number;
}

Status set(const std::string& path, const char* name, std::uint64_t bytes) {
    const std::string value = std::to_string(bytes);
    if (::lsetxattr(path.c_str(), name, value.data(), value.size(), 0) == 0) return {};
    return explained(path, Error{errno});
}

/// The one that makes way for the other goes first: the soft quota is never above the hard one.
Status apply(const std::string& path, const Limits& limits) {
    if (const auto mount = find_mount(path); !mount) return mount.error();
    const auto soft_now = read_number(path, kSoft);
    if (!soft_now) return soft_now.error();
    if (limits.soft && limits.hard && *limits.hard != 0 && *limits.soft > *limits.hard)
        return explained(path, Error{EINVAL});
    const bool hard_first = !limits.hard || *limits.hard == 0 || *soft_now <= *limits.hard;
    Status done;
    if (limits.hard && hard_first) done = set(path, kHard, *limits.hard);
    if (done && limits.soft) done = set(path, kSoft, *limits.soft);
    if (done && limits.hard && !hard_first) done = set(path, kHard, *limits.hard);
    return done;
}

Status show(const std::string& path, Table& table) {
    if (const auto mount = find_mount(path); !mount) return mount.error();
    const auto used = read_number(path, kUsage);
    if (!used) return used.error();
    const auto soft = read_number(path, kSoft), hard = read_number(path, kHard);
    if (!soft || !hard) return (!soft ? soft : hard).error();
    const auto text = [](std::uint64_t bytes) {
        return bytes == 0 ? std::string("none") : format_size(bytes);
    };
    const std::uint64_t quota = *hard != 0 ? *hard : *soft;
    table.add({format_size(*used), text(*soft), text(*hard),
               format_percent(static_cast<double>(*used), static_cast<double>(quota)), path});
    return {};
}

po::options_description options() {
    po::options_description options("Options");
    options.add_options()  //
        ("soft", po::value<std::string>()->value_name("SIZE"),
         "beyond it the volume's files are evicted before others'; none: no such quota")  //
        ("hard", po::value<std::string>()->value_name("SIZE"),
         "beyond it they make room among themselves; none: no such quota");
    return options;
}

int run(const Arguments& arguments, Io& io) {
    if (arguments.operands.empty()) throw UsageError("no VOLUME given");
    const Limits limits{limit_of(arguments, "soft"), limit_of(arguments, "hard")};
    using enum Table::Align;
    Table table({{"USED"}, {"SOFT"}, {"HARD"}, {"USE"}, {"VOLUME", kLeft}});
    int code = kSuccess;
    for (const std::string& path : arguments.operands) {
        const Status done = limits.soft || limits.hard ? apply(path, limits) : show(path, table);
        if (done) continue;
        complain(io, "quota", done.error());
        code = kFailed;
    }
    if (!table.empty()) table.print(io.out);
    return code;
}

}  // namespace

const Verb quota_verb{"quota", "[--soft SIZE] [--hard SIZE] VOLUME...",
                      "Bounds what volumes hold, or shows their quotas and use", options, run};

}  // namespace kvfs
