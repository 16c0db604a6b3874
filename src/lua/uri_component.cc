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

constexpr char kHex[] = "0123456789ABCDEF";

using ByteTable = std::array<bool, 256>;

consteval ByteTable with_bytes(ByteTable table, std::string_view bytes) {
    for (const char c : bytes) {
        table[static_cast<unsigned char>(c)] = true;
    }
    return table;
}

consteval ByteTable control_bytes() {
    ByteTable table{};
    for (std::size_t c = 0; c < 0x20; ++c) {
        table[c] = true;
    }
    table[0x7f] = true;
    return table;
}

consteval ByteTable control_and_high_bytes() {
    ByteTable table = control_bytes();
    for (std::size_t c = 0x80; c < 256; ++c) {
        table[c] = true;
    }
    return table;
}

consteval ByteTable value_bytes() {
    ByteTable table = control_bytes();
    table['\t'] = false;
    return table;
}

// By LuaEscape: what is encoded.
constexpr ByteTable kEncoded[] = {
    with_bytes(control_and_high_bytes(), " #%?"),
    with_bytes(control_and_high_bytes(), " #%+?"),
    with_bytes(control_and_high_bytes(), " \"(),/:;<=>?@[\\]{}"),
    value_bytes(),
};

const ByteTable& encoded(LuaEscape kind) {
    return kEncoded[static_cast<std::size_t>(kind)];
}

// Without branches, so that the compiler makes vector steps of it.
bool has_control_bytes(std::string_view text) {
    bool found = false;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        found |= (byte < 0x20) | (byte == 0x7f);
    }
    return found;
}

}  // namespace

std::size_t escaped_size(std::string_view text, LuaEscape kind) {
    const ByteTable& table = encoded(kind);
    std::size_t size = text.size();
    for (const char c : text) {
        size += table[static_cast<unsigned char>(c)] ? 2 : 0;
    }
    return size;
}

char* escape(std::string_view text, LuaEscape kind, char* to) {
    const ByteTable& table = encoded(kind);
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (table[byte]) {
            *to++ = '%';
            *to++ = kHex[byte >> 4];
            *to++ = kHex[byte & 15];
        } else {
            *to++ = c;
        }
    }
    return to;
}

std::string escape(std::string_view text, LuaEscape kind) {
    std::string out(escaped_size(text, kind), '\0');
    escape(text, kind, out.data());
    return out;
}

std::string_view escaped_in(std::string_view text, LuaEscape kind, Arena& arena) {
    if (kind == LuaEscape::HeaderValue && !has_control_bytes(text)) [[likely]] {
        return arena.copy(text);
    }
    const std::size_t size = escaped_size(text, kind);
    char* to = arena.allocate_chars(size + 1);
    *escape(text, kind, to) = '\0';
    return {to, size};
}

std::string escape_for_log(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\') {
            out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
        } else {
            out += c;
        }
    }
    return out;
}

std::size_t escaped_component_size(std::string_view text) {
    std::size_t size = text.size();
    for (const char c : text) {
        size += kPlain[static_cast<unsigned char>(c)] ? 0 : 2;
    }
    return size;
}

char* escape_component(std::string_view text, char* to) {
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
