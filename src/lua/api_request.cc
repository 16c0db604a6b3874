// ngx.req.* that are C functions: set_uri, set_uri_args, get_post_args, raw_header, http_version;
// and ngx.resp.get_headers. Source: lua-nginx-module's documentation.
#include "engine/request.h"
#include "engine/request_body.h"
#include "http/uri.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/uri_component.h"

namespace moongate::lua {
namespace {

constexpr int kMaxArgs = 100;

int http_version(lua_State* L) {
    const http::RequestHead& head = check_request(L).request->exchange.head();
    lua_pushnumber(L, head.major + head.minor / 10.0);
    return 1;
}

int raw_header(lua_State* L) {
    Context& context = check_request(L);
    const bool without_line = lua_gettop(L) > 0 && lua_toboolean(L, 1) != 0;
    std::string_view head = context.request->exchange.raw_head();
    head.remove_prefix(std::min(head.find_first_not_of("\r\n"), head.size()));
    if (without_line) {
        head.remove_prefix(std::min(head.find('\n') + 1, head.size()));
    }
    push(L, head);
    return 1;
}

int set_uri(lua_State* L) {
    const int count = lua_gettop(L);
    if (count < 1 || count > 3) {
        return luaL_error(L, "expecting 1, 2 or 3 arguments but seen %d", count);
    }
    Context& context = check_request(L);
    engine::Request& request = *context.request;
    bool jump = false;
    bool binary = false;
    std::string_view uri = check_view(L, 1);
    if (uri.empty()) {
        return luaL_error(L, "attempt to use zero-length uri");
    }
    if (count >= 2) {
        luaL_checktype(L, 2, LUA_TBOOLEAN);
        jump = lua_toboolean(L, 2) != 0;
        if (count >= 3) {
            luaL_checktype(L, 3, LUA_TBOOLEAN);
            binary = lua_toboolean(L, 3) != 0;
        }
        if (jump && context.phase() != Phase::Rewrite && context.phase() != Phase::ServerRewrite &&
            context.phase() != Phase::PostRewrite) {
            return luaL_error(L, "API disabled in the context of %s",
                              directive_of(context.phase()));
        }
    }
    if (!binary) {
        for (const char c : uri) {
            const auto byte = static_cast<unsigned char>(c);
            if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
                push(L, fmt::format("unsafe byte \"0x{:02x}\" in uri \"{}\" (maybe you want to "
                                    "set the 'binary' argument?)",
                                    byte, escape_for_log(uri)));
                return luaL_error(L, "%s", lua_tostring(L, -1));
            }
        }
    }
    request.uri = request.arena().copy(uri);
    request.internal = true;
    request.valid_unparsed_uri = false;
    request.set_extension();
    if (jump) {
        if (const char* problem = why_not_wait(L)) {
            return luaL_error(L, "%s", problem);
        }
        request.uri_changed = true;
        context.run->request_jump();
        return lua_yield(L, 0);
    }
    request.uri_changed = false;
    return 0;
}

int set_uri_args(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting 1 argument but seen %d", lua_gettop(L));
    }
    engine::Request& request = *check_request(L).request;
    switch (lua_type(L, 1)) {
        case LUA_TNUMBER:
        case LUA_TSTRING: {
            const std::string_view args = to_view(L, 1);
            for (const char c : args) {
                const auto byte = static_cast<unsigned char>(c);
                if (byte < 0x20 || byte == 0x7f || byte == ' ' || byte == '#') {
                    // As ngx_lua: what cannot stand in a request line is escaped.
                    std::string escaped;
                    for (const char each : args) {
                        const auto value = static_cast<unsigned char>(each);
                        if (value <= 0x20 || value == 0x7f || value == '#') {
                            fmt::format_to(std::back_inserter(escaped), "%{:02X}", value);
                        } else {
                            escaped += each;
                        }
                    }
                    request.args = request.arena().copy(escaped);
                    request.valid_unparsed_uri = false;
                    return 0;
                }
            }
            request.args = request.arena().copy(args);
            break;
        }
        case LUA_TTABLE:
            request.args = request.arena().copy(encode_args(L, 1));
            break;
        default:
            return luaL_argerror(L, 1,
                                 lua_pushfstring(L, "string, number, or table expected, but got %s",
                                                 luaL_typename(L, 1)));
    }
    request.valid_unparsed_uri = false;
    return 0;
}

int get_post_args(lua_State* L) {
    const int count = lua_gettop(L);
    if (count > 1) {
        return luaL_error(L, "expecting 0 or 1 arguments but seen %d", count);
    }
    const int max =
        count == 1 && !lua_isnil(L, 1) ? static_cast<int>(luaL_checkint(L, 1)) : kMaxArgs;
    Context& context = check_request(L);
    if (context.discarded_body) {
        lua_createtable(L, 0, 0);
        return 1;
    }
    const engine::RequestBody* body = context.request->body;
    if (body == nullptr) {
        return luaL_error(L,
                          "no request body found; maybe you should turn on "
                          "lua_need_request_body?");
    }
    if (body->file >= 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "request body in temp file not supported");
        return 2;
    }
    if (push_args(L, body->memory, max)) {
        lua_pushliteral(L, "truncated");
        return 2;
    }
    return 1;
}

// A field of a response's head into the table at the top of the stack; repeated names become lists.
void add_header(lua_State* L, std::string_view name, std::string_view value, bool raw) {
    if (raw) {
        push(L, name);
    } else {
        push(L, to_lower(name));
    }
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        push(L, value);
        lua_rawset(L, -3);
        return;
    }
    if (lua_istable(L, -1)) {
        push(L, value);
        lua_rawseti(L, -2, static_cast<int>(lua_objlen(L, -2)) + 1);
        lua_pop(L, 2);
        return;
    }
    lua_createtable(L, 4, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    push(L, value);
    lua_rawseti(L, -2, 2);
    lua_rawset(L, -3);
}

int get_resp_headers(lua_State* L) {
    int max = kMaxArgs;
    if (lua_gettop(L) >= 1 && !lua_isnil(L, 1)) {
        max = static_cast<int>(luaL_checkinteger(L, 1));
    }
    const bool raw = lua_gettop(L) >= 2 && lua_toboolean(L, 2) != 0;
    const engine::Response& response = check_request(L).request->response;
    lua_createtable(L, 0, static_cast<int>(response.headers.size()) + 4);
    if (!raw) {
        lua_getfield(L, LUA_REGISTRYINDEX, "moongate_headers_metatable");
        lua_setmetatable(L, -2);
    }
    bool truncated = false;
    int count = 0;
    if (!response.content_type.empty()) {
        add_header(L, "content-type", response.content_type, true);
    }
    if (response.content_length >= 0) {
        add_header(L, "content-length", fmt::format("{}", response.content_length), true);
    }
    if (response.last_modified >= 0) {
        char date[32];
        format_http_date(response.last_modified, date);
        add_header(L, "last-modified", {date, 29}, true);
    }
    if (!response.location.empty()) {
        add_header(L, "Location", response.location, raw);
    }
    for (const http::Header& header : response.headers) {
        if (max > 0 && ++count > max) {
            truncated = true;
            break;
        }
        add_header(L, header.name, header.value, raw);
    }
    // What the server adds by itself.
    if (!raw) {
        add_header(L, "connection",
                   check_request(L).request->exchange.framing().keep_alive ? "keep-alive" : "close",
                   true);
    }
    if (check_request(L).request->exchange.response_chunked()) {
        add_header(L, "transfer-encoding", "chunked", true);
    }
    if (truncated) {
        lua_pushliteral(L, "truncated");
        return 2;
    }
    return 1;
}

constexpr std::string_view kHeadersMetatable = R"(
local lower, gsub, rawget = string.lower, string.gsub, rawget
return { __index = function (t, key)
    return rawget(t, (gsub(lower(key), "_", "-")))
end })";

}  // namespace

void install_request(lua_State* L) {
    set_function(L, "http_version", http_version);
    set_function(L, "raw_header", raw_header);
    set_function(L, "set_uri", set_uri);
    set_function(L, "set_uri_args", set_uri_args);
    set_function(L, "get_post_args", get_post_args);
    if (luaL_loadbuffer(L, kHeadersMetatable.data(), kHeadersMetatable.size(), "=headers") != 0) {
        lua_error(L);
    }
    lua_call(L, 0, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moongate_headers_metatable");
    lua_getfield(L, -2, "resp");
    set_function(L, "get_headers", get_resp_headers);
    lua_pop(L, 1);
}

}  // namespace moongate::lua
