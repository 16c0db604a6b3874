// Opens a connection to a server: a non-blocking socket with its options, connected within a
// deadline. Belongs to the worker whose reactor is given.
#pragma once

#include <string_view>

#include "async/io.h"
#include "async/task.h"
#include "base/result.h"
#include "net/address.h"

namespace moongate::net {

struct ConnectOptions {
    Milliseconds timeout{60000};
    const Address* local = nullptr;  // proxy_bind
    bool transparent = false;        // IP_TRANSPARENT: `local` may be any address
    bool keepalive = false;          // SO_KEEPALIVE
    int rcvbuf = 0;
    int sndbuf = 0;
};

// Errors carry errno in `code` and the failing call ("connect()", "bind()", "socket()") in
// `detail`; a passed deadline is TimedOut. Nothing was sent: every error is safe to retry.
async::Task<Result<async::Io>> connect(async::Reactor& reactor, const Address& to,
                                       ConnectOptions options);

}  // namespace moongate::net
