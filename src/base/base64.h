// Base64 (RFC 4648 §4 and §5) for ngx.encode_base64 and its relatives. Any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace moongate {

enum class Base64 : unsigned char { Standard, Url };

constexpr std::size_t base64_decoded_size(std::size_t encoded) {
    return (encoded + 3) / 4 * 3;
}

// Writes the text and returns its size.
std::size_t base64_encode(std::string_view bytes, char* to, Base64 alphabet, bool padding);
// The number of bytes written; nothing where `text` is not Base64. Stops at the first '='.
std::optional<std::size_t> base64_decode(std::string_view text, char* to, Base64 alphabet);

}  // namespace moongate
