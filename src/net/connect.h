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
    bool no_delay = true;            // TCP_NODELAY
    int rcvbuf = 0;
    int sndbuf = 0;
};

// The detail of a connect() that failed without waiting.
inline constexpr std::string_view kRefusedAtOnce = "connect() at once";

// Errors carry errno in `code` and the failing call ("connect()", "bind()", "socket()") in
// `detail`; a passed deadline is TimedOut. Nothing was sent: every error is safe to retry.
async::Task<Result<async::Io>> connect(async::Reactor& reactor, const Address& to,
                                       ConnectOptions options);

// The two halves of connect(), for callers that wait in their own way. begin_connect: a socket
// whose connecting has begun and is over where `connected` says so. finish_connect: once it is
// writable, whether it did connect.
Result<async::Io> begin_connect(async::Reactor& reactor, const Address& to,
                                const ConnectOptions& options, bool& connected);
Status finish_connect(const async::Io& io);

}  // namespace moongate::net
