#include "fs/store/label.h"

#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

namespace kvfs {
namespace {

using nlohmann::json;

constexpr int kLabelFormat = 1;

template <std::unsigned_integral T>
void append_hex(std::string& text, T number) {
    static constexpr std::string_view digits = "0123456789abcdef";
    for (int shift = 8 * sizeof(T) - 4; shift >= 0; shift -= 4)
        text.push_back(digits[(number >> shift) & 0xf]);
}

/// Numbers of T, each written with all its digits.
template <std::unsigned_integral T>
std::optional<std::vector<T>> parse_hex(std::string_view text) {
    constexpr std::size_t digits = 2 * sizeof(T);
    if (text.size() % digits != 0) return std::nullopt;
    std::vector<T> numbers;
    numbers.reserve(text.size() / digits);
    for (; !text.empty(); text.remove_prefix(digits)) {
        T number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number, 16);
        if (error != std::errc{} || end != text.data() + digits) return std::nullopt;
        numbers.push_back(number);
    }
    return numbers;
}

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// JSON holds only UTF-8; what comes back from it unchanged can be written as it is.
bool survives_json(const std::string& path) {
    return json::parse(dump(path)).get_ref<const std::string&>() == path;
}

template <typename T>
bool get_number(const json& object, const char* key, T& number) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_integer()) return false;
    number = found->get<T>();
    return true;
}

const std::string* get_text(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

}  // namespace

std::string encode_label(const ObjectLabel& label) {
    json object{{"format", kLabelFormat}, {"size", label.size}, {"mode", label.mode},
                {"uid", label.uid},       {"gid", label.gid},   {"mtime_ns", label.mtime_ns}};
    if (survives_json(label.path)) {
        object["path"] = label.path;
    } else {
        std::string hex;
        for (const char byte : label.path) append_hex(hex, static_cast<unsigned char>(byte));
        object["path_hex"] = std::move(hex);
    }
    std::string crcs;
    crcs.reserve(8 * label.chunk_crcs.size());
    for (const std::uint32_t crc : label.chunk_crcs) append_hex(crcs, crc);
    if (!crcs.empty()) object["crc32c"] = std::move(crcs);
    return dump(object);
}

Result<ObjectLabel> decode_label(std::string_view text) {
    const Error bad{EBADMSG, "not an object's label"};
    const json object = json::parse(text, nullptr, false);
    int format = 0;
    ObjectLabel label;
    if (!object.is_object() || !get_number(object, "format", format) || format != kLabelFormat ||
        !get_number(object, "size", label.size) || !get_number(object, "mode", label.mode) ||
        !get_number(object, "uid", label.uid) || !get_number(object, "gid", label.gid) ||
        !get_number(object, "mtime_ns", label.mtime_ns))
        return bad;
    if (const std::string* path = get_text(object, "path")) {
        label.path = *path;
    } else if (const std::string* hex = get_text(object, "path_hex")) {
        const auto bytes = parse_hex<unsigned char>(*hex);
        if (!bytes) return bad;
        label.path.assign(bytes->begin(), bytes->end());
    } else {
        return bad;
    }
    if (const std::string* hex = get_text(object, "crc32c")) {
        auto crcs = parse_hex<std::uint32_t>(*hex);
        if (!crcs) return bad;
        label.chunk_crcs = std::move(*crcs);
    }
    return label;
}

}  // namespace kvfs
