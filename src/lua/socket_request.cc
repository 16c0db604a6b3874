// ngx.req.socket: the request's body as a stream, or (raw) the whole connection, which the request
// takes from HTTP for good. Source: lua-nginx-module's documentation of ngx.req.socket.
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "lua/api.h"
#include "lua/socket_tcp.h"

namespace moongate::lua {
namespace {

// The table with the socket at index 1; leaves both on the stack.
TcpSocket& push_socket(lua_State* L, Context& context, TcpSocket::Kind kind,
                       const char* metatable) {
    lua_settop(L, 0);
    lua_createtable(L, 5, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, metatable);
    lua_setmetatable(L, -2);
    TcpSocket& socket = new_tcp_socket(L, kind);
    lua_rawseti(L, 1, kSocketContext);
    const LuaSettings& settings = context.settings();
    socket.begin(context, settings);
    socket.connect_timeout = settings.socket_connect_timeout;
    socket.send_timeout = settings.socket_send_timeout;
    socket.read_timeout = settings.socket_read_timeout;
    socket.open = true;
    return socket;
}

int body_socket(lua_State* L, Context& context) {
    engine::Request& request = *context.request;
    if (context.discarded_body) {
        return fail(L, "request body discarded");
    }
    if (request.body != nullptr) {
        return fail(L, "request body already exists");
    }
    const http::RequestFraming& framing = request.exchange.framing();
    if (framing.body == http::BodyKind::None ||
        (framing.body == http::BodyKind::Length && framing.content_length == 0)) {
        return fail(L, "no body");
    }
    // Nobody else reads it.
    request.body = request.arena().make<engine::RequestBody>();
    context.body_is_stream = true;
    push_socket(L, context, TcpSocket::Kind::RequestBody, kBodyMetatable);
    return 1;
}

int push_raw(lua_State* L, Context& context) {
    engine::Request& request = *context.request;
    context.output.take_over();
    request.response.head_sent = true;
    request.response.ended = true;
    if (request.body == nullptr) {
        request.body = request.arena().make<engine::RequestBody>();
    }
    const http::Exchange::Raw raw = request.exchange.take_over();
    if (raw.io == nullptr) {
        return fail(L, "not supported by the request's protocol");
    }
    TcpSocket& socket = push_socket(L, context, TcpSocket::Kind::RawRequest, kRawMetatable);
    socket.io = raw.io;
    socket.preload(raw.received);
    return 1;
}

// What the response has so far leaves before the connection is handed over.
Op raw_op(Coroutine& waiting) {
    Context& context = *waiting.context;
    engine::Request& request = *context.request;
    while (context.output.busy()) {
        co_await context.output.idle(context).wait();
    }
    if (request.exchange.response_started()) {
        const auto& core = request.get<engine::CoreLocationSettings>();
        const Status sent = co_await request.exchange.write({}, {.flush = true}, core.send_timeout);
        if (!sent) {
            co_return fail(waiting.L, "closed");
        }
    }
    co_return push_raw(waiting.L, context);
}

int raw_socket(lua_State* L, Context& context) {
    engine::Request& request = *context.request;
    if (context.body_readers > 0 || (context.body_is_stream && !request.exchange.body_ended())) {
        return fail(L, "pending request body reading in some other thread");
    }
    if (context.output.buffering()) {
        return fail(L, "http 1.0 buffering");
    }
    if (context.output.taken_over()) {
        return fail(L, "duplicate call");
    }
    if (!context.output.busy() && !request.exchange.response_started()) {
        return push_raw(L, context);
    }
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return wait(L, raw_op(*context.run->current()));
}

}  // namespace

int req_socket(lua_State* L) {
    const int count = lua_gettop(L);
    if (count > 1) {
        return luaL_error(L, "expecting zero arguments, but got %d", count);
    }
    const bool raw = count == 1 && lua_toboolean(L, 1) != 0;
    Context& context = check_request(L);
    if (context.request->main != context.request) {
        return luaL_error(L, "attempt to read the request body in a subrequest");
    }
    return raw ? raw_socket(L, context) : body_socket(L, context);
}

}  // namespace moongate::lua
