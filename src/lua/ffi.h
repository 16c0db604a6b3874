// What the functions that lua-resty-core binds share: their linkage, return codes and the structs
// whose layout Lua reads. The declarations they must match are the ffi.cdef blocks of
// lua-resty-core 0.1.25. `ngx_http_request_t*` is a Context*.
#pragma once

#include <cstddef>

#define MOONGATE_FFI extern "C" __attribute__((visibility("default"), used))

namespace moongate::lua {

inline constexpr int kFfiOk = 0;
inline constexpr int kFfiError = -1;
inline constexpr int kFfiAgain = -2;
inline constexpr int kFfiBusy = -3;
inline constexpr int kFfiDone = -4;
inline constexpr int kFfiDeclined = -5;
inline constexpr int kFfiNoContext = -100;
inline constexpr int kFfiBadContext = -101;

struct NgxStr {  // ngx_str_t
    std::size_t len;
    unsigned char* data;
};
struct FfiStr {  // ngx_http_lua_ffi_str_t
    int len;
    const unsigned char* data;
};
struct FfiTableElt {  // ngx_http_lua_ffi_table_elt_t
    FfiStr key;
    FfiStr value;
};

}  // namespace moongate::lua
