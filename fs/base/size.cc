#include "fs/base/size.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace kvfs {
namespace {

/// The power of 1024 that a suffix means, or -1.
int suffix_power(std::string_view suffix) {
    std::string letters;
    for (const char c : suffix)
        letters.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    if (letters.empty() || letters == "b") return 0;
    const auto power = std::string_view("kmgt").find(letters.front());
    if (power == std::string_view::npos) return -1;
    const std::string_view rest = std::string_view(letters).substr(1);
    return rest.empty() || rest == "b" || rest == "ib" ? static_cast<int>(power) + 1 : -1;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
    const Error bad{EINVAL, "'" + std::string(text) + "' is not a size (write 512MiB, 4G, 1.5T)"};
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || !(number >= 0)) return bad;
    std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
    while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
    const int power = suffix_power(suffix);
    if (power < 0) return bad;
    const double bytes = std::ldexp(number, 10 * power);
    if (!(bytes < std::ldexp(1.0, 63))) return bad;
    return static_cast<std::uint64_t>(bytes);
}

std::string format_size(std::uint64_t bytes) {
    static constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double number = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (number >= 1023.95 && unit + 1 < units.size()) {
        number /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    const bool whole = unit == 0 || number == std::floor(number);
    std::snprintf(text.data(), text.size(), whole ? "%.0f %s" : "%.1f %s", number, units[unit]);
    return text.data();
}

}  // namespace kvfs
