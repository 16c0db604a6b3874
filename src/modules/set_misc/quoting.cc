// Literals of SQL, PostgreSQL and JSON.
#include "engine/request.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

// The letter that stands behind a backslash for `c`; 0: `c` stands for itself.
char sql_escape(char c) {
    switch (c) {
        case '\0':
            return '0';
        case '\b':
            return 'b';
        case '\n':
            return 'n';
        case '\r':
            return 'r';
        case '\t':
            return 't';
        case 26:
            return 'Z';
        case '\\':
        case '\'':
        case '"':
        case '$':
            return c;
        default:
            return 0;
    }
}

char json_escape(char c) {
    switch (c) {
        case '\b':
            return 'b';
        case '\f':
            return 'f';
        case '\n':
            return 'n';
        case '\r':
            return 'r';
        case '\t':
            return 't';
        case '\\':
        case '"':
            return c;
        default:
            return 0;
    }
}

char* write_sql(std::string_view text, char* to) {
    *to++ = '\'';
    for (const char c : text) {
        if (const char letter = sql_escape(c); letter != 0) {
            *to++ = '\\';
            *to++ = letter;
        } else {
            *to++ = c;
        }
    }
    *to++ = '\'';
    return to;
}

bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = [&](std::size_t at) {
            return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
        };
        const unsigned first = byte(i);
        if (first < 0x80) {
            ++i;
            continue;
        }
        const std::size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        if (first < 0xc2 || first > 0xf4) {
            return false;
        }
        // No overlong forms, no surrogates, nothing above U+10FFFF.
        const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (byte(i + 1) < least || byte(i + 1) > most) {
            return false;
        }
        for (std::size_t k = 2; k < size; ++k) {
            if (byte(i + k) < 0x80 || byte(i + k) > 0xbf) {
                return false;
            }
        }
        i += size;
    }
    return true;
}

}  // namespace

Result<std::string_view> set_quote_sql_str(engine::Request& request, SetValues values,
                                           const void*) {
    const std::string_view text = values[0];
    char* const start = request.arena().allocate_chars(text.size() * 2 + 2);
    return std::string_view(start, static_cast<std::size_t>(write_sql(text, start) - start));
}

Result<std::string_view> set_quote_pgsql_str(engine::Request& request, SetValues values,
                                             const void*) {
    const std::string_view text = values[0];
    if (text.empty()) {
        return set_result("''");
    }
    // A byte that is no UTF-8 becomes \\ooo, which `bytea` reads: five characters at most.
    char* const start = request.arena().allocate_chars(text.size() * 5 + 3);
    *start = 'E';
    char* to = start + 1;
    if (is_utf8(text)) {
        to = write_sql(text, to);
        return std::string_view(start, static_cast<std::size_t>(to - start));
    }
    *to++ = '\'';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x80) {
            *to++ = '\\';
            *to++ = '\\';
            *to++ = static_cast<char>('0' + (byte >> 6));
            *to++ = static_cast<char>('0' + (byte >> 3 & 7));
            *to++ = static_cast<char>('0' + (byte & 7));
        } else if (const char letter = sql_escape(c); letter != 0) {
            *to++ = '\\';
            *to++ = letter;
        } else {
            *to++ = c;
        }
    }
    *to++ = '\'';
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

Result<std::string_view> set_quote_json_str(engine::Request& request, SetValues values,
                                            const void*) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const std::string_view text = values[0];
    if (text.empty()) {
        return set_result("null");
    }
    char* const start = request.arena().allocate_chars(text.size() * 6 + 2);
    char* to = start;
    *to++ = '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (const char letter = json_escape(c); letter != 0) {
            *to++ = '\\';
            *to++ = letter;
        } else if (byte < 32) {
            for (const char part : {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]}) {
                *to++ = part;
            }
        } else {
            *to++ = c;
        }
    }
    *to++ = '"';
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

}  // namespace moongate::modules
