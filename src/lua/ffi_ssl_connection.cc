// The functions of ngx.ssl, ngx.ssl.session, ngx.ssl.clienthello and ngx.ocsp that work on a
// request's TLS connection. No request has one until the server speaks TLS: each answers as ngx_lua
// does on a plain connection. What the modules of lua-resty-core bind.
#include <cstdint>

#include "lua/ffi.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_ssl_connection() {}
}  // namespace moongate::lua

namespace {

int no_tls(const char** error) {
    *error = "bad request";
    return kFfiError;
}

}  // namespace

using Any = void*;
using Bytes = const unsigned char*;

MOONGATE_FFI int ngx_http_lua_ffi_ssl_set_ocsp_status_resp(Any, Bytes, std::size_t,
                                                           const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_set_der_certificate(Any, const char*, std::size_t,
                                                          const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_clear_certs(Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_set_der_private_key(Any, const char*, std::size_t,
                                                          const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_raw_server_addr(Any, char**, std::size_t*, int*,
                                                      const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_server_port(Any, unsigned short*, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_server_name(Any, char**, std::size_t*, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_raw_client_addr(Any, char**, std::size_t*, int*,
                                                      const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_tls1_version(Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_set_cert(Any, Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_set_priv_key(Any, Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_verify_client(Any, Any, int, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_client_hello_server_name(Any, const char**, std::size_t*,
                                                                   const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_client_hello_ext(Any, unsigned, Bytes*, std::size_t*,
                                                           const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_set_protocols(Any, int, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_set_serialized_session(Any, Bytes, int, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_serialized_session(Any, char*, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_session_id(Any, char*, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_serialized_session_size(Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_session_id_size(Any, const char** error) {
    return no_tls(error);
}
