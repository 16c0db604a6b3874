// The packages cjson and cjson.safe: JSON (RFC 8259) as lua-cjson 2.1.0 with the additions of
// OpenResty's branch. Native, and there before any package path is searched: Debian's lua-cjson
// lacks the additions, and scripts expect them. A module has its settings, cjson.new() makes
// another. Any Lua state, one thread at a time. Source: lua-cjson's manual.
#pragma once

#include <lua.hpp>

#include <string>
#include <string_view>

namespace moongate::lua {

struct CjsonSettings {
    int sparse_convert = 0;
    int sparse_ratio = 2;
    int sparse_safe = 10;
    int encode_max_depth = 1000;
    int decode_max_depth = 1000;
    int number_precision = 14;
    int keep_buffer = 1;
    int encode_invalid_numbers = 0;  // off, on, null
    int decode_invalid_numbers = 1;
    int empty_table_as_object = 1;
    int decode_array_with_array_mt = 0;
    int escape_forward_slash = 1;
    int skip_unsupported = 0;
    // What is being built: here, since a Lua error may end an encode or a decode anywhere.
    std::string buffer;
};

// Addresses that stand for values: the metatables in the registry, and cjson.empty_array.
const void* cjson_array_key();
const void* cjson_empty_array_key();
const void* cjson_empty_array_value();

// Writes the value at the top of the stack to settings.buffer; a Lua error where it cannot be.
void cjson_encode(lua_State* L, CjsonSettings& settings);
// Pushes the value of `text`, which a NUL follows; a Lua error where it is not JSON.
void cjson_decode(lua_State* L, CjsonSettings& settings, std::string_view text);

// Puts both packages into package.preload.
void install_cjson(lua_State* L);

}  // namespace moongate::lua
