// ServerSession: the server's side of one HTTP/1 connection. Reads a request's head, hands an
// Exchange to the engine, sees to what is left of the body, and goes on with the next request.
// While it waits for a request it holds no buffer and no request state. Owned by the connection's
// task; one worker. Source: RFC 9112.
#pragma once

#include <memory>

#include "async/io.h"
#include "async/task.h"
#include "base/buffer.h"
#include "http/exchange.h"
#include "http/h1/output.h"
#include "http/server_handler.h"

namespace moongate::http::h1 {

class ServerExchange;

class ServerSession {
public:
    // All three outlive the session.
    ServerSession(async::Io& io, ConnectionInfo& connection, ServerHandler& handler);
    ServerSession(const ServerSession&) = delete;

    // Serves until the connection is to be closed. `first_wait` bounds the wait for the first byte.
    async::Task<void> run(Milliseconds first_wait);

private:
    friend class ServerExchange;

    enum class Next : std::uint8_t { KeepAlive, Close, Linger };

    // One request. The input holds at least one byte of it.
    async::Task<Next> serve_one();
    bool take_head(ServerExchange& exchange, HeadScan& scan);
    async::Task<bool> read_head(ServerExchange& exchange, HeadScan& scan);
    async::Task<Next> finish(ServerExchange& exchange);
    async::Task<void> linger();

    std::size_t unread() const { return end_ - begin_; }
    std::string_view unread_bytes() const { return {input_.data() + begin_, unread()}; }
    // Reads what has arrived into the input's free space (there must be some): >0, 0 end, or Io's
    // codes.
    ssize_t fill();
    void release_input();

    async::Io& io_;
    ConnectionInfo& connection_;
    ServerHandler& handler_;
    Output output_;
    Buffer input_;
    std::uint32_t begin_ = 0;
    std::uint32_t end_ = 0;
    ConnectionPolicy policy_;
};

}  // namespace moongate::http::h1
