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

MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_ocsp_responder_from_der_chain(const char*, std::size_t,
                                                                        char*, std::size_t*,
                                                                        const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_create_ocsp_request(const char*, std::size_t, unsigned char*,
                                                          std::size_t*, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_validate_ocsp_response(Bytes, std::size_t, const char*,
                                                             std::size_t, unsigned char* error,
                                                             std::size_t* size) {
    constexpr std::string_view kText = kNoTls;
    *size = *size < kText.size() ? *size : kText.size();
    std::memcpy(error, kText.data(), *size);
    return kFfiError;
}
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
MOONGATE_FFI int ngx_http_lua_ffi_cert_pem_to_der(Bytes, std::size_t, unsigned char*,
                                                  const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_priv_key_pem_to_der(Bytes, std::size_t, Bytes, unsigned char*,
                                                      const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_tls1_version(Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI Any ngx_http_lua_ffi_parse_pem_cert(Bytes, std::size_t, const char** error) {
    *error = kNoTls;
    return nullptr;
}
MOONGATE_FFI Any ngx_http_lua_ffi_parse_pem_priv_key(Bytes, std::size_t, const char** error) {
    *error = kNoTls;
    return nullptr;
}
MOONGATE_FFI int ngx_http_lua_ffi_set_cert(Any, Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI int ngx_http_lua_ffi_set_priv_key(Any, Any, const char** error) {
    return no_tls(error);
}
MOONGATE_FFI void ngx_http_lua_ffi_free_cert(Any) {}
MOONGATE_FFI void ngx_http_lua_ffi_free_priv_key(Any) {}
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
