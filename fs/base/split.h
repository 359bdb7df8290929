#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace kvfs {

/// Splits at commas; "\\," is a comma. At least one part.
inline std::vector<std::string> split_at_commas(std::string_view text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == ',')
            parts.back() += text[++i];
        else if (text[i] == ',')
            parts.emplace_back();
        else
            parts.back() += text[i];
    }
    return parts;
}

}  // namespace kvfs
