// ngx.socket.udp: datagrams to one peer, over IP or a unix path. Belongs to the request, timer or
// other Context that named the peer. One worker. Source: lua-nginx-module's documentation of
// ngx.socket.udp.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/socket_tcp.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kMostBytes = 65536;
constexpr int kTimeoutIndex = 2;
constexpr int kBindIndex = 3;

class UdpSocket : public ContextSocket {
public:
    ~UdpSocket() override { close(); }
    void close() override { io.close(); }

    async::Io io;
    Milliseconds default_timeout{};
    Milliseconds timeout{};
    bool waiting = false;
};
static_assert(sizeof(UdpSocket) != sizeof(TcpSocket));

UdpSocket* to_udp_socket(lua_State* L) {
    lua_rawgeti(L, 1, kSocketContext);
    return lua_type(L, -1) == LUA_TUSERDATA && lua_objlen(L, -1) == sizeof(UdpSocket)
               ? static_cast<UdpSocket*>(lua_touserdata(L, -1))
               : nullptr;
}

UdpSocket& own_socket(lua_State* L) {
    if (UdpSocket* socket = to_udp_socket(L)) {
        return *socket;
    }
    lua_pop(L, 1);
    auto* made = new (lua_newuserdata(L, sizeof(UdpSocket))) UdpSocket();
    lua_getfield(L, LUA_REGISTRYINDEX, kUdpUserdata);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, 1, kSocketContext);
    return *made;
}

void check_udp_owner(lua_State* L, const UdpSocket& socket, const Context& context) {
    const Context* owner = socket.context();
    if (owner != &context &&
        (owner == nullptr || owner->request == nullptr || owner->request != context.request)) {
        luaL_error(L, "bad request");
    }
}

// A wait that is cancelled leaves a closed socket.
class UdpWait {
public:
    explicit UdpWait(UdpSocket& socket) : socket_(&socket) { socket.waiting = true; }
    UdpWait(const UdpWait&) = delete;
    UdpWait& operator=(const UdpWait&) = delete;
    ~UdpWait() {
        if (socket_ != nullptr) {
            socket_->waiting = false;
            socket_->close();
        }
    }
    void over() { std::exchange(socket_, nullptr)->waiting = false; }

private:
    UdpSocket* socket_;
};

// A descriptor bound and connected; negative: errno says why, and the failed call is in `what`.
int open_socket(const net::Address& to, const net::Address& local, std::string_view& what) {
    const int fd = ::socket(to.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        what = "socket() failed";
        return -1;
    }
    bool bound = true;
    if (to.family() == AF_UNIX) {
        // The system chooses a name, so that the peer can answer (unix(7), autobind).
        const sockaddr_un any{.sun_family = AF_UNIX, .sun_path = {}};
        bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof(sa_family_t)) == 0;
    } else if (local.size != 0) {
        bound = ::bind(fd, local.get(), local.size) == 0;
    }
    if (bound && ::connect(fd, to.get(), to.size) == 0) {
        return fd;
    }
    what = bound ? "connect() failed" : "bind() failed";
    const int reason = errno;
    ::close(fd);
    errno = reason;
    return -1;
}

int open_peer(lua_State* L, Context& context, UdpSocket& socket, const net::Address& to,
              const net::Address& local) {
    std::string_view what;
    const int fd = open_socket(to, local, what);
    if (fd < 0) {
        const int reason = errno;
        context.log_line(LogLevel::Crit, fmt::format("{} {}", what, errno_text(reason)));
        return fail_with_errno(L, reason);
    }
    socket.io = async::Io(context.worker.reactor(), fd);
    if (!socket.io.is_open()) {
        return fail_with_errno(L, errno);
    }
    lua_pushinteger(L, 1);
    return 1;
}

Op set_peer_op(Coroutine& waiting, UdpSocket& socket, Host host, net::Address local) {
    UdpWait wait(socket);
    const std::string problem = co_await resolve_host(*waiting.context, host);
    wait.over();
    if (!problem.empty()) {
        co_return fail(waiting.L, problem);
    }
    co_return open_peer(waiting.L, *waiting.context, socket, host.address, local);
}

// The stack has the socket's table at 1 and its userdata at the top.
int set_peer(lua_State* L, Context& context, UdpSocket& socket, std::string_view text,
             std::uint16_t port) {
    {
        Host host;
        if (!parse_host(L, text, port, host) || !check_resolver(L, context, host)) {
            return 2;
        }
        net::Address local;
        lua_rawgeti(L, 1, kBindIndex);
        if (lua_isstring(L, -1) != 0) {
            local = net::parse_ip(to_view(L, -1), 0).value_or(net::Address{});
        }
        lua_pop(L, 1);
        if (host.name.empty()) {
            return open_peer(L, context, socket, host.address, local);
        }
        if (why_not_wait(L) == nullptr) {
            return wait_keeping(
                L, set_peer_op(*context.run->current(), socket, std::move(host), local), 1);
        }
    }
    return luaL_error(L, "%s", why_not_wait(L));
}

int set_peer_name(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 2 && count != 3) {
        return luaL_error(
            L,
            "ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but "
            "seen %d",
            count);
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const std::string_view text = check_view(L, 2);
    const lua_Integer port = count == 3 ? luaL_checkinteger(L, 3) : 0;
    if (port < 0 || port > 65535) {
        lua_pushnil(L);
        lua_pushfstring(L, "bad port number: %d", static_cast<int>(port));
        return 2;
    }
    lua_rawgeti(L, 1, kTimeoutIndex);
    const lua_Integer timeout = lua_tointeger(L, -1);
    lua_pop(L, 1);
    UdpSocket& socket = own_socket(L);
    if (socket.context() != nullptr || socket.orphaned()) {
        check_udp_owner(L, socket, context);
        if (socket.waiting) {
            return fail(L, "socket busy");
        }
        socket.close();
    }
    if (socket.context() != &context) {
        socket.join(context);
    }
    socket.default_timeout = context.settings().socket_read_timeout;
    socket.timeout = timeout > 0 ? Milliseconds(timeout) : socket.default_timeout;
    return set_peer(L, context, socket, text, static_cast<std::uint16_t>(port));
}

int fail_udp_closed(lua_State* L, Context& context, const UdpSocket* socket,
                    std::string_view doing) {
    if (context.settings().socket_log_errors) {
        context.log_line(LogLevel::Error,
                         fmt::format("attempt to {} data on a closed socket: u:{}, c:{}", doing,
                                     fmt::ptr(socket), fmt::ptr(static_cast<void*>(nullptr))));
    }
    return fail(L, "closed");
}

int push_sent(lua_State* L, ssize_t sent, std::size_t size) {
    if (sent < 0) {
        return fail_with_errno(L, errno);
    }
    if (static_cast<std::size_t>(sent) != size) {
        return fail(L, "partial write");
    }
    lua_pushinteger(L, 1);
    return 1;
}

int send(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments (including the object), but got %d",
                          lua_gettop(L));
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    UdpSocket* socket = to_udp_socket(L);
    if (socket == nullptr || !socket->io.is_open()) {
        return fail_udp_closed(L, context, socket, "send");
    }
    check_udp_owner(L, *socket, context);
    if (socket->waiting) {
        return fail(L, "socket busy");
    }
    const std::size_t size = measure_value(L, 2, 2, "string, number, boolean, nil, or array table");
    const int fd = socket->io.fd();
    if (lua_type(L, 2) == LUA_TSTRING) {
        return push_sent(L, ::send(fd, lua_tostring(L, 2), size, MSG_NOSIGNAL), size);
    }
    const Buffer buffer(size);
    write_value(L, 2, buffer.data());
    return push_sent(L, ::send(fd, buffer.data(), size, MSG_NOSIGNAL), size);
}

// One datagram, pushed; -1: there is none yet.
int receive_now(lua_State* L, Context& context, UdpSocket& socket, std::size_t size) {
    static thread_local std::array<char, kMostBytes> buffer;
    ssize_t got = 0;
    do {
        got = ::recv(socket.io.fd(), buffer.data(), size, 0);
    } while (got < 0 && errno == EINTR);
    if (got >= 0) {
        lua_pushlstring(L, buffer.data(), static_cast<std::size_t>(got));
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        socket.io.registration().readable = false;
        return -1;
    }
    const int reason = errno;
    log_system_failure(context, "recv() failed", reason);
    return fail_with_errno(L, reason);
}

Op receive_op(Coroutine& waiting, UdpSocket& socket, std::size_t size) {
    UdpWait wait(socket);
    for (;;) {
        if (!co_await socket.io.readable(socket.timeout)) {
            wait.over();
            if (waiting.context->settings().socket_log_errors) {
                waiting.context->log_line(LogLevel::Error, "lua udp socket read timed out");
            }
            co_return fail(waiting.L, "timeout");
        }
        const int results = receive_now(waiting.L, *waiting.context, socket, size);
        if (results >= 0) {
            wait.over();
            co_return results;
        }
    }
}

int receive(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting 1 or 2 arguments (including the object), but got %d",
                          count);
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const double most = luaL_optnumber(L, 2, static_cast<double>(kMostBytes));
    UdpSocket* socket = to_udp_socket(L);
    if (socket == nullptr || !socket->io.is_open()) {
        return fail_udp_closed(L, context, socket, "receive");
    }
    check_udp_owner(L, *socket, context);
    if (socket->waiting) {
        return fail(L, "socket busy");
    }
    const std::size_t size = most >= 0 && most < static_cast<double>(kMostBytes)
                                 ? static_cast<std::size_t>(most)
                                 : kMostBytes;
    const int results = receive_now(L, context, *socket, size);
    if (results >= 0) {
        return results;
    }
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return wait_keeping(L, receive_op(*context.run->current(), *socket, size), 1);
}

int set_timeout(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(
            L,
            "ngx.socket settimeout: expecting at least 2 arguments (including the object) but "
            "seen %d",
            lua_gettop(L));
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    const auto timeout = static_cast<lua_Integer>(lua_tonumber(L, 2));
    lua_pushinteger(L, timeout);
    lua_rawseti(L, 1, kTimeoutIndex);
    if (UdpSocket* socket = to_udp_socket(L)) {
        socket->timeout = timeout > 0 ? Milliseconds(timeout) : socket->default_timeout;
    }
    return 0;
}

int close(lua_State* L) {
    if (lua_gettop(L) != 1) {
        return luaL_error(L, "expecting 1 argument (including the object) but seen %d",
                          lua_gettop(L));
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    UdpSocket* socket = to_udp_socket(L);
    if (socket == nullptr || !socket->io.is_open()) {
        return fail(L, "closed");
    }
    check_udp_owner(L, *socket, context);
    if (socket->waiting) {
        return fail(L, "socket busy");
    }
    socket->close();
    lua_pushinteger(L, 1);
    return 1;
}

int bind(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments, but got %d", lua_gettop(L));
    }
    check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!net::parse_ip(check_view(L, 2), 0)) {
        return fail(L, "bad address");
    }
    lua_rawseti(L, 1, kBindIndex);
    lua_pushboolean(L, 1);
    return 1;
}

int new_udp(lua_State* L) {
    if (lua_gettop(L) != 0) {
        return luaL_error(L, "expecting zero arguments, but got %d", lua_gettop(L));
    }
    check_context(L);
    lua_createtable(L, 3, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, kUdpMetatable);
    lua_setmetatable(L, -2);
    return 1;
}

int collect(lua_State* L) {
    static_cast<UdpSocket*>(lua_touserdata(L, 1))->~UdpSocket();
    return 0;
}

}  // namespace

void install_udp(lua_State* L) {
    lua_createtable(L, 0, 8);
    set_function(L, "setpeername", set_peer_name);
    set_function(L, "send", send);
    set_function(L, "receive", receive);
    set_function(L, "settimeout", set_timeout);
    set_function(L, "close", close);
    set_function(L, "bind", bind);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_setfield(L, LUA_REGISTRYINDEX, kUdpMetatable);
    lua_createtable(L, 0, 1);
    set_function(L, "__gc", collect);
    lua_setfield(L, LUA_REGISTRYINDEX, kUdpUserdata);
    set_function(L, "udp", new_udp);
}

}  // namespace moongate::lua
