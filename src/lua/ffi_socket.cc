// Socket options of cosockets, as resty.core calls them; and the descriptor, as its newer versions
// do.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "engine/worker_state.h"
#include "lua/ffi.h"
#include "lua/socket_tcp.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_socket() {}
}  // namespace moongate::lua

namespace {

struct Option {
    int level;
    int name;
};
// In the order of resty.core's numbers, from 1.
constexpr Option kOptions[] = {
    {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_REUSEADDR}, {IPPROTO_TCP, TCP_NODELAY},
    {SOL_SOCKET, SO_SNDBUF},    {SOL_SOCKET, SO_RCVBUF},
};

int refuse(std::string_view text, unsigned char* error, std::size_t* size) {
    *size = std::min(*size, text.size());
    std::memcpy(error, text.data(), *size);
    return kFfiError;
}

const Option* find_option(TcpSocket* socket, int number, unsigned char* error, std::size_t* size) {
    if (socket == nullptr || !socket->open || socket->io == nullptr) {
        refuse("closed", error, size);
        return nullptr;
    }
    if (number < 1 || number > static_cast<int>(std::size(kOptions))) {
        refuse(fmt::format("unsupported option {}", number), error, size);
        return nullptr;
    }
    return &kOptions[number - 1];
}

int refuse_errno(unsigned char* error, std::size_t* size) {
    char text[256];
    return refuse(::strerror_r(errno, text, sizeof(text)), error, size);
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_socket_tcp_getoption(TcpSocket* socket, int number, int* value,
                                                       unsigned char* error, std::size_t* size) {
    const Option* option = find_option(socket, number, error, size);
    if (option == nullptr) {
        return kFfiError;
    }
    socklen_t bytes = sizeof(int);
    if (::getsockopt(socket->io->fd(), option->level, option->name, value, &bytes) != 0) {
        return refuse_errno(error, size);
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_socket_tcp_setoption(TcpSocket* socket, int number, int value,
                                                       unsigned char* error, std::size_t* size) {
    const Option* option = find_option(socket, number, error, size);
    if (option == nullptr) {
        return kFfiError;
    }
    if (::setsockopt(socket->io->fd(), option->level, option->name, &value, sizeof(value)) != 0) {
        return refuse_errno(error, size);
    }
    if (option->name == TCP_NODELAY && option->level == IPPROTO_TCP) {
        socket->no_delay = true;  // what Lua said stands
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_socket_tcp_getfd(Context*, TcpSocket* socket,
                                                   const char** error) {
    if (socket == nullptr || !socket->open || socket->io == nullptr) {
        *error = "closed";
        return kFfiError;
    }
    return socket->io->fd();
}
