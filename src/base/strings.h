// Small text helpers over views: ASCII case, searching, number parsing and formatting. No locale
// anywhere, no allocation unless a std::string is returned. Any thread.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moongate {

constexpr char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}
constexpr char ascii_upper(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c & ~0x20) : c;
}
constexpr bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
constexpr bool is_alpha(char c) {
    return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}
// -1 where `c` is not a hexadecimal digit.
constexpr int hex_value(char c) {
    if (is_digit(c)) {
        return c - '0';
    }
    const char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool equals_ignore_case(std::string_view a, std::string_view b);
bool starts_with_ignore_case(std::string_view text, std::string_view prefix);
// Position of the first occurrence, or npos.
std::size_t find_ignore_case(std::string_view text, std::string_view needle);
std::string to_lower(std::string_view text);
void lower_in_place(char* text, std::size_t bytes);
// Without spaces and tabs at both ends.
std::string_view trim(std::string_view text);

// The whole of `text` as a number in plain digits of that base; no sign, no space, no overflow.
template <class T>
std::optional<T> parse_number(std::string_view text, int base = 10) {
    T value{};
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc{} || at != end || text.empty() || text.front() == '-') {
        return std::nullopt;
    }
    return value;
}

// A case-insensitive hash for header and variable names. Not for hostile keys in open tables
// without a bound.
std::uint32_t hash_ignore_case(std::string_view text);

// Hash and equality for unordered containers keyed by std::string and looked up by view.
struct StringHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
        return std::hash<std::string_view>{}(text);
    }
};

}  // namespace moongate
