#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kvfs {

/// How dear a file is to whoever made it: a file leaves a tier after all of lower priority that may
/// leave.
enum class Priority : std::int8_t { low = -1, normal = 0, high = 1 };

inline constexpr std::array kPriorities{Priority::low, Priority::normal, Priority::high};

/// "low", "normal" or "high".
constexpr std::string_view name_of(Priority priority) {
    constexpr std::array<std::string_view, 3> kNames{"low", "normal", "high"};
    return kNames[static_cast<std::size_t>(static_cast<int>(priority) + 1)];
}

constexpr std::optional<Priority> priority_named(std::string_view name) {
    for (const Priority priority : kPriorities)
        if (name == name_of(priority)) return priority;
    return std::nullopt;
}

}  // namespace kvfs
