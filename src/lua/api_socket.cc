// ngx.socket: the tables and metatables of cosockets, what their methods share, and the methods
// that neither connect nor move bytes. Source: lua-nginx-module's documentation of the cosocket
// API.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/strings.h"
#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/socket_tcp.h"
#include "lua/worker_lua.h"
#include "net/host_url.h"
#include "net/resolver.h"
#include "upstream/upstream_worker.h"

namespace moongate::lua {

TcpSocket* to_tcp_socket(lua_State* L) {
    lua_rawgeti(L, 1, kSocketContext);
    return lua_type(L, -1) == LUA_TUSERDATA && lua_objlen(L, -1) == sizeof(TcpSocket)
               ? static_cast<TcpSocket*>(lua_touserdata(L, -1))
               : nullptr;
}

TcpSocket& new_tcp_socket(lua_State* L, TcpSocket::Kind kind) {
    auto* socket = new (lua_newuserdata(L, sizeof(TcpSocket))) TcpSocket(kind);
    lua_getfield(L, LUA_REGISTRYINDEX, kTcpUserdata);
    lua_setmetatable(L, -2);
    return *socket;
}

int wait_keeping(lua_State* L, Op op, int values) {
    int results = 0;
    if (start_wait(*Context::of(L), std::move(op), results)) {
        return results;
    }
    return lua_yield(L, values);
}

void check_owner(lua_State* L, const TcpSocket& socket, Context& context) {
    const Context* owner = socket.context();
    if (owner != &context &&
        (owner == nullptr || owner->request == nullptr || owner->request != context.request)) {
        luaL_error(L, "bad request");
    }
}

std::string errno_words(int errno_value) {
    char text[256];
    return to_lower(::strerror_r(errno_value, text, sizeof(text)));
}

int fail_with_errno(lua_State* L, int errno_value) {
    return fail(L, errno_words(errno_value));
}

void log_system_failure(Context& context, std::string_view what, int errno_value) {
    static constexpr int kPeers[] = {ECONNRESET,   EPIPE,       ENOTCONN,    ETIMEDOUT,
                                     ECONNREFUSED, ENETDOWN,    ENETUNREACH, EHOSTDOWN,
                                     EHOSTUNREACH, ECONNABORTED};
    const bool peers = std::ranges::find(kPeers, errno_value) != std::end(kPeers);
    context.log_line(peers ? LogLevel::Error : LogLevel::Crit,
                     fmt::format("{} {}", what, errno_text(errno_value)));
}

Milliseconds table_timeout(lua_State* L, int field, Milliseconds otherwise) {
    lua_rawgeti(L, 1, field);
    const lua_Integer given = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return given > 0 ? Milliseconds(given) : otherwise;
}

bool parse_host(lua_State* L, std::string_view text, std::uint16_t port, Host& host) {
    const auto url = net::parse_host_url(text, {.default_port = port});
    if (!url) {
        lua_pushnil(L);
        push(L, fmt::format("failed to parse host name \"{}\": {}", text, url.error()));
        return false;
    }
    host.port = url->port;
    if (url->address) {
        host.address = *url->address;
    } else {
        host.name = url->host;
    }
    return true;
}

bool check_resolver(lua_State* L, Context& context, const Host& host) {
    if (host.name.empty() || !context.core_settings().resolver.empty()) {
        return true;
    }
    lua_pushnil(L);
    push(L, fmt::format("no resolver defined to resolve \"{}\"", host.name));
    return false;
}

async::Task<std::string> resolve_host(Context& context, Host& host) {
    const auto& core = context.core_settings();
    net::Resolver* resolver = upstream::UpstreamWorker::of(context.worker).resolver(core.resolver);
    if (resolver == nullptr) {
        co_return fmt::format("{} could not be resolved", host.name);
    }
    const auto resolved = co_await resolver->resolve(host.name, core.resolver_timeout);
    if (!resolved) {
        co_return fmt::format("{} could not be resolved ({}: {})", host.name, resolved.error().code,
                              resolved.error().text());
    }
    const std::size_t count = resolved->addresses.size();
    std::size_t chosen = 0;
    if (count > 1) {
        static thread_local std::minstd_rand generator(std::random_device{}());
        chosen = std::uniform_int_distribution<std::size_t>(0, count - 1)(generator);
    }
    host.address = resolved->addresses[chosen];
    host.address.set_port(host.port);
    co_return std::string();
}

SocketPools& socket_pools(Context& context) {
    return context.worker.get<WorkerLua>(lua_worker_slot)->socket_pools();
}

int fail_closed(lua_State* L, Context& context, const TcpSocket* socket, std::string_view doing) {
    if (context.settings().socket_log_errors) {
        context.log_line(
            LogLevel::Error,
            fmt::format("attempt to {} data on a closed socket: u:{}, c:{}, ft:0 eof:{}", doing,
                        fmt::ptr(socket),
                        fmt::ptr(socket != nullptr && socket->open ? socket->io : nullptr),
                        socket != nullptr && socket->eof ? 1 : 0));
    }
    return fail(L, "closed");
}

int tcp_bind(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments, but got %d", lua_gettop(L));
    }
    check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const std::string_view text = check_view(L, 2);
    if (!net::parse_ip(text, 0)) {
        return fail(L, "bad address");
    }
    lua_rawseti(L, 1, kSocketBind);
    lua_pushboolean(L, 1);
    return 1;
}

int tcp_close(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting 1 argument (including the object) but seen %d",
                          lua_gettop(L));
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    TcpSocket* socket = to_tcp_socket(L);
    if (socket == nullptr || !(socket->is_open() || socket->connecting)) {
        return fail(L, "closed");
    }
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_reading(L, *socket) || busy_writing(L, *socket)) {
        return 2;
    }
    if (socket->kind != TcpSocket::Kind::Upstream) {
        return fail(L, "attempt to close a request socket");
    }
    socket->close();
    lua_pushinteger(L, 1);
    return 1;
}

namespace {

lua_Integer check_timeout(lua_State* L, int index) {
    const auto timeout = static_cast<lua_Integer>(lua_tonumber(L, index));
    if ((timeout >> 31) != 0) {
        luaL_error(L, "bad timeout value");
    }
    return timeout;
}

Milliseconds timeout_or(lua_Integer given, Milliseconds otherwise) {
    return given > 0 ? Milliseconds(given) : otherwise;
}

int set_timeouts(lua_State* L, lua_Integer connect, lua_Integer send, lua_Integer read) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushinteger(L, connect);
    lua_rawseti(L, 1, kSocketConnectTimeout);
    lua_pushinteger(L, send);
    lua_rawseti(L, 1, kSocketSendTimeout);
    lua_pushinteger(L, read);
    lua_rawseti(L, 1, kSocketReadTimeout);
    TcpSocket* socket = to_tcp_socket(L);
    if (socket != nullptr && socket->context() != nullptr) {
        const LuaSettings& settings = *socket->conf;
        socket->connect_timeout = timeout_or(connect, settings.socket_connect_timeout);
        socket->send_timeout = timeout_or(send, settings.socket_send_timeout);
        socket->read_timeout = timeout_or(read, settings.socket_read_timeout);
    }
    return 0;
}

}  // namespace

int tcp_set_timeout(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(
            L, "ngx.socket settimeout: expecting 2 arguments (including the object) but seen %d",
            lua_gettop(L));
    }
    const lua_Integer timeout = check_timeout(L, 2);
    return set_timeouts(L, timeout, timeout, timeout);
}

int tcp_set_timeouts(lua_State* L) {
    if (lua_gettop(L) != 4) {
        return luaL_error(
            L, "ngx.socket settimeout: expecting 4 arguments (including the object) but seen %d",
            lua_gettop(L));
    }
    const lua_Integer connect = check_timeout(L, 2);
    const lua_Integer send = check_timeout(L, 3);
    return set_timeouts(L, connect, send, check_timeout(L, 4));
}

int tcp_get_reused_times(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting 1 argument (including the object), but got %d",
                          lua_gettop(L));
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    const TcpSocket* socket = to_tcp_socket(L);
    if (socket == nullptr || !socket->is_open()) {
        return fail(L, "closed");
    }
    lua_pushinteger(L, static_cast<lua_Integer>(socket->reused));
    return 1;
}

int tcp_set_keepalive(lua_State* L) {
    const int count = lua_gettop(L);
    if (count < 1 || count > 3) {
        return luaL_error(L, "expecting 1 to 3 arguments (including the object), but got %d",
                          count);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    TcpSocket* socket = to_tcp_socket(L);
    if (socket == nullptr || !socket->open || socket->read_closed || socket->write_closed ||
        socket->eof ||
        (socket->kind == TcpSocket::Kind::Upstream && !socket->connecting &&
         socket->io->peer_closed())) {
        return fail(L, "closed");
    }
    Context& context = check_context(L);
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_reading(L, *socket) || busy_writing(L, *socket)) {
        return 2;
    }
    if (socket->kind != TcpSocket::Kind::Upstream) {
        return fail(L, "key not found");
    }
    if (socket->unread() > 0) {
        return fail(L, "unread data in buffer");
    }
    if (context.worker.exiting) {
        socket->close();
        lua_pushinteger(L, 1);
        return 1;
    }
    const LuaSettings& settings = context.settings();
    const lua_Integer timeout = count >= 2 && !lua_isnil(L, 2)
                                    ? luaL_checkinteger(L, 2)
                                    : settings.socket_keepalive_timeout.count();
    lua_rawgeti(L, 1, kSocketKey);
    if (lua_isstring(L, -1) == 0) {
        return fail(L, "key not found");
    }
    SocketPools& pools = socket_pools(context);
    SocketPool* pool = pools.find(to_view(L, -1));
    if (pool == nullptr) {
        const lua_Integer size =
            count >= 3 && !lua_isnil(L, 3) ? luaL_checkinteger(L, 3) : settings.socket_pool_size;
        if (size <= 0) {
            return luaL_argerror(
                L, count,
                lua_pushfstring(L, "bad \"pool_size\" option value: %d", static_cast<int>(size)));
        }
        pool = &pools.make(to_view(L, -1), size, -1);
    }
    const std::uint64_t reused = socket->reused;
    const bool no_delay = socket->no_delay;
    SocketPool* const counted = std::exchange(socket->pool, nullptr);
    async::Io io = socket->release();
    if (counted != pool) {
        pool->enter();
    }
    const bool kept = pool->keep(std::move(io), reused, no_delay, Milliseconds(timeout));
    if (counted != nullptr && counted != pool) {
        counted->leave();
    }
    if (!kept) {
        return fail(L, "connection in dubious state");
    }
    lua_pushinteger(L, 1);
    return 1;
}

int tcp_get_fd(lua_State* L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const TcpSocket* socket = to_tcp_socket(L);
    if (socket == nullptr || !socket->open || socket->io == nullptr) {
        return fail(L, "closed");
    }
    lua_pushinteger(L, socket->io->fd());
    return 1;
}

namespace {

int new_tcp(lua_State* L) {
    if (lua_gettop(L) != 0) {
        return luaL_error(L, "expecting zero arguments, but got %d", lua_gettop(L));
    }
    check_context(L);
    lua_createtable(L, 5, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, kTcpMetatable);
    lua_setmetatable(L, -2);
    return 1;
}

struct Method {
    const char* name;
    lua_CFunction function;
};
constexpr Method kReadMethods[] = {
    {"receive", tcp_receive},
    {"receiveany", tcp_receive_any},
    {"receiveuntil", tcp_receive_until},
    {"settimeout", tcp_set_timeout},
    {"settimeouts", tcp_set_timeouts},
};
constexpr Method kTcpMethods[] = {
    {"send", tcp_send},
    {"connect", tcp_connect},
    {"bind", tcp_bind},
    {"close", tcp_close},
    {"getreusedtimes", tcp_get_reused_times},
    {"setkeepalive", tcp_set_keepalive},
    {"getfd", tcp_get_fd},
};

void put_metatable(lua_State* L, const char* key, std::span<const Method> more) {
    lua_createtable(L, 0, 16);
    for (const Method& method : kReadMethods) {
        set_function(L, method.name, method.function);
    }
    for (const Method& method : more) {
        set_function(L, method.name, method.function);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_setfield(L, LUA_REGISTRYINDEX, key);
}

int collect(lua_State* L) {
    static_cast<TcpSocket*>(lua_touserdata(L, 1))->~TcpSocket();
    return 0;
}

constexpr std::string_view kConnect =
    "local sock = ngx.socket.tcp() local ok, err = sock:connect(...) "
    "if ok then return sock else return nil, err end";

}  // namespace

void install_request_socket(lua_State* L) {
    set_function(L, "socket", req_socket);
}

void install_sockets(lua_State* L) {
    put_metatable(L, kTcpMetatable, kTcpMethods);
    put_metatable(L, kRawMetatable, std::span(kTcpMethods).first(1));
    put_metatable(L, kBodyMetatable, {});
    lua_createtable(L, 0, 1);
    set_function(L, "__gc", collect);
    lua_setfield(L, LUA_REGISTRYINDEX, kTcpUserdata);
    lua_createtable(L, 0, 4);
    set_function(L, "tcp", new_tcp);
    set_function(L, "stream", new_tcp);
    luaL_loadbuffer(L, kConnect.data(), kConnect.size(), "=ngx.socket.connect");
    lua_setfield(L, -2, "connect");
    install_udp(L);
    lua_setfield(L, -2, "socket");
}

}  // namespace moongate::lua
