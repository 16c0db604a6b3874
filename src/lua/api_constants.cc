// ngx.OK and the like, ngx.HTTP_*, ngx.null, ngx.config, ngx.arg. Source: the "Core constants"
// chapter of lua-nginx-module's documentation.
#include "engine/request.h"
#include "engine/snapshot.h"
#include "lua/api.h"
#include "lua/context.h"

namespace moongate::lua {
namespace {

struct Constant {
    const char* name;
    int value;
};

constexpr Constant kConstants[] = {
    {"OK", 0},
    {"AGAIN", -2},
    {"DONE", -4},
    {"DECLINED", -5},
    {"ERROR", -1},
    {"HTTP_GET", 0x2},
    {"HTTP_HEAD", 0x4},
    {"HTTP_POST", 0x8},
    {"HTTP_PUT", 0x10},
    {"HTTP_DELETE", 0x20},
    {"HTTP_MKCOL", 0x40},
    {"HTTP_COPY", 0x80},
    {"HTTP_MOVE", 0x100},
    {"HTTP_OPTIONS", 0x200},
    {"HTTP_PROPFIND", 0x400},
    {"HTTP_PROPPATCH", 0x800},
    {"HTTP_LOCK", 0x1000},
    {"HTTP_UNLOCK", 0x2000},
    {"HTTP_PATCH", 0x4000},
    {"HTTP_TRACE", 0x8000},
    {"HTTP_CONTINUE", 100},
    {"HTTP_SWITCHING_PROTOCOLS", 101},
    {"HTTP_OK", 200},
    {"HTTP_CREATED", 201},
    {"HTTP_ACCEPTED", 202},
    {"HTTP_NO_CONTENT", 204},
    {"HTTP_PARTIAL_CONTENT", 206},
    {"HTTP_SPECIAL_RESPONSE", 300},
    {"HTTP_MOVED_PERMANENTLY", 301},
    {"HTTP_MOVED_TEMPORARILY", 302},
    {"HTTP_SEE_OTHER", 303},
    {"HTTP_NOT_MODIFIED", 304},
    {"HTTP_TEMPORARY_REDIRECT", 307},
    {"HTTP_PERMANENT_REDIRECT", 308},
    {"HTTP_BAD_REQUEST", 400},
    {"HTTP_UNAUTHORIZED", 401},
    {"HTTP_PAYMENT_REQUIRED", 402},
    {"HTTP_FORBIDDEN", 403},
    {"HTTP_NOT_FOUND", 404},
    {"HTTP_NOT_ALLOWED", 405},
    {"HTTP_NOT_ACCEPTABLE", 406},
    {"HTTP_REQUEST_TIMEOUT", 408},
    {"HTTP_CONFLICT", 409},
    {"HTTP_GONE", 410},
    {"HTTP_UPGRADE_REQUIRED", 426},
    {"HTTP_TOO_MANY_REQUESTS", 429},
    {"HTTP_ILLEGAL", 451},
    {"HTTP_CLOSE", 444},
    {"HTTP_INTERNAL_SERVER_ERROR", 500},
    {"HTTP_NOT_IMPLEMENTED", 501},
    {"HTTP_METHOD_NOT_IMPLEMENTED", 501},
    {"HTTP_BAD_GATEWAY", 502},
    {"HTTP_SERVICE_UNAVAILABLE", 503},
    {"HTTP_GATEWAY_TIMEOUT", 504},
    {"HTTP_VERSION_NOT_SUPPORTED", 505},
    {"HTTP_INSUFFICIENT_STORAGE", 507},
};

// ngx.config.prefix() and nginx_configure(): their text is an upvalue.
int config_text(lua_State* L) {
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

// ngx.arg[1] = data; ngx.arg[2] = eof: body_filter_by_lua only.
int set_argument(lua_State* L) {
    Context& context = check_request(L);
    if (context.phase() != Phase::BodyFilter) {
        return luaL_error(L, "API disabled in the current context");
    }
    const int index = static_cast<int>(luaL_checkint(L, 2));
    if (index == 2) {
        context.chunk_last = lua_toboolean(L, 3) != 0;
        return 0;
    }
    if (index != 1) {
        return luaL_error(L, "bad index: %d", index);
    }
    switch (lua_type(L, 3)) {
        case LUA_TNIL:
            context.chunk = {};
            return 0;
        case LUA_TSTRING:
        case LUA_TNUMBER:
            context.chunk = context.arena.copy(to_view(L, 3));
            return 0;
        case LUA_TTABLE: {
            // As ngx.print would write it.
            std::string text;
            const int count = static_cast<int>(lua_objlen(L, 3));
            for (int i = 1; i <= count; ++i) {
                lua_rawgeti(L, 3, i);
                if (lua_istable(L, -1)) {
                    const int inner = static_cast<int>(lua_objlen(L, -1));
                    for (int j = 1; j <= inner; ++j) {
                        lua_rawgeti(L, -1, j);
                        text += to_view(L, -1);
                        lua_pop(L, 1);
                    }
                } else {
                    text += to_view(L, -1);
                }
                lua_pop(L, 1);
            }
            context.chunk = context.arena.copy(text);
            return 0;
        }
        default:
            return luaL_error(L, "bad chunk data type: %s", luaL_typename(L, 3));
    }
}

int raw_phase(lua_State* L) {
    const Context* context = Context::of(L);
    lua_pushinteger(L, context == nullptr ? 0 : static_cast<int>(context->phase()));
    return 1;
}

}  // namespace

void install_constants(lua_State* L) {
    for (const Constant& constant : kConstants) {
        lua_pushinteger(L, constant.value);
        lua_setfield(L, -2, constant.name);
    }
    lua_pushlightuserdata(L, nullptr);
    lua_setfield(L, -2, "null");
    set_function(L, "_phase_ctx", raw_phase);
    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 2);
    set_function(L, "__newindex", set_argument);
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "arg");
    lua_createtable(L, 0, 4);  // ngx.resp: filled below and by request functions
    lua_setfield(L, -2, "resp");
}

void install_config(lua_State* L, const engine::Snapshot& snapshot) {
    lua_createtable(L, 0, 8);
    lua_pushliteral(L, "http");
    lua_setfield(L, -2, "subsystem");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "debug");
    lua_pushinteger(L, 1031005);
    lua_setfield(L, -2, "nginx_version");
    // lua-resty-core 0.1.25 wants exactly this.
    lua_pushinteger(L, 10023);
    lua_setfield(L, -2, "ngx_lua_version");
    push(L, snapshot.http().get<LuaMainSettings>().prefix);
    lua_pushcclosure(L, config_text, 1);
    lua_setfield(L, -2, "prefix");
    push(L, snapshot.http().get<LuaMainSettings>().configure_arguments);
    lua_pushcclosure(L, config_text, 1);
    lua_setfield(L, -2, "nginx_configure");
    lua_setfield(L, -2, "config");
}

}  // namespace moongate::lua
