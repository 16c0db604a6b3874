#include "base/base64.h"

#include <array>
#include <cstdint>

namespace moongate {
namespace {

constexpr char kStandard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kUrl[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kInvalid = 0xff;

constexpr std::array<std::uint8_t, 256> values(const char* alphabet) {
    std::array<std::uint8_t, 256> table{};
    table.fill(kInvalid);
    for (std::uint8_t i = 0; i < 64; ++i) {
        table[static_cast<unsigned char>(alphabet[i])] = i;
    }
    return table;
}

constexpr auto kStandardValues = values(kStandard);
constexpr auto kUrlValues = values(kUrl);

}  // namespace

std::size_t base64_encode(std::string_view bytes, char* to, Base64 alphabet, bool padding) {
    const char* letters = alphabet == Base64::Standard ? kStandard : kUrl;
    const char* const start = to;
    std::size_t i = 0;
    const auto byte = [&](std::size_t at) -> std::uint32_t {
        return static_cast<unsigned char>(bytes[at]);
    };
    for (; i + 2 < bytes.size(); i += 3) {
        const std::uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
        *to++ = letters[group >> 18];
        *to++ = letters[group >> 12 & 63];
        *to++ = letters[group >> 6 & 63];
        *to++ = letters[group & 63];
    }
    if (i < bytes.size()) {
        const bool two = i + 1 < bytes.size();
        const std::uint32_t group = byte(i) << 16 | (two ? byte(i + 1) << 8 : 0);
        *to++ = letters[group >> 18];
        *to++ = letters[group >> 12 & 63];
        if (two) {
            *to++ = letters[group >> 6 & 63];
        } else if (padding) {
            *to++ = '=';
        }
        if (padding) {
            *to++ = '=';
        }
    }
    return static_cast<std::size_t>(to - start);
}

std::optional<std::size_t> base64_decode(std::string_view text, char* to, Base64 alphabet) {
    const auto& table = alphabet == Base64::Standard ? kStandardValues : kUrlValues;
    std::size_t size = 0;
    while (size < text.size() && text[size] != '=') {
        if (table[static_cast<unsigned char>(text[size])] == kInvalid) {
            return std::nullopt;
        }
        ++size;
    }
    if (size % 4 == 1) {
        return std::nullopt;
    }
    const char* const start = to;
    const auto value = [&](std::size_t at) -> std::uint32_t {
        return at < size ? table[static_cast<unsigned char>(text[at])] : 0;
    };
    for (std::size_t i = 0; i < size; i += 4) {
        const std::uint32_t group =
            value(i) << 18 | value(i + 1) << 12 | value(i + 2) << 6 | value(i + 3);
        *to++ = static_cast<char>(group >> 16);
        if (i + 2 < size) {
            *to++ = static_cast<char>(group >> 8);
        }
        if (i + 3 < size) {
            *to++ = static_cast<char>(group);
        }
    }
    return static_cast<std::size_t>(to - start);
}

}  // namespace moongate
