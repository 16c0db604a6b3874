// tcpsock:send: a string leaves from where Lua keeps it; anything else is written out in a buffer
// first. One system call where the peer keeps up.
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "engine/core_settings.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/socket_tcp.h"

namespace moongate::lua {
namespace {

constexpr std::size_t kOnStack = 4096;
constexpr int kWritesInARow = 64;

class WriteWait {
public:
    explicit WriteWait(TcpSocket& socket) : socket_(&socket) { socket.writing = true; }
    WriteWait(const WriteWait&) = delete;
    WriteWait& operator=(const WriteWait&) = delete;
    ~WriteWait() {
        if (socket_ != nullptr) {
            socket_->writing = false;
            socket_->close();
        }
    }
    void over() { std::exchange(socket_, nullptr)->writing = false; }

private:
    TcpSocket* socket_;
};

int fail_write(lua_State* L, TcpSocket& socket, Context& context, int reason) {
    log_system_failure(context, "send() failed", reason);
    socket.close_writing();
    return fail_with_errno(L, reason);
}

// `bytes` are the rest of `total`; they are a Lua string that stays on the stack, or in `buffer`.
Op send_op(Coroutine& waiting, TcpSocket& socket, std::string_view bytes, std::size_t total,
           Buffer buffer) {
    WriteWait wait(socket);
    Context& context = *waiting.context;
    static_cast<void>(buffer);
    int writes = 0;
    while (!bytes.empty()) {
        if (!co_await socket.io->writable(socket.send_timeout)) {
            wait.over();
            if (context.settings().socket_log_errors) {
                context.log_line(LogLevel::Error, "lua tcp socket write timed out");
            }
            socket.close_writing();
            co_return fail(waiting.L, "timeout");
        }
        const ssize_t sent = socket.io->try_write(bytes.data(), bytes.size());
        if (sent == async::Io::kFailed) {
            const int reason = errno;
            wait.over();
            co_return fail_write(waiting.L, socket, context, reason);
        }
        if (sent > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(sent));
            if (++writes % kWritesInARow == 0) {
                co_await async::yield(socket.io->reactor());
            }
        }
    }
    wait.over();
    lua_pushinteger(waiting.L, static_cast<lua_Integer>(total));
    co_return 1;
}

// TCP_NODELAY, once a connection, as nginx's `tcp_nodelay` says.
bool see_to_delay(TcpSocket& socket, const Context& context) {
    socket.no_delay = true;
    if (socket.kind != TcpSocket::Kind::Upstream || !context.core_settings().tcp_nodelay) {
        return true;
    }
    const int on = 1;
    return ::setsockopt(socket.io->fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 ||
           errno == EOPNOTSUPP || errno == ENOPROTOOPT;
}

// What can be sent at once is; `bytes` keeps the rest. False: errno says why not.
bool send_now(TcpSocket& socket, std::string_view& bytes) {
    while (!bytes.empty() && socket.io->registration().writable) {
        const ssize_t sent = socket.io->try_write(bytes.data(), bytes.size());
        if (sent == async::Io::kFailed) {
            return false;
        }
        if (sent == async::Io::kWouldBlock) {
            break;
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

int wait_for_send(lua_State* L, Context& context, TcpSocket& socket, std::string_view bytes,
                  std::size_t total, Buffer buffer) {
    if (why_not_wait(L) == nullptr) {
        return wait_keeping(
            L, send_op(*context.run->current(), socket, bytes, total, std::move(buffer)), 2);
    }
    buffer.reset();
    return luaL_error(L, "%s", why_not_wait(L));
}

int send_bytes(lua_State* L, Context& context, TcpSocket& socket, std::string_view bytes,
               Buffer buffer) {
    const std::size_t total = bytes.size();
    if (!send_now(socket, bytes)) {
        return fail_write(L, socket, context, errno);
    }
    if (bytes.empty()) [[likely]] {
        lua_pushinteger(L, static_cast<lua_Integer>(total));
        return 1;
    }
    return wait_for_send(L, context, socket, bytes, total, std::move(buffer));
}

}  // namespace

int tcp_send(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments (including the object), but got %d",
                          lua_gettop(L));
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    TcpSocket* socket = to_tcp_socket(L);
    if (socket == nullptr || !socket->open || socket->write_closed) {
        return fail_closed(L, context, socket, "send");
    }
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_writing(L, *socket)) {
        return 2;
    }
    if (socket->kind == TcpSocket::Kind::RequestBody) {
        return luaL_error(L, "attempt to write to request sockets");
    }
    lua_insert(L, 2);  // the userdata below what is sent: both are kept while this waits
    const bool text = lua_type(L, 3) == LUA_TSTRING;
    const std::size_t size =
        text ? lua_objlen(L, 3)
             : measure_value(L, 3, 2, "string, number, boolean, nil, or array table");
    if (size == 0) {
        lua_pushinteger(L, 0);
        return 1;
    }
    if (!socket->no_delay && !see_to_delay(*socket, context)) {
        return fail(L, "setsocketopt tcp_nodelay failed");
    }
    if (text) {
        return send_bytes(L, context, *socket, to_view(L, 3), {});
    }
    if (size <= kOnStack) {
        char place[kOnStack];
        const char* end = write_value(L, 3, place);
        std::string_view bytes(place, static_cast<std::size_t>(end - place));
        const std::size_t total = bytes.size();
        if (!send_now(*socket, bytes)) {
            return fail_write(L, *socket, context, errno);
        }
        if (bytes.empty()) [[likely]] {
            lua_pushinteger(L, static_cast<lua_Integer>(total));
            return 1;
        }
        Buffer buffer(bytes.size());
        std::memcpy(buffer.data(), bytes.data(), bytes.size());
        const std::string_view rest(buffer.data(), bytes.size());
        return wait_for_send(L, context, *socket, rest, total, std::move(buffer));
    }
    Buffer buffer(size);
    const char* end = write_value(L, 3, buffer.data());
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
    return send_bytes(L, context, *socket, bytes, std::move(buffer));
}

}  // namespace moongate::lua
