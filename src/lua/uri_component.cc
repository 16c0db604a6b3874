#include "lua/uri_component.h"

#include "base/strings.h"

namespace moongate::lua {
namespace {

constexpr std::array<bool, 256> plain_bytes() {
    std::array<bool, 256> table{};
    for (int c = 0; c < 128; ++c) {
        table[static_cast<std::size_t>(c)] =
            is_digit(static_cast<char>(c)) || is_alpha(static_cast<char>(c));
    }
    for (const char c : std::string_view("-._~!'()*")) {
        table[static_cast<unsigned char>(c)] = true;
    }
    return table;
}
constexpr auto kPlain = plain_bytes();

}  // namespace

std::size_t escaped_component_size(std::string_view text) {
    std::size_t size = text.size();
    for (const char c : text) {
        size += kPlain[static_cast<unsigned char>(c)] ? 0 : 2;
    }
    return size;
}

char* escape_component(std::string_view text, char* to) {
    constexpr char kHex[] = "0123456789ABCDEF";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (kPlain[byte]) {
            *to++ = c;
        } else {
            *to++ = '%';
            *to++ = kHex[byte >> 4];
            *to++ = kHex[byte & 15];
        }
    }
    return to;
}

std::string escape_component(std::string_view text) {
    std::string out(escaped_component_size(text), '\0');
    escape_component(text, out.data());
    return out;
}

}  // namespace moongate::lua
