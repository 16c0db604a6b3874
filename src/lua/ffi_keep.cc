// Pulls the files whose functions only Lua calls into the executable (api.h).
#include "lua/api.h"

namespace moongate::lua {

void keep_ffi_core();
void keep_ffi_encoding();
void keep_ffi_time();
void keep_ffi_request();
void keep_ffi_response();
void keep_ffi_misc();
void keep_ffi_regex();
void keep_ffi_semaphore();
void keep_ffi_socket();
void keep_ffi_later();
void keep_ffi_balancer();
void keep_ffi_pipe();
void keep_ffi_ssl_connection();
void keep_ffi_ssl_parse();
void keep_ffi_ocsp();

void keep_ffi() {
    keep_ffi_core();
    keep_ffi_encoding();
    keep_ffi_time();
    keep_ffi_request();
    keep_ffi_response();
    keep_ffi_misc();
    keep_ffi_regex();
    keep_ffi_semaphore();
    keep_ffi_socket();
    keep_ffi_later();
    keep_ffi_balancer();
    keep_ffi_pipe();
    keep_ffi_ssl_connection();
    keep_ffi_ssl_parse();
    keep_ffi_ocsp();
}

}  // namespace moongate::lua
