// The options of a listening socket that may be changed while it listens: buffers, keepalive, fast
// open, deferred accept and the backlog. Applied after each load, as nginx does. Failures are
// logged and ignored.
#pragma once

#include <string>

#include "app/engine_process.h"
#include "base/log.h"

namespace moongate::app {

// `previous` is what the socket was opened or last configured with; null for a new one.
void apply_socket_options(int fd, const std::string& name, const ListenSpec& spec,
                          const ListenSpec* previous, const Log& log);

// Lets further sockets of the same address be bound (SO_REUSEPORT).
void share_port(int fd, const std::string& name, const Log& log);

// Type and the options that decide how it may be reused, from an inherited socket. False where it
// is no socket.
bool read_socket_options(int fd, ListenSpec& spec);

}  // namespace moongate::app
