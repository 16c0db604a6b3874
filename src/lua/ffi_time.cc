// The time functions of resty/core/time. Cached time, as nginx's: the reactor's clock.
#include <ctime>

#include "base/clock.h"
#include "engine/request.h"
#include "lua/context.h"
#include "lua/ffi.h"

using namespace moongate::lua;
using moongate::Clock;

namespace moongate::lua {
void keep_ffi_time() {}
}  // namespace moongate::lua

namespace {

void format(unsigned char* to, const char* form, std::size_t size, bool utc) {
    const std::time_t now = Clock::current().unix_seconds();
    std::tm parts{};
    if (utc) {
        gmtime_r(&now, &parts);
    } else {
        localtime_r(&now, &parts);
    }
    char text[32];
    std::strftime(text, sizeof(text), form, &parts);
    std::memcpy(to, text, size);
}

}  // namespace

MOONGATE_FFI double ngx_http_lua_ffi_now() {
    return static_cast<double>(Clock::current().unix_ms()) / 1000.0;
}

MOONGATE_FFI long ngx_http_lua_ffi_time() {
    return static_cast<long>(Clock::current().unix_seconds());
}

MOONGATE_FFI long ngx_http_lua_ffi_monotonic_msec() {
    return static_cast<long>(Clock::current().monotonic_ms());
}

MOONGATE_FFI void ngx_http_lua_ffi_update_time() {
    Clock::current().update();
}

MOONGATE_FFI void ngx_http_lua_ffi_today(unsigned char* to) {
    format(to, "%Y-%m-%d", 10, false);
}

MOONGATE_FFI void ngx_http_lua_ffi_localtime(unsigned char* to) {
    format(to, "%Y-%m-%d %H:%M:%S", 19, false);
}

MOONGATE_FFI void ngx_http_lua_ffi_utctime(unsigned char* to) {
    format(to, "%Y-%m-%d %H:%M:%S", 19, true);
}

// "Sun, 06-Nov-94 08:49:37 GMT"; four digits for years beyond 2037.
MOONGATE_FFI int ngx_http_lua_ffi_cookie_time(unsigned char* to, long seconds) {
    const std::time_t time = seconds;
    std::tm parts{};
    gmtime_r(&time, &parts);
    char text[64];
    const std::size_t size = std::strftime(
        text, sizeof(text),
        parts.tm_year + 1900 > 2037 ? "%a, %d-%b-%Y %H:%M:%S GMT" : "%a, %d-%b-%y %H:%M:%S GMT",
        &parts);
    std::memcpy(to, text, size);
    return static_cast<int>(size);
}

MOONGATE_FFI void ngx_http_lua_ffi_http_time(unsigned char* to, long seconds) {
    char text[32];
    moongate::format_http_date(seconds, text);
    std::memcpy(to, text, 29);
}

MOONGATE_FFI void ngx_http_lua_ffi_parse_http_time(const unsigned char* text, std::size_t size,
                                                   long* time) {
    *time =
        static_cast<long>(moongate::parse_http_date({reinterpret_cast<const char*>(text), size}));
}

MOONGATE_FFI double ngx_http_lua_ffi_req_start_time(Context* context) {
    return context->request == nullptr ? 0
                                       : static_cast<double>(context->request->start_ms) / 1000.0;
}
