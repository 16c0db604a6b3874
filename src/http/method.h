// Request methods: the ones nginx names, and Other for any further token. The bit values are
// nginx's, which Lua sees as ngx.HTTP_GET and the like and which limit_except and dav_methods
// combine into masks. Source: RFC 9110 §9, nginx's ngx_http_request.h. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace moongate::http {

enum class Method : std::uint8_t {
    Other,
    Get,
    Head,
    Post,
    Put,
    Delete,
    Mkcol,
    Copy,
    Move,
    Options,
    Propfind,
    Proppatch,
    Lock,
    Unlock,
    Patch,
    Trace,
    Connect,
};

inline constexpr int kMethodCount = 17;

// Case-sensitive, as methods are. Other for a token that is not in the list.
Method parse_method(std::string_view text);

// "GET" and so on; empty for Other, whose text only the request head knows.
std::string_view method_name(Method method);

// NGX_HTTP_GET 0x2, HEAD 0x4, … CONNECT 0x10000; Other is NGX_HTTP_UNKNOWN, 0x1.
constexpr std::uint32_t method_bit(Method method) {
    return 1U << static_cast<unsigned>(method);
}

// The inverse of method_bit; Other where `bit` is none of the values.
constexpr Method method_of_bit(std::uint32_t bit) {
    for (int i = 1; i < kMethodCount; ++i) {
        if (bit == 1U << i) {
            return static_cast<Method>(i);
        }
    }
    return Method::Other;
}

}  // namespace moongate::http
