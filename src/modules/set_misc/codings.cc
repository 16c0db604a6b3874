// URI escapes, Base32, Base64 and hexadecimal digits.
#include "base/base64.h"
#include "base/strings.h"
#include "engine/request.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

// What set_escape_uri leaves as it is beside letters and digits.
constexpr std::string_view kPlainInUri = "!$'()*,-.@_`|~";

constexpr std::array<bool, 256> plain_in_uri() {
    std::array<bool, 256> table{};
    for (int c = 0; c < 128; ++c) {
        const char letter = static_cast<char>(c);
        table[static_cast<std::size_t>(c)] = is_alpha(letter) || is_digit(letter) ||
                                             kPlainInUri.find(letter) != std::string_view::npos;
    }
    return table;
}
constexpr auto kPlain = plain_in_uri();

constexpr unsigned char byte_of(char c) {
    return static_cast<unsigned char>(c);
}

Result<std::string_view> encode_base64(engine::Request& request, std::string_view bytes,
                                       Base64 alphabet, bool padding) {
    char* to = request.arena().allocate_chars((bytes.size() + 2) / 3 * 4 + 1);
    return std::string_view(to, base64_encode(bytes, to, alphabet, padding));
}

Result<std::string_view> decode_base64(engine::Request& request, std::string_view text,
                                       Base64 alphabet, std::string_view directive) {
    char* to = request.arena().allocate_chars(base64_decoded_size(text.size()) + 1);
    const auto size = base64_decode(text, to, alphabet);
    if (!size) {
        request.log_error(LogLevel::Error, "{}: invalid value", directive);
        return set_failure();
    }
    return std::string_view(to, *size);
}

}  // namespace

Result<std::string_view> set_escape_uri(engine::Request& request, SetValues values, const void*) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::string_view text = values[0];
    char* const start = request.arena().allocate_chars(text.size() * 3 + 1);
    char* to = start;
    for (const char c : text) {
        if (kPlain[byte_of(c)]) {
            *to++ = c;
        } else {
            *to++ = '%';
            *to++ = kDigits[byte_of(c) >> 4];
            *to++ = kDigits[byte_of(c) & 15];
        }
    }
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

// '+' is a space; of a broken %XX what cannot be part of it remains, as in nginx.
Result<std::string_view> set_unescape_uri(engine::Request& request, SetValues values, const void*) {
    const std::string_view text = values[0];
    char* const start = request.arena().allocate_chars(text.size() + 1);
    char* to = start;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+') {
            *to++ = ' ';
        } else if (text[i] != '%') {
            *to++ = text[i];
        } else if (++i < text.size()) {
            const int high = hex_value(text[i]);
            if (high < 0) {
                *to++ = text[i];
            } else if (++i < text.size()) {
                if (const int low = hex_value(text[i]); low >= 0) {
                    *to++ = static_cast<char>(high << 4 | low);
                }
            }
        }
    }
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

Result<std::string_view> set_encode_base32(engine::Request& request, SetValues values,
                                           const void*) {
    const auto& settings = request.get<SetMiscSettings>();
    const std::string_view bytes = values[0];
    char* const start = request.arena().allocate_chars((bytes.size() + 4) / 5 * 8 + 1);
    char* to = start;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char c : bytes) {
        held = held << 8 | byte_of(c);
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            *to++ = settings.base32_alphabet[held >> bits & 31];
        }
        held &= (1U << bits) - 1;
    }
    if (bits > 0) {
        *to++ = settings.base32_alphabet[held << (5 - bits) & 31];
    }
    if (settings.base32_padding) {
        while ((to - start) % 8 != 0) {
            *to++ = '=';
        }
    }
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

// Text that is not Base32 comes to nothing.
Result<std::string_view> set_decode_base32(engine::Request& request, SetValues values,
                                           const void*) {
    const auto& settings = request.get<SetMiscSettings>();
    const std::string_view text = values[0].substr(0, values[0].find('='));
    const std::size_t rest = text.size() % 8;
    if (rest == 1 || rest == 3 || rest == 6) {
        return set_result("");
    }
    std::array<std::int8_t, 256> numbers;
    numbers.fill(-1);
    for (std::size_t i = 0; i < kBase32Letters; ++i) {
        numbers[byte_of(settings.base32_alphabet[i])] = static_cast<std::int8_t>(i);
    }
    char* const start = request.arena().allocate_chars(text.size() + 1);
    char* to = start;
    std::uint32_t held = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const int number = numbers[byte_of(c)];
        if (number < 0) {
            return set_result("");
        }
        held = (held << 5 | static_cast<std::uint32_t>(number)) & 0xfff;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            *to++ = static_cast<char>(held >> bits & 0xff);
        }
    }
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

Result<std::string_view> set_encode_base64(engine::Request& request, SetValues values,
                                           const void*) {
    return encode_base64(request, values[0], Base64::Standard, true);
}
Result<std::string_view> set_decode_base64(engine::Request& request, SetValues values,
                                           const void*) {
    return decode_base64(request, values[0], Base64::Standard, "set_decode_base64");
}
Result<std::string_view> set_encode_base64url(engine::Request& request, SetValues values,
                                              const void*) {
    return encode_base64(request, values[0], Base64::Url, false);
}
Result<std::string_view> set_decode_base64url(engine::Request& request, SetValues values,
                                              const void*) {
    return decode_base64(request, values[0], Base64::Url, "set_decode_base64url");
}

Result<std::string_view> set_encode_hex(engine::Request& request, SetValues values, const void*) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const std::string_view bytes = values[0];
    char* const start = request.arena().allocate_chars(bytes.size() * 2 + 1);
    char* to = start;
    for (const char c : bytes) {
        *to++ = kDigits[byte_of(c) >> 4];
        *to++ = kDigits[byte_of(c) & 15];
    }
    return std::string_view(start, bytes.size() * 2);
}

Result<std::string_view> set_decode_hex(engine::Request& request, SetValues values, const void*) {
    const std::string_view text = values[0];
    char* const start = request.arena().allocate_chars(text.size() / 2 + 1);
    bool valid = text.size() % 2 == 0;
    for (std::size_t i = 0; valid && i < text.size(); i += 2) {
        const int high = hex_value(text[i]);
        const int low = hex_value(text[i + 1]);
        valid = high >= 0 && low >= 0;
        start[i / 2] = static_cast<char>(high << 4 | low);
    }
    if (!valid) {
        request.log_error(LogLevel::Error, "set_decode_hex: invalid value");
        return set_failure();
    }
    return std::string_view(start, text.size() / 2);
}

}  // namespace moongate::modules
