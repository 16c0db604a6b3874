// URI escaping, Base64, digests and CRCs as lua-resty-core binds them (resty/core/uri, base64,
// hash, utils; ngx/base64).
#include <openssl/evp.h>

#include "base/base64.h"
#include "http/uri.h"
#include "lua/ffi.h"
#include "lua/uri_component.h"

using namespace moongate::lua;
using moongate::Base64;
using moongate::base64_decode;
using moongate::base64_encode;
using moongate::http::EscapeType;

namespace moongate::lua {
void keep_ffi_encoding() {}
}  // namespace moongate::lua

namespace {

std::string_view view(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

void digest(const EVP_MD* kind, const unsigned char* data, std::size_t size, unsigned char* to) {
    unsigned length = 0;
    EVP_Digest(data, size, to, &length, kind, nullptr);
}

constexpr std::array<std::uint32_t, 256> crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value & 1) != 0 ? value >> 1 ^ 0xedb88320U : value >> 1;
        }
        table[i] = value;
    }
    return table;
}
constexpr auto kCrc = crc_table();

std::uint32_t crc32(const unsigned char* data, std::size_t size) {
    std::uint32_t value = 0xffffffffU;
    for (std::size_t i = 0; i < size; ++i) {
        value = kCrc[(value ^ data[i]) & 0xff] ^ value >> 8;
    }
    return value ^ 0xffffffffU;
}

}  // namespace

MOONGATE_FFI std::size_t ngx_http_lua_ffi_uri_escaped_length(const unsigned char* data,
                                                             std::size_t size, int type) {
    if (static_cast<EscapeType>(type) == EscapeType::UriComponent) {
        return escaped_component_size(view(data, size));
    }
    if (static_cast<EscapeType>(type) == EscapeType::Uri) {
        return escaped_size(view(data, size), LuaEscape::Uri);
    }
    if (static_cast<EscapeType>(type) == EscapeType::Args) {
        return escaped_size(view(data, size), LuaEscape::Args);
    }
    return moongate::http::escaped_size(view(data, size), static_cast<EscapeType>(type));
}

MOONGATE_FFI void ngx_http_lua_ffi_escape_uri(const unsigned char* data, std::size_t size,
                                              unsigned char* to, int type) {
    if (static_cast<EscapeType>(type) == EscapeType::UriComponent) {
        escape_component(view(data, size), reinterpret_cast<char*>(to));
        return;
    }
    if (static_cast<EscapeType>(type) == EscapeType::Uri) {
        escape(view(data, size), LuaEscape::Uri, reinterpret_cast<char*>(to));
        return;
    }
    if (static_cast<EscapeType>(type) == EscapeType::Args) {
        escape(view(data, size), LuaEscape::Args, reinterpret_cast<char*>(to));
        return;
    }
    moongate::http::escape_uri(view(data, size), static_cast<EscapeType>(type),
                               reinterpret_cast<char*>(to));
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_unescape_uri(const unsigned char* data, std::size_t size,
                                                       unsigned char* to) {
    const std::string text = moongate::http::unescape_form(view(data, size));
    std::memcpy(to, text.data(), text.size());
    return text.size();
}

MOONGATE_FFI void ngx_http_lua_ffi_str_replace_char(unsigned char* text, std::size_t size,
                                                    const unsigned char from,
                                                    const unsigned char to) {
    std::replace(text, text + size, from, to);
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_encode_base64(const unsigned char* data, std::size_t size,
                                                        unsigned char* to, int no_padding) {
    return base64_encode(view(data, size), reinterpret_cast<char*>(to), Base64::Standard,
                         no_padding == 0);
}

MOONGATE_FFI int ngx_http_lua_ffi_decode_base64(const unsigned char* data, std::size_t size,
                                                unsigned char* to, std::size_t* out_size) {
    const auto written =
        base64_decode(view(data, size), reinterpret_cast<char*>(to), Base64::Standard);
    if (!written) {
        return 0;
    }
    *out_size = *written;
    return 1;
}

MOONGATE_FFI int ngx_http_lua_ffi_decode_base64mime(const unsigned char* data, std::size_t size,
                                                    unsigned char* to, std::size_t* out_size) {
    std::string kept;
    for (const char c : view(data, size)) {
        if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/') {
            kept += c;
        }
    }
    return ngx_http_lua_ffi_decode_base64(reinterpret_cast<const unsigned char*>(kept.data()),
                                          kept.size(), to, out_size);
}

MOONGATE_FFI void ngx_encode_base64url(NgxStr* to, const NgxStr* from) {
    to->len = base64_encode(view(from->data, from->len), reinterpret_cast<char*>(to->data),
                            Base64::Url, false);
}

MOONGATE_FFI std::intptr_t ngx_decode_base64url(NgxStr* to, const NgxStr* from) {
    const auto written =
        base64_decode(view(from->data, from->len), reinterpret_cast<char*>(to->data), Base64::Url);
    if (!written) {
        return kFfiError;
    }
    to->len = *written;
    return kFfiOk;
}

MOONGATE_FFI void ngx_http_lua_ffi_md5_bin(const unsigned char* data, std::size_t size,
                                           unsigned char* to) {
    digest(EVP_md5(), data, size, to);
}

MOONGATE_FFI void ngx_http_lua_ffi_md5(const unsigned char* data, std::size_t size,
                                       unsigned char* to) {
    unsigned char raw[16];
    digest(EVP_md5(), data, size, raw);
    constexpr char kHex[] = "0123456789abcdef";
    for (int i = 0; i < 16; ++i) {
        to[2 * i] = static_cast<unsigned char>(kHex[raw[i] >> 4]);
        to[2 * i + 1] = static_cast<unsigned char>(kHex[raw[i] & 15]);
    }
}

MOONGATE_FFI int ngx_http_lua_ffi_sha1_bin(const unsigned char* data, std::size_t size,
                                           unsigned char* to) {
    digest(EVP_sha1(), data, size, to);
    return 1;
}

MOONGATE_FFI unsigned ngx_http_lua_ffi_crc32_short(const unsigned char* data, std::size_t size) {
    return crc32(data, size);
}

MOONGATE_FFI unsigned ngx_http_lua_ffi_crc32_long(const unsigned char* data, std::size_t size) {
    return crc32(data, size);
}
