// TcpSocket: a cosocket, what stands behind the table that ngx.socket.tcp() and ngx.req.socket()
// return. It lies in a Lua userdata at the table's index 1 (resty.core passes its address to the
// FFI) and belongs to the request, timer or other Context that connected it: with that it is
// closed. Reading and writing are tried at once and waited for only when nothing more can be done;
// one reader and one writer may wait at a time. Bytes gather in one buffer, from which results are
// pushed; it goes back to its pool when it is empty. One worker. Source: lua-nginx-module's
// documentation of the cosocket API.
#pragma once

#include <lua.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "async/io.h"
#include "async/task.h"
#include "base/buffer.h"
#include "lua/context.h"
#include "lua/socket_pool.h"
#include "net/address.h"

namespace moongate::lua {

// A pattern of receiveuntil, compiled (in a Lua userdata, with the text behind it).
struct UntilPattern {
    std::uint32_t size = 0;
    bool inclusive = false;
    bool ended = false;  // the pattern was reached with sizes given: the next call says so
    // [i]: the length of the longest proper prefix of the text that is a suffix of text[0, i + 1).
    std::uint32_t* failure() { return reinterpret_cast<std::uint32_t*>(this + 1); }
    char* text() { return reinterpret_cast<char*>(failure() + size); }
    // The state that `byte` leads to from `state` (≥ 1, where text[state] is another byte).
    std::uint32_t recover(std::uint32_t state, char byte);
};

enum class SocketFault : std::uint8_t { None, TimedOut, Closed, ClientAborted, System };

class TcpSocket : public ContextSocket {
public:
    enum class Kind : std::uint8_t { Upstream, RawRequest, RequestBody };
    enum class Mode : std::uint8_t { Line, All, Bytes, Any, Until };
    enum class Got : std::uint8_t { Done, Wait, Busy, Failed };

    explicit TcpSocket(Kind of) : kind(of) {}
    ~TcpSocket() override { close(); }

    const Kind kind;
    bool open = false;
    bool read_closed = false;
    bool write_closed = false;
    bool connecting = false;  // somebody waits
    bool reading = false;
    bool writing = false;
    bool eof = false;
    bool no_delay = false;  // TCP_NODELAY was seen to
    const LuaSettings* conf = nullptr;
    Milliseconds connect_timeout{};
    Milliseconds send_timeout{};
    Milliseconds read_timeout{};
    std::uint64_t reused = 0;
    async::Io own_io;
    async::Io* io = nullptr;
    SocketPool* pool = nullptr;  // where it is counted

    // Closes what is open and leaves the pool; what waits must be gone.
    void close() override;
    // Becomes as new, before a connect.
    void begin(Context& by, const LuaSettings& settings);
    void opened(async::Io connected);
    // Takes a quiet connection away; the socket is closed then.
    async::Io release();
    bool is_open() const { return open && !(read_closed && write_closed); }

    // --- reading (socket_receive.cc)
    Mode mode = Mode::Line;
    UntilPattern* pattern = nullptr;
    std::size_t length = 0;  // asked for; 0: no limit (Until)
    std::size_t rest = 0;    // Until: of `length`
    SocketFault fault = SocketFault::None;
    int fault_errno = 0;

    void ask(Mode how, std::size_t size) {
        mode = how;
        length = rest = size;
        scanned_ = 0;
        state_ = 0;
    }
    // Whether what was asked for is in the buffer.
    bool complete();
    // complete(), after reading what can be read without waiting.
    Got pull();
    // Room for the next bytes; got() says how many came.
    char* room(std::size_t& bytes);
    void got(std::size_t bytes) { end_ += bytes; }
    // What complete() found; then take() removes it from the buffer.
    std::string_view found() const { return found_; }
    // What there is of it, where no more will come.
    void settle_for_less();
    void take();
    std::size_t unread() const { return end_ - begin_; }
    void preload(std::string_view bytes);
    void close_reading();
    void close_writing() { write_closed = true; }

private:
    bool scan_line();
    bool scan_until();
    void reserve(std::size_t bytes);

    Buffer input_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t scanned_ = 0;  // from begin_ on
    std::uint32_t state_ = 0;  // Until: matched so far, the last bytes of the scanned ones
    std::string_view found_;
    std::size_t consumed_ = 0;
};

// --- what the files of the cosocket API share

// Indices of the table, as resty.core and ngx_lua have them.
enum SocketIndex {
    kSocketContext = 1,
    kSocketConnectTimeout = 2,
    kSocketKey = 3,
    kSocketSendTimeout = 4,
    kSocketReadTimeout = 5,
    kSocketBind = 8,
};

// The TcpSocket of the table at index 1, left on the top of the stack so that it lives while it is
// waited for; null (and something else on the stack) where there is none.
TcpSocket* to_tcp_socket(lua_State* L);
// Pushes a new one; `metatable` is a registry key.
TcpSocket& new_tcp_socket(lua_State* L, TcpSocket::Kind kind);
// Starts `op`; where it has to wait, yields with the `values` on the top of the stack kept.
int wait_keeping(lua_State* L, Op op, int values);
// A Lua error unless `socket` belongs to the request of `context`.
void check_owner(lua_State* L, const TcpSocket& socket, Context& context);
inline int fail(lua_State* L, std::string_view why) {
    lua_pushnil(L);
    lua_pushlstring(L, why.data(), why.size());
    return 2;
}
// "connection refused": strerror() in lower case.
std::string errno_words(int errno_value);
int fail_with_errno(lua_State* L, int errno_value);
// "recv() failed (104: Connection reset by peer)" at the level that nginx gives it.
void log_system_failure(Context& context, std::string_view what, int errno_value);
// The time-outs of the table at index 1, or those of the settings.
Milliseconds table_timeout(lua_State* L, int field, Milliseconds otherwise);
// "host:port", an address or a path: the address where it is one; else a name to resolve.
struct Host {
    net::Address address;
    std::string name;  // not empty: to be resolved
    std::uint16_t port = 0;
};
// False: nil and the message are on the stack.
bool parse_host(lua_State* L, std::string_view text, std::uint16_t port, Host& host);
// Resolves host.name into host.address, one of several by chance. Else the message.
async::Task<std::string> resolve_host(Context& context, Host& host);
// Null where there is none; else nil and the message are on the stack and false is returned.
bool check_resolver(lua_State* L, Context& context, const Host& host);
SocketPools& socket_pools(Context& context);

// Metatables, by their registry keys.
inline constexpr char kTcpMetatable[] = "__tcp_cosocket_mt";
inline constexpr char kBodyMetatable[] = "moongate_body_socket";
inline constexpr char kRawMetatable[] = "moongate_raw_socket";
inline constexpr char kUdpMetatable[] = "moongate_udp_socket";
inline constexpr char kTcpUserdata[] = "moongate_tcp_userdata";
inline constexpr char kUdpUserdata[] = "moongate_udp_userdata";

// The methods, by file.
int tcp_connect(lua_State* L);
int tcp_bind(lua_State* L);
int tcp_close(lua_State* L);
int tcp_set_timeout(lua_State* L);
int tcp_set_timeouts(lua_State* L);
int tcp_get_reused_times(lua_State* L);
int tcp_set_keepalive(lua_State* L);
int tcp_get_fd(lua_State* L);
int tcp_send(lua_State* L);
int tcp_receive(lua_State* L);
int tcp_receive_any(lua_State* L);
int tcp_receive_until(lua_State* L);
int req_socket(lua_State* L);
void install_udp(lua_State* L);

// nil and "socket busy …" on the stack, where that holds.
inline bool busy_connecting(lua_State* L, const TcpSocket& socket) {
    return socket.connecting && fail(L, "socket busy connecting") != 0;
}
inline bool busy_reading(lua_State* L, const TcpSocket& socket) {
    return socket.reading && fail(L, "socket busy reading") != 0;
}
inline bool busy_writing(lua_State* L, const TcpSocket& socket) {
    return socket.writing && fail(L, "socket busy writing") != 0;
}
// Logs "attempt to … data on a closed socket" and fails with "closed".
int fail_closed(lua_State* L, Context& context, const TcpSocket* socket, std::string_view doing);

}  // namespace moongate::lua
