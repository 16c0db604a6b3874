#include "net/connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>

namespace moongate::net {
namespace {

Error failed(int errno_value, std::string_view call) {
    Error error = errno_error(errno_value, call, ErrorSide::Upstream);
    error.retry_safe = true;
    return error;
}

class Socket {
public:
    explicit Socket(int fd) : fd_(fd) {}
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    bool set(int level, int name, int value) const {
        return ::setsockopt(fd_, level, name, &value, sizeof(value)) == 0;
    }

private:
    int fd_;
};

Status prepare(const Socket& socket, int family, const ConnectOptions& options) {
    if (options.no_delay && (family == AF_INET || family == AF_INET6)) {
        socket.set(IPPROTO_TCP, TCP_NODELAY, 1);
    }
    if (options.keepalive && !socket.set(SOL_SOCKET, SO_KEEPALIVE, 1)) {
        return failed(errno, "setsockopt(SO_KEEPALIVE)");
    }
    if (options.rcvbuf > 0 && !socket.set(SOL_SOCKET, SO_RCVBUF, options.rcvbuf)) {
        return failed(errno, "setsockopt(SO_RCVBUF)");
    }
    if (options.sndbuf > 0 && !socket.set(SOL_SOCKET, SO_SNDBUF, options.sndbuf)) {
        return failed(errno, "setsockopt(SO_SNDBUF)");
    }
    if (options.local != nullptr && options.local->family() == family) {
        if (options.transparent &&
            !(family == AF_INET6 ? socket.set(IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                                 : socket.set(IPPROTO_IP, IP_TRANSPARENT, 1))) {
            return failed(errno, "setsockopt(IP_TRANSPARENT)");
        }
        // The port is chosen at connect(), so that one local address serves many servers.
        if (options.local->port() == 0) {
            socket.set(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        }
        if (::bind(socket.get(), options.local->get(), options.local->size) != 0) {
            return failed(errno, "bind()");
        }
    }
    return {};
}

}  // namespace

Result<async::Io> begin_connect(async::Reactor& reactor, const Address& to,
                                const ConnectOptions& options, bool& connected) {
    Socket socket(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) {
        return failed(errno, "socket()");
    }
    if (const Status prepared = prepare(socket, to.family(), options); !prepared) {
        return prepared.error();
    }
    connected = ::connect(socket.get(), to.get(), to.size) == 0;
    if (!connected && errno != EINPROGRESS) {
        return failed(errno, kRefusedAtOnce);
    }
    async::Io io(reactor, socket.release());
    if (!io.is_open()) {
        return failed(errno, "epoll_ctl()");
    }
    io.registration().writable = connected;
    return io;
}

Status finish_connect(const async::Io& io) {
    int reason = 0;
    socklen_t size = sizeof(reason);
    if (::getsockopt(io.fd(), SOL_SOCKET, SO_ERROR, &reason, &size) != 0) {
        reason = errno;
    }
    return reason == 0 ? Status() : Status(failed(reason, "connect()"));
}

async::Task<Result<async::Io>> connect(async::Reactor& reactor, const Address& to,
                                       ConnectOptions options) {
    bool connected = false;
    Result<async::Io> begun = begin_connect(reactor, to, options, connected);
    if (!begun) {
        co_return begun.error();
    }
    async::Io io = std::move(*begun);
    if (!connected) {
        const bool ready = co_await io.writable(options.timeout);
        if (!ready) {
            Error error = failed(ETIMEDOUT, "connect()");
            error.kind = ErrorKind::TimedOut;
            co_return error;
        }
        if (const Status finished = finish_connect(io); !finished) {
            co_return finished.error();
        }
    }
    co_return std::move(io);
}

}  // namespace moongate::net
