// The functions that lua-resty-core binds for what this server does not do from Lua yet: TLS
// (ngx.ssl, ngx.ocsp, sslhandshake). Each answers with its error code and says so; none
// crashes.
#include <cstdint>
#include <cstring>
#include <string_view>

#include "lua/ffi.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_later() {}
}  // namespace moongate::lua

namespace {

constexpr char kNoTls[] = "TLS from Lua is not supported yet";

int no_tls(const char** error) {
    *error = kNoTls;
    return kFfiError;
}

}  // namespace

using Any = void*;
using Bytes = const unsigned char*;

MOONGATE_FFI int ngx_http_lua_ffi_socket_tcp_sslhandshake(Any, Any, Any, int, Any, int, int, Any,
                                                          Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_socket_tcp_get_sslhandshake_result(Any, Any, Any*,
                                                                     const char** error,
                                                                     int* code) {
    *code = 0;
    return no_tls(error);
}
MOONGATE_FFI void ngx_http_lua_ffi_ssl_free_session(Any) {}
