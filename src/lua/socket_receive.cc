// TcpSocket: receiving. What was asked for is looked for in the buffer, bytes are added until it is
// there, and the result is pushed from the buffer. Patterns are matched as ngx_lua matches them:
// a size limits what receiveuntil's function returns, counted in bytes that are known not to belong
// to the pattern. Source: lua-nginx-module's documentation of tcpsock:receive, receiveany and
// receiveuntil.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/request.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/socket_tcp.h"

namespace moongate::lua {
namespace {

constexpr int kReadsInARow = 64;
constexpr std::size_t kMostAtOnce = 1024 * 1024;

// Removes every \r, as ngx_lua does; returns the size left.
std::size_t strip_returns(char* line, std::size_t size) {
    if (size > 0 && line[size - 1] == '\r') {
        --size;
    }
    auto* first = size == 0 ? nullptr : static_cast<char*>(std::memchr(line, '\r', size));
    if (first == nullptr) [[likely]] {
        return size;
    }
    return static_cast<std::size_t>(std::remove(first, line + size, '\r') - line);
}

}  // namespace

std::uint32_t UntilPattern::recover(std::uint32_t state, char byte) {
    while (state > 0) {
        state = failure()[state - 1];
        if (text()[state] == byte) {
            return state + 1;
        }
    }
    return 0;
}

void TcpSocket::reserve(std::size_t bytes) {
    if (input_.capacity() - end_ >= bytes) {
        return;
    }
    const std::size_t held = unread();
    if (input_.capacity() >= held + bytes) {
        std::memmove(input_.data(), input_.data() + begin_, held);
    } else {
        Buffer larger(std::max(held + bytes, std::min(input_.capacity() * 2, held + kMostAtOnce)));
        if (held > 0) {
            std::memcpy(larger.data(), input_.data() + begin_, held);
        }
        input_ = std::move(larger);
    }
    begin_ = 0;
    end_ = held;
}

char* TcpSocket::room(std::size_t& bytes) {
    const std::size_t step = std::max<std::size_t>(conf->socket_buffer_size, 1);
    std::size_t want = step;
    if (mode == Mode::Bytes) {
        want = std::max(want, std::min(length - unread(), kMostAtOnce));
    }
    reserve(mode == Mode::All ? std::max(want, unread()) : want);
    bytes = mode == Mode::All ? std::min(input_.capacity() - end_, kMostAtOnce) : want;
    return input_.data() + end_;
}

void TcpSocket::preload(std::string_view bytes) {
    if (!bytes.empty()) {
        reserve(bytes.size());
        std::memcpy(input_.data() + end_, bytes.data(), bytes.size());
        end_ += bytes.size();
    }
}

bool TcpSocket::scan_line() {
    char* const start = input_.data() + begin_;
    const std::size_t size = unread();
    auto* end = static_cast<char*>(std::memchr(start + scanned_, '\n', size - scanned_));
    if (end == nullptr) {
        scanned_ = size;
        return false;
    }
    const auto line = static_cast<std::size_t>(end - start);
    found_ = {start, strip_returns(start, line)};
    consumed_ = line + 1;
    return true;
}

bool TcpSocket::scan_until() {
    const char* const start = input_.data() + begin_;
    const char* const text = pattern->text();
    const std::size_t size = unread();
    std::size_t at = scanned_;
    const auto stop_at = [&](std::size_t bytes) {
        found_ = {start, bytes};
        consumed_ = bytes;
        return true;
    };
    while (at < size) {
        const char byte = start[at];
        if (byte == text[state_]) {
            ++at;
            if (++state_ == pattern->size) {
                found_ = {start, pattern->inclusive ? at : at - pattern->size};
                consumed_ = at;
                pattern->ended = length != 0;
                return true;
            }
            continue;
        }
        if (state_ == 0) {
            // All that cannot begin the pattern, at once.
            const std::size_t most = length == 0 ? size - at : std::min(size - at, rest);
            auto* next = static_cast<const char*>(std::memchr(start + at, text[0], most));
            const std::size_t run =
                next == nullptr ? most : static_cast<std::size_t>(next - start) - at;
            at += run;
            if (length != 0 && (rest -= run) == 0) {
                return stop_at(at);
            }
            continue;
        }
        const std::uint32_t to = pattern->recover(state_, byte);
        if (to < 2) {
            // What had matched belongs to the data; this byte is looked at again.
            if (length != 0) {
                if (rest <= state_) {
                    return stop_at(at);
                }
                rest -= state_;
            }
            state_ = 0;
            continue;
        }
        const std::size_t passed = state_ + 1 - to;
        ++at;
        state_ = to;
        if (length != 0) {
            if (rest <= passed) {
                return stop_at(at - to);
            }
            rest -= passed;
        }
    }
    scanned_ = at;
    return false;
}

bool TcpSocket::complete() {
    const std::size_t size = unread();
    if (size == 0) {
        if (mode != Mode::All || !eof) {
            return false;
        }
        found_ = {};
        consumed_ = 0;
        return true;
    }
    switch (mode) {
        case Mode::Line:
            return scan_line();
        case Mode::Until:
            return scan_until();
        case Mode::Bytes:
            if (size < length) {
                return false;
            }
            consumed_ = length;
            break;
        case Mode::Any:
            consumed_ = std::min(size, length);
            break;
        case Mode::All:
            if (!eof) {
                return false;
            }
            consumed_ = size;
            break;
    }
    found_ = {input_.data() + begin_, consumed_};
    return true;
}

void TcpSocket::settle_for_less() {
    const std::size_t size = mode == Mode::Until ? scanned_ - state_ : unread();
    found_ = {input_.data() + begin_, size};
    consumed_ = size;
    if (mode == Mode::Line && size > 0) {
        found_ = {input_.data() + begin_, strip_returns(input_.data() + begin_, size)};
    }
}

void TcpSocket::take() {
    begin_ += consumed_;
    if (begin_ == end_) {
        input_.reset();
        begin_ = end_ = 0;
    }
}

void TcpSocket::close_reading() {
    read_closed = true;
    input_.reset();
    begin_ = end_ = 0;
}

TcpSocket::Got TcpSocket::pull() {
    for (int reads = 0; reads < kReadsInARow; ++reads) {
        if (complete()) {
            return Got::Done;
        }
        if (eof) {
            fault = SocketFault::Closed;
            return Got::Failed;
        }
        if (!io->registration().readable) {
            return Got::Wait;
        }
        std::size_t bytes = 0;
        char* to = room(bytes);
        const ssize_t moved = io->try_read(to, bytes);
        if (moved > 0) [[likely]] {
            end_ += static_cast<std::size_t>(moved);
        } else if (moved == async::Io::kWouldBlock) {
            return Got::Wait;
        } else if (moved == 0 && kind == Kind::RawRequest && conf->check_client_abort) {
            fault = SocketFault::ClientAborted;
            return Got::Failed;
        } else if (moved == 0) {
            eof = true;
        } else {
            fault = SocketFault::System;
            fault_errno = errno;
            return Got::Failed;
        }
    }
    return Got::Busy;
}

namespace {

// Marks the socket as read by somebody who waits; who is cancelled while waiting leaves a socket
// that nobody can use any more.
class ReadWait {
public:
    explicit ReadWait(TcpSocket& socket) : socket_(&socket) { socket.reading = true; }
    ReadWait(const ReadWait&) = delete;
    ReadWait& operator=(const ReadWait&) = delete;
    ~ReadWait() {
        if (socket_ != nullptr) {
            socket_->reading = false;
            socket_->close();
        }
    }
    void over() { std::exchange(socket_, nullptr)->reading = false; }

private:
    TcpSocket* socket_;
};

int push_found(lua_State* L, TcpSocket& socket) {
    push(L, socket.found());
    socket.take();
    return 1;
}

int push_fault(lua_State* L, TcpSocket& socket, Context& context) {
    lua_pushnil(L);
    switch (socket.fault) {
        case SocketFault::TimedOut:
            lua_pushliteral(L, "timeout");
            break;
        case SocketFault::ClientAborted:
            lua_pushliteral(L, "client aborted");
            break;
        case SocketFault::System:
            log_system_failure(context, "recv() failed", socket.fault_errno);
            push(L, errno_words(socket.fault_errno));
            break;
        default:
            lua_pushliteral(L, "closed");
            break;
    }
    socket.settle_for_less();
    push_found(L, socket);
    if (socket.fault != SocketFault::TimedOut) {
        socket.close_reading();
    }
    socket.fault = SocketFault::None;
    return 3;
}

Op receive_op(Coroutine& waiting, TcpSocket& socket, TcpSocket::Got got) {
    ReadWait wait(socket);
    Context& context = *waiting.context;
    while (got == TcpSocket::Got::Wait || got == TcpSocket::Got::Busy) {
        if (got == TcpSocket::Got::Busy) {
            co_await async::yield(socket.io->reactor());
        } else if (!co_await socket.io->readable(socket.read_timeout)) {
            if (context.settings().socket_log_errors) {
                context.log_line(LogLevel::Error, "lua tcp socket read timed out");
            }
            socket.fault = SocketFault::TimedOut;
            break;
        }
        got = socket.pull();
    }
    wait.over();
    co_return got == TcpSocket::Got::Done ? push_found(waiting.L, socket)
                                          : push_fault(waiting.L, socket, context);
}

SocketFault body_fault(const Error& error) {
    switch (error.kind) {
        case ErrorKind::TimedOut:
            return SocketFault::TimedOut;
        case ErrorKind::Closed:
        case ErrorKind::Reset:
            return SocketFault::ClientAborted;
        default:
            return SocketFault::Closed;
    }
}

// The request's body: the session takes its framing off.
Op receive_body_op(Coroutine& waiting, TcpSocket& socket) {
    ReadWait wait(socket);
    Context& context = *waiting.context;
    http::Exchange& exchange = context.request->exchange;
    bool done = false;
    while (!(done = socket.complete())) {
        socket.eof = socket.eof || exchange.body_ended();
        if (socket.eof) {
            done = socket.complete();
            socket.fault = SocketFault::Closed;
            break;
        }
        std::size_t bytes = 0;
        char* to = socket.room(bytes);
        const Result<std::size_t> got = co_await exchange.read_body(to, bytes, socket.read_timeout);
        if (!got) {
            socket.fault = body_fault(got.error());
            if (socket.fault == SocketFault::TimedOut && context.settings().socket_log_errors) {
                context.log_line(LogLevel::Error, "lua tcp socket read timed out");
            }
            break;
        }
        socket.got(*got);
    }
    wait.over();
    if (done) {
        socket.fault = SocketFault::None;
        co_return push_found(waiting.L, socket);
    }
    co_return push_fault(waiting.L, socket, context);
}

// What was asked for with ask(). The socket's userdata is at the top of the stack.
int run_receive(lua_State* L, TcpSocket& socket, Context& context) {
    if (socket.kind == TcpSocket::Kind::RequestBody) {
        if (socket.complete()) {
            return push_found(L, socket);
        }
        if (const char* problem = why_not_wait(L)) {
            return luaL_error(L, "%s", problem);
        }
        return wait_keeping(L, receive_body_op(*context.run->current(), socket), 1);
    }
    const TcpSocket::Got got = socket.pull();
    if (got == TcpSocket::Got::Done) {
        return push_found(L, socket);
    }
    if (got == TcpSocket::Got::Failed) {
        return push_fault(L, socket, context);
    }
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    return wait_keeping(L, receive_op(*context.run->current(), socket, got), 1);
}

bool can_read(const TcpSocket* socket) {
    return socket != nullptr && socket->open && !socket->read_closed;
}

}  // namespace

int tcp_receive(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 1 && count != 2) {
        return luaL_error(L, "expecting 1 or 2 arguments (including the object), but got %d",
                          count);
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    TcpSocket* socket = to_tcp_socket(L);
    if (!can_read(socket)) {
        return fail_closed(L, context, socket, "receive");
    }
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_reading(L, *socket)) {
        return 2;
    }
    if (count == 1) {
        socket->ask(TcpSocket::Mode::Line, 0);
    } else if (lua_isnumber(L, 2) != 0) {
        const lua_Integer bytes = lua_tointeger(L, 2);
        if (bytes < 0) {
            return luaL_argerror(L, 2, "bad pattern argument");
        }
        if (bytes == 0) {
            lua_pushliteral(L, "");
            return 1;
        }
        socket->ask(TcpSocket::Mode::Bytes, static_cast<std::size_t>(bytes));
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        const std::string_view pattern = to_view(L, 2);
        if (pattern == "*l") {
            socket->ask(TcpSocket::Mode::Line, 0);
        } else if (pattern == "*a") {
            socket->ask(TcpSocket::Mode::All, 0);
        } else if (pattern.size() == 2 && pattern[0] == '*') {
            return luaL_argerror(L, 2, "bad pattern argument");
        } else {
            return luaL_argerror(L, 2,
                                 lua_pushfstring(L, "bad pattern argument: %s", pattern.data()));
        }
    } else {
        return luaL_argerror(L, 2, "bad pattern argument");
    }
    return run_receive(L, *socket, context);
}

int tcp_receive_any(lua_State* L) {
    if (lua_gettop(L) != 2) {
        return luaL_error(L, "expecting 2 arguments (including the object), but got %d",
                          lua_gettop(L));
    }
    Context& context = check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    TcpSocket* socket = to_tcp_socket(L);
    if (!can_read(socket)) {
        return fail_closed(L, context, socket, "receive");
    }
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_reading(L, *socket)) {
        return 2;
    }
    const lua_Integer most = lua_isnumber(L, 2) != 0 ? lua_tointeger(L, 2) : 0;
    if (most <= 0) {
        return luaL_argerror(L, 2, "bad max argument");
    }
    socket->ask(TcpSocket::Mode::Any, static_cast<std::size_t>(most));
    return run_receive(L, *socket, context);
}

namespace {

// Upvalues: the socket's table, the pattern.
int until_iterator(lua_State* L) {
    const int count = lua_gettop(L);
    if (count > 1) {
        return luaL_error(L, "expecting 0 or 1 arguments, but seen %d", count);
    }
    const lua_Integer bytes = count == 1 ? luaL_checkinteger(L, 1) : 0;
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    TcpSocket* socket = to_tcp_socket(L);
    if (!can_read(socket)) {
        return fail(L, "closed");
    }
    Context& context = check_context(L);
    check_owner(L, *socket, context);
    if (busy_connecting(L, *socket) || busy_reading(L, *socket)) {
        return 2;
    }
    auto* pattern = static_cast<UntilPattern*>(lua_touserdata(L, lua_upvalueindex(2)));
    if (pattern->ended) {
        pattern->ended = false;
        lua_pushnil(L);
        lua_pushnil(L);
        lua_pushnil(L);
        return 3;
    }
    socket->ask(TcpSocket::Mode::Until, bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
    socket->pattern = pattern;
    return run_receive(L, *socket, context);
}

void compile(UntilPattern& pattern) {
    const char* text = pattern.text();
    std::uint32_t* failure = pattern.failure();
    failure[0] = 0;
    std::uint32_t matched = 0;
    for (std::uint32_t i = 1; i < pattern.size; ++i) {
        while (matched > 0 && text[i] != text[matched]) {
            matched = failure[matched - 1];
        }
        if (text[i] == text[matched]) {
            ++matched;
        }
        failure[i] = matched;
    }
}

}  // namespace

int tcp_receive_until(lua_State* L) {
    const int count = lua_gettop(L);
    if (count != 2 && count != 3) {
        return luaL_error(L, "expecting 2 or 3 arguments (including the object), but got %d",
                          count);
    }
    bool inclusive = false;
    if (count == 3) {
        luaL_checktype(L, 3, LUA_TTABLE);
        lua_getfield(L, 3, "inclusive");
        if (lua_isboolean(L, -1)) {
            inclusive = lua_toboolean(L, -1) != 0;
        } else if (!lua_isnil(L, -1)) {
            return luaL_error(L, "bad \"inclusive\" option value type: %s", luaL_typename(L, -1));
        }
        lua_settop(L, 2);
    }
    check_context(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    const std::string_view text = check_view(L, 2);
    if (text.empty()) {
        return fail(L, "pattern is empty");
    }
    const std::size_t bytes = sizeof(UntilPattern) + text.size() * (sizeof(std::uint32_t) + 1);
    auto* pattern = new (lua_newuserdata(L, bytes)) UntilPattern();
    pattern->size = static_cast<std::uint32_t>(text.size());
    pattern->inclusive = inclusive;
    std::memcpy(pattern->text(), text.data(), text.size());
    compile(*pattern);
    lua_remove(L, 2);
    lua_pushcclosure(L, until_iterator, 2);
    return 1;
}

}  // namespace moongate::lua
