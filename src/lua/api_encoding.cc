// ngx.encode_args, decode_args, hmac_sha1, quote_sql_str, decode_base64mime. Source:
// lua-nginx-module's documentation.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/strings.h"
#include "http/uri.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/uri_component.h"

namespace moongate::lua {
namespace {

std::string escape(std::string_view text) {
    return escape_component(text);
}

void append_arg(lua_State* L, std::string& out, std::string_view key, int index) {
    switch (lua_type(L, index)) {
        case LUA_TBOOLEAN:
            if (lua_toboolean(L, index) == 0) {
                return;
            }
            if (!out.empty()) {
                out += '&';
            }
            out += key;
            return;
        case LUA_TNUMBER:
        case LUA_TSTRING:
            if (!out.empty()) {
                out += '&';
            }
            lua_pushvalue(L, index);
            out.append(key).append("=").append(escape(to_view(L, -1)));
            lua_pop(L, 1);
            return;
        default:
            luaL_error(L, "attempt to use %s as query arg value", luaL_typename(L, index));
    }
}

int ngx_encode_args(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting 1 argument but seen %d", lua_gettop(L));
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    push(L, encode_args(L, 1));
    return 1;
}

int ngx_decode_args(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting 1 or 2 arguments but seen %d", count);
    }
    const std::string_view text = check_view(L, 1);
    const int max = count == 2 ? static_cast<int>(luaL_checkinteger(L, 2)) : 100;
    if (push_args(L, text, max)) {
        lua_pushliteral(L, "truncated");
        return 2;
    }
    return 1;
}

int hmac_sha1(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments, but got %d", lua_gettop(L));
    }
    const std::string_view key = check_view(L, 1);
    const std::string_view text = check_view(L, 2);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &size);
    push(L, {reinterpret_cast<const char*>(digest), size});
    return 1;
}

int quote_sql_str(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting one argument");
    }
    std::string out = "'";
    for (const char c : check_view(L, 1)) {
        switch (c) {
            case '\0':
                out += "\\0";
                break;
            case '\b':
                out += "\\b";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            case '\x1a':
                out += "\\Z";
                break;
            case '\\':
            case '\'':
            case '"':
                out += '\\';
                out += c;
                break;
            case '$':
                out += "$$";
                break;
            default:
                out += c;
        }
    }
    out += '\'';
    push(L, out);
    return 1;
}

int decode_base64mime(lua_State* L) {
    const std::string_view text = check_view(L, 1);
    std::string kept;
    for (const char c : text) {
        if (is_digit(c) || is_alpha(c) || c == '+' || c == '/') {
            kept += c;
        }
    }
    std::string out(base64_decoded_size(kept.size()), '\0');
    const auto size = base64_decode(kept, out.data(), Base64::Standard);
    if (!size) {
        lua_pushnil(L);
        return 1;
    }
    push(L, {out.data(), *size});
    return 1;
}

}  // namespace

std::string encode_args(lua_State* L, int index) {
    std::string out;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "attempt to use a non-string key in the \"args\" option table");
        }
        const std::string key = escape(to_view(L, -2));
        if (lua_istable(L, -1)) {
            const int count = static_cast<int>(lua_objlen(L, -1));
            for (int i = 1; i <= count; ++i) {
                lua_rawgeti(L, -1, i);
                append_arg(L, out, key, lua_gettop(L));
                lua_pop(L, 1);
            }
        } else {
            append_arg(L, out, key, lua_gettop(L));
        }
        lua_pop(L, 1);
    }
    return out;
}

bool push_args(lua_State* L, std::string_view text, int max) {
    lua_createtable(L, 0, 4);
    int count = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('&'), text.size());
        const std::string_view pair = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t equals = pair.find('=');
        const std::string key = http::unescape_form(pair.substr(0, equals));
        if (key.empty()) {
            continue;
        }
        if (max > 0 && count >= max) {
            return true;
        }
        ++count;
        push(L, key);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        const auto push_value = [&] {
            if (equals == std::string_view::npos) {
                lua_pushboolean(L, 1);
            } else {
                push(L, http::unescape_form(pair.substr(equals + 1)));
            }
        };
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            push_value();
            lua_rawset(L, -3);
        } else if (lua_istable(L, -1)) {
            push_value();
            lua_rawseti(L, -2, static_cast<int>(lua_objlen(L, -2)) + 1);
            lua_pop(L, 2);
        } else {
            lua_createtable(L, 4, 0);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
            push_value();
            lua_rawseti(L, -2, 2);
            lua_rawset(L, -3);
        }
    }
    return false;
}

void install_encoding(lua_State* L) {
    set_function(L, "encode_args", ngx_encode_args);
    set_function(L, "decode_args", ngx_decode_args);
    set_function(L, "hmac_sha1", hmac_sha1);
    set_function(L, "quote_sql_str", quote_sql_str);
    set_function(L, "decode_base64mime", decode_base64mime);
}

}  // namespace moongate::lua
