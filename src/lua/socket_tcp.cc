// TcpSocket: its life, and connecting: a pool's idle connection, else a turn in the pool's queue, a
// name's address, a connection.
#include "lua/socket_tcp.h"

#include <cerrno>

#include "engine/core_settings.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/worker_lua.h"
#include "net/connect.h"

namespace moongate::lua {

void TcpSocket::close() {
    close_reading();
    write_closed = true;
    io = nullptr;
    own_io.close();
    open = false;
    if (SocketPool* left = std::exchange(pool, nullptr)) {
        left->leave();
    }
}

void TcpSocket::begin(Context& by, const LuaSettings& settings) {
    if (context() != &by) {
        join(by);
    }
    conf = &settings;
    read_closed = write_closed = eof = no_delay = false;
    reused = 0;
    fault = SocketFault::None;
}

void TcpSocket::opened(async::Io connected) {
    own_io = std::move(connected);
    io = &own_io;
    open = true;
}

async::Io TcpSocket::release() {
    open = false;
    io = nullptr;
    close_reading();
    write_closed = true;
    return std::move(own_io);
}

namespace {

// A connect that waits. Cancelled, it leaves a closed socket and its place in the pool.
class ConnectWait {
public:
    explicit ConnectWait(TcpSocket& socket) : socket_(&socket) { socket.connecting = true; }
    ConnectWait(const ConnectWait&) = delete;
    ConnectWait& operator=(const ConnectWait&) = delete;
    ~ConnectWait() {
        if (socket_ != nullptr) {
            socket_->connecting = false;
            socket_->close();
        }
    }
    void over() { std::exchange(socket_, nullptr)->connecting = false; }

private:
    TcpSocket* socket_;
};

int push_connected(lua_State* L) {
    lua_pushinteger(L, 1);
    return 1;
}

// Takes an idle connection; the socket must not be counted in the pool for itself.
bool take_idle(TcpSocket& socket, SocketPool& pool) {
    SocketPool::Taken taken;
    if (!pool.take(taken)) {
        return false;
    }
    socket.pool = &pool;
    socket.reused = taken.reused + 1;
    socket.no_delay = taken.no_delay;
    socket.opened(std::move(taken.io));
    return true;
}

int fail_connect(lua_State* L, TcpSocket& socket, int errno_value) {
    socket.close();
    return fail_with_errno(L, errno_value);
}

net::ConnectOptions connect_options(const TcpSocket& socket, const net::Address& local) {
    return {.timeout = socket.connect_timeout,
            .local = local.size != 0 ? &local : nullptr,
            .no_delay = false};
}

struct ConnectPlan {
    Host host;
    std::string text;  // as the caller wrote it
    net::Address local;
};

// Opens a socket towards the host's address. Returns the number of results, or -1: it has to be
// waited for.
int begin_connect(lua_State* L, Context& context, TcpSocket& socket, const ConnectPlan& plan) {
    bool connected = false;
    Result<async::Io> begun = net::begin_connect(context.worker.reactor(), plan.host.address,
                                                 connect_options(socket, plan.local), connected);
    if (!begun) {
        const int reason = begun.error().code;
        if (begun.error().detail == net::kRefusedAtOnce) {
            log_system_failure(
                context, fmt::format("connect() to {} failed", net::to_string(plan.host.address)),
                reason);
        } else if (begun.error().detail == "bind()") {
            log_system_failure(context, fmt::format("bind({}) failed", net::ip_string(plan.local)),
                               reason);
        } else {
            log_system_failure(context, fmt::format("{} failed", begun.error().detail), reason);
        }
        return fail_connect(L, socket, reason);
    }
    socket.opened(std::move(*begun));
    return connected ? push_connected(L) : -1;
}

void log_timed_out(Context& context, bool queued, std::string_view host, std::uint16_t port) {
    if (context.settings().socket_log_errors) {
        context.log_line(LogLevel::Error,
                         fmt::format("lua tcp socket {} to {}:{}",
                                     queued ? "queued connect timed out, when trying to connect"
                                            : "connect timed out, when connecting",
                                     host, port));
    }
}

// How a connect that has to wait goes on.
enum class Stage : std::uint8_t { Queue, Resolve, Connect };

Op connect_op(Coroutine& waiting, TcpSocket& socket, ConnectPlan plan, Stage stage) {
    ConnectWait wait(socket);
    Context& context = *waiting.context;
    lua_State* L = waiting.L;
    if (stage == Stage::Queue) {
        SocketPool& pool = *socket.pool;
        const bool turn = co_await pool.turns().wait(socket.connect_timeout);
        if (!turn) {
            wait.over();
            log_timed_out(context, true, plan.text, plan.host.port);
            // The place goes without a turn for others: nothing became free.
            socket.pool = nullptr;
            pool.pass();
            co_return fail(L, "timeout");
        }
        pool.pass();
        socket.pool = nullptr;
        if (take_idle(socket, pool)) {
            wait.over();
            co_return push_connected(L);
        }
        pool.enter();
        socket.pool = &pool;
        stage = plan.host.name.empty() ? Stage::Connect : Stage::Resolve;
        if (!check_resolver(L, context, plan.host)) {
            wait.over();
            socket.close();
            co_return 2;
        }
        if (stage == Stage::Connect) {
            const int results = begin_connect(L, context, socket, plan);
            if (results >= 0) {
                wait.over();
                co_return results;
            }
        }
    }
    if (stage == Stage::Resolve) {
        const std::string problem = co_await resolve_host(context, plan.host);
        if (!problem.empty()) {
            wait.over();
            socket.close();
            co_return fail(L, problem);
        }
        const int results = begin_connect(L, context, socket, plan);
        if (results >= 0) {
            wait.over();
            co_return results;
        }
    }
    const bool ready = co_await socket.io->writable(socket.connect_timeout);
    wait.over();
    if (!ready) {
        log_timed_out(context, false, net::ip_string(plan.host.address), plan.host.address.port());
        socket.close();
        co_return fail(L, "timeout");
    }
    if (const Status finished = net::finish_connect(*socket.io); !finished) {
        if (context.settings().socket_log_errors) {
            log_system_failure(context, "connect() failed", finished.error().code);
        }
        co_return fail_connect(L, socket, finished.error().code);
    }
    co_return push_connected(L);
}

struct PoolOptions {
    std::int64_t size = 0;  // 0: no pool is made
    std::int64_t backlog = -1;
    bool named = false;  // the name is pushed
};

// The option table at `index`; pushes the pool's name where there is one.
PoolOptions read_options(lua_State* L, int index, const LuaSettings& settings) {
    PoolOptions options;
    lua_getfield(L, index, "pool_size");
    if (lua_isnumber(L, -1) != 0) {
        options.size = lua_tointeger(L, -1);
        if (options.size <= 0) {
            luaL_argerror(L, index,
                          lua_pushfstring(L, "bad \"pool_size\" option value: %d",
                                          static_cast<int>(options.size)));
        }
    } else if (!lua_isnil(L, -1)) {
        luaL_argerror(
            L, index,
            lua_pushfstring(L, "bad \"pool_size\" option type: %s", luaL_typename(L, -1)));
    }
    lua_pop(L, 1);
    lua_getfield(L, index, "backlog");
    if (lua_isnumber(L, -1) != 0) {
        options.backlog = lua_tointeger(L, -1);
        if (options.backlog < 0) {
            luaL_argerror(L, index,
                          lua_pushfstring(L, "bad \"backlog\" option value: %d",
                                          static_cast<int>(options.backlog)));
        }
        if (options.size == 0) {
            options.size = settings.socket_pool_size;
        }
    }
    lua_pop(L, 1);
    lua_getfield(L, index, "pool");
    switch (lua_type(L, -1)) {
        case LUA_TNUMBER:
            lua_tostring(L, -1);
            options.named = true;
            break;
        case LUA_TSTRING:
            options.named = true;
            break;
        case LUA_TNIL:
            lua_pop(L, 1);
            break;
        default:
            luaL_argerror(L, index,
                          lua_pushfstring(L, "bad \"pool\" option type: %s", luaL_typename(L, -1)));
    }
    return options;
}

// The userdata of the table at 1, made where there is none, at the top of the stack.
TcpSocket& own_socket(lua_State* L) {
    if (TcpSocket* socket = to_tcp_socket(L)) {
        return *socket;
    }
    lua_pop(L, 1);
    TcpSocket& made = new_tcp_socket(L, TcpSocket::Kind::Upstream);
    lua_pushvalue(L, -1);
    lua_rawseti(L, 1, kSocketContext);
    return made;
}

// The stack holds the socket's table at 1, the host at 2 and the socket's userdata at the top.
int connect(lua_State* L, Context& context, TcpSocket& socket, SocketPool* pool,
            std::uint16_t port) {
    bool queued = false;
    if (pool != nullptr) {
        if (take_idle(socket, *pool)) {
            return push_connected(L);
        }
        pool->enter();
        socket.pool = pool;
        if (pool->bounded() && pool->must_queue()) {
            if (pool->too_many()) {
                socket.pool = nullptr;
                pool->pass();
                return fail(L, "too many waiting connect operations");
            }
            queued = true;
        }
    }
    int results = 0;
    {
        ConnectPlan plan;
        plan.text = to_view(L, 2);
        lua_rawgeti(L, 1, kSocketBind);
        if (lua_isstring(L, -1) != 0) {
            plan.local = net::parse_ip(to_view(L, -1), 0).value_or(net::Address{});
        }
        lua_pop(L, 1);
        Stage stage = Stage::Queue;
        plan.host.port = port;
        if (!parse_host(L, plan.text, port, plan.host)) {
            socket.close();
            return 2;
        }
        if (!queued) {
            stage = plan.host.name.empty() ? Stage::Connect : Stage::Resolve;
            if (!check_resolver(L, context, plan.host)) {
                socket.close();
                return 2;
            }
            results = stage == Stage::Connect ? begin_connect(L, context, socket, plan) : -1;
            if (results >= 0) {
                return results;
            }
        }
        if (why_not_wait(L) == nullptr) {
            return wait_keeping(
                L, connect_op(*context.run->current(), socket, std::move(plan), stage), 1);
        }
    }
    socket.close();
    return luaL_error(L, "%s", why_not_wait(L));
}

}  // namespace

int tcp_connect(lua_State* L) {
    int count = lua_gettop(L);
    if (count < 2 || count > 4) {
        return luaL_error(L,
                          "ngx.socket connect: expecting 2, 3, or 4 arguments (including the "
                          "object), but seen %d",
                          count);
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const std::string_view host = check_view(L, 2);
    const LuaSettings& settings = context.settings();
    PoolOptions options;
    int key = 0;
    if (lua_istable(L, count)) {
        options = read_options(L, count, settings);
        key = options.named ? lua_gettop(L) : 0;
        --count;
    }
    lua_Integer port = 0;
    if (count >= 3 && lua_isnumber(L, 3) != 0) {
        port = lua_tointeger(L, 3);
        if (port < 0 || port > 65535) {
            lua_pushnil(L);
            lua_pushfstring(L, "bad port number: %d", static_cast<int>(port));
            return 2;
        }
        if (key == 0) {
            lua_pushvalue(L, 2);
            lua_pushliteral(L, ":");
            lua_pushvalue(L, 3);
            lua_concat(L, 3);
            key = lua_gettop(L);
        }
    } else if (!starts_with_ignore_case(host, "unix:")) {
        return fail(L, "missing the port number");
    } else if (key == 0) {
        lua_pushvalue(L, 2);
        key = lua_gettop(L);
    }
    lua_pushvalue(L, key);
    lua_rawseti(L, 1, kSocketKey);
    TcpSocket& socket = own_socket(L);
    if (socket.context() != nullptr || socket.orphaned()) {
        check_owner(L, socket, context);
        if (busy_connecting(L, socket) || busy_reading(L, socket) || busy_writing(L, socket)) {
            return 2;
        }
        if (socket.kind != TcpSocket::Kind::Upstream) {
            return luaL_error(L, "attempt to re-connect a request socket");
        }
        socket.close();
    }
    socket.begin(context, settings);
    socket.connect_timeout =
        table_timeout(L, kSocketConnectTimeout, settings.socket_connect_timeout);
    socket.send_timeout = table_timeout(L, kSocketSendTimeout, settings.socket_send_timeout);
    socket.read_timeout = table_timeout(L, kSocketReadTimeout, settings.socket_read_timeout);
    const std::string_view name = to_view(L, key);
    SocketPools& pools = socket_pools(context);
    SocketPool* pool = pools.find(name);
    if (pool == nullptr && options.size > 0) {
        pool = &pools.make(name, options.size, options.backlog);
    }
    return connect(L, context, socket, pool, static_cast<std::uint16_t>(port));
}

}  // namespace moongate::lua
