#include "app/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

namespace moongate::app {
namespace {

void set_option(int fd, const std::string& name, int level, int option, std::string_view text,
                int value, const Log& log) {
    if (::setsockopt(fd, level, option, &value, sizeof value) != 0) {
        log.print(LogLevel::Alert, 0, "setsockopt({}, {}) {} failed, ignored {}", text, value, name,
                  errno_text(errno));
    }
}

void set_keepalive(int fd, const std::string& name, const ListenSpec& spec, const Log& log) {
    if (spec.keepalive) {
        set_option(fd, name, SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE", *spec.keepalive ? 1 : 0,
                   log);
    }
    if (spec.keepalive_idle_seconds != 0) {
        set_option(fd, name, IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE", spec.keepalive_idle_seconds,
                   log);
    }
    if (spec.keepalive_interval_seconds != 0) {
        set_option(fd, name, IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL",
                   spec.keepalive_interval_seconds, log);
    }
    if (spec.keepalive_probes != 0) {
        set_option(fd, name, IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT", spec.keepalive_probes, log);
    }
}

int read_option(int fd, int level, int option) {
    int value = 0;
    socklen_t bytes = sizeof value;
    return ::getsockopt(fd, level, option, &value, &bytes) == 0 ? value : -1;
}

}  // namespace

void apply_socket_options(int fd, const std::string& name, const ListenSpec& spec,
                          const ListenSpec* previous, const Log& log) {
    if (spec.receive_buffer_bytes >= 0) {
        set_option(fd, name, SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF", spec.receive_buffer_bytes, log);
    }
    if (spec.send_buffer_bytes >= 0) {
        set_option(fd, name, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF", spec.send_buffer_bytes, log);
    }
    set_keepalive(fd, name, spec, log);
    if (spec.fastopen_queue >= 0) {
        set_option(fd, name, IPPROTO_TCP, TCP_FASTOPEN, "TCP_FASTOPEN", spec.fastopen_queue, log);
    }
    if (previous != nullptr && spec.type == SOCK_STREAM && previous->backlog != spec.backlog &&
        ::listen(fd, spec.backlog) != 0) {
        log.print(LogLevel::Alert, 0, "listen() to {}, backlog {} failed, ignored {}", name,
                  spec.backlog, errno_text(errno));
    }
    const bool was_deferred = previous != nullptr && previous->deferred;
    if (spec.deferred != was_deferred) {
        // How long a connection waited cannot be learnt, so it is one second, as in nginx.
        set_option(fd, name, IPPROTO_TCP, TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT",
                   spec.deferred ? 1 : 0, log);
    }
}

void share_port(int fd, const std::string& name, const Log& log) {
    set_option(fd, name, SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT", 1, log);
}

bool read_socket_options(int fd, ListenSpec& spec) {
    spec.type = read_option(fd, SOL_SOCKET, SO_TYPE);
    if (spec.type < 0) {
        return false;
    }
    spec.reuseport = read_option(fd, SOL_SOCKET, SO_REUSEPORT) > 0;
    if (spec.type == SOCK_STREAM && spec.address.ss_family != AF_UNIX) {
        spec.deferred = read_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) > 0;
    }
    // Not readable from the socket; a value no configuration has makes the first load set it.
    spec.backlog = -1;
    return true;
}

}  // namespace moongate::app
