#include "http/h1/server_session.h"

#include <sys/socket.h>

#include <cstring>

#include "base/clock.h"
#include "http/h1/server_exchange.h"

namespace moongate::http::h1 {
namespace {

using async::Io;

constexpr std::size_t kDrainStep = Buffer::kMedium;
// Requests served in a row from what one client pipelined, before other connections have a turn.
constexpr int kPipelineBudget = 32;

}  // namespace

ServerSession::ServerSession(async::Io& io, ConnectionInfo& connection, ServerHandler& handler)
    : io_(io), connection_(connection), handler_(handler), output_(io) {}

ssize_t ServerSession::fill() {
    const ssize_t moved = io_.try_read(input_.data() + end_, input_.capacity() - end_);
    if (moved > 0) {
        end_ += static_cast<std::uint32_t>(moved);
    }
    return moved;
}

void ServerSession::release_input() {
    if (unread() == 0) {
        input_.reset();
        begin_ = end_ = 0;
    }
}

async::Task<void> ServerSession::run(Milliseconds first_wait) {
    Milliseconds idle_timeout = first_wait;
    int in_a_row = 0;
    for (;;) {
        if (unread() == 0) {
            release_input();
            output_.release();
            in_a_row = 0;
            handler_.idle(true);
            const bool ready = co_await io_.readable(idle_timeout);
            handler_.idle(false);
            if (!ready || handler_.draining()) {
                co_return;
            }
            input_ = Buffer(std::max(handler_.head_policy().header_buffer_size, Buffer::kSmall));
            const ssize_t moved = fill();
            if (moved == Io::kWouldBlock) {
                continue;
            }
            if (moved <= 0) {
                co_return;
            }
        } else if (++in_a_row > kPipelineBudget) {
            in_a_row = 0;
            co_await async::yield(io_.reactor());
        }
        switch (co_await serve_one()) {
            case Next::Close:
                co_return;
            case Next::Linger:
                co_await linger();
                co_return;
            case Next::KeepAlive:
                break;
        }
        if (handler_.draining()) {
            co_return;
        }
        idle_timeout = policy_.keep_alive_timeout;
    }
}

// Kept out of line: inlined, its frame with all request state would become part of run()'s, and
// idle connections would keep it.
[[gnu::noinline]] async::Task<ServerSession::Next> ServerSession::serve_one() {
    ServerExchange exchange(*this);
    ++connection_.requests;
    policy_ = ConnectionPolicy{};
    HeadScan scan;
    if (!take_head(exchange, scan) && !co_await read_head(exchange, scan)) {
        co_return Next::Close;
    }
    co_await handler_.handle(exchange);
    const bool simple = exchange.ended_ && exchange.keep_alive_ && exchange.body_ended_ &&
                        exchange.promised_ <= 0 && !exchange.aborted_ && !exchange.taken_over_ &&
                        !output_.failed() && output_.buffered() == 0;
    if (simple) [[likely]] {
        co_return Next::KeepAlive;
    }
    co_return co_await finish(exchange);
}

// Takes the head if all of it is in the input, or if what is there can never become one.
bool ServerSession::take_head(ServerExchange& exchange, HeadScan& scan) {
    const HeadPolicy& policy = handler_.head_policy();
    const HeadScanResult found = scan_request_head(unread_bytes(), policy.limits, scan);
    if (found.error != HeadError::None) {
        exchange.fail(http_status(found.error), client_log_text(found.error));
        return true;
    }
    if (found.end != 0) {
        const std::string_view head = unread_bytes().substr(0, found.end);
        begin_ += static_cast<std::uint32_t>(found.end);
        exchange.parse(head, policy.limits);
        return true;
    }
    return false;
}

// False: nothing that could be answered came; the connection ends without a word.
async::Task<bool> ServerSession::read_head(ServerExchange& exchange, HeadScan& scan) {
    const std::uint64_t began = io_.reactor().now_ms();
    for (;;) {
        const HeadPolicy& policy = handler_.head_policy();
        if (end_ == input_.capacity()) {
            if (begin_ > 0) {
                std::memmove(input_.data(), input_.data() + begin_, unread());
            } else {
                if (input_.capacity() >= policy.large_buffers_bytes + Buffer::kSmall) {
                    exchange.fail(494, "client sent too large request");
                    co_return true;
                }
                Buffer larger(
                    std::min(input_.capacity() * 4, policy.large_buffers_bytes + Buffer::kSmall));
                std::memcpy(larger.data(), input_.data(), unread());
                input_ = std::move(larger);
            }
            end_ = static_cast<std::uint32_t>(unread());
            begin_ = 0;
        }
        const std::uint64_t now = io_.reactor().now_ms();
        const std::uint64_t deadline =
            began + static_cast<std::uint64_t>(policy.header_timeout.count());
        if (now >= deadline ||
            !co_await io_.readable(Milliseconds(static_cast<std::int64_t>(deadline - now)))) {
            exchange.fail(408, "client timed out");
            co_return true;
        }
        const ssize_t moved = fill();
        if (moved == 0) {
            if (unread_bytes().find_first_not_of("\r\n") == std::string_view::npos) {
                co_return false;
            }
            exchange.fail(400, "client prematurely closed connection");
            co_return true;
        }
        if (moved < 0 && moved != Io::kWouldBlock) {
            co_return false;
        }
        if (moved > 0 && take_head(exchange, scan)) {
            co_return true;
        }
    }
}

async::Task<ServerSession::Next> ServerSession::finish(ServerExchange& exchange) {
    if (exchange.taken_over_ || !exchange.started_ || output_.failed()) {
        co_return Next::Close;
    }
    if (exchange.ended_ && exchange.promised_ > 0) {
        exchange.aborted_ = true;  // fewer bytes than Content-Length said: the client must notice
    }
    if (Status flushed = co_await output_.flush(policy_.send_timeout); !flushed) {
        if (policy_.reset_timed_out && flushed.error().kind == ErrorKind::TimedOut) {
            const struct linger reset{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(io_.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        co_return Next::Close;
    }
    if (exchange.aborted_ || !exchange.ended_) {
        co_return Next::Close;
    }
    if (!exchange.keep_alive_) {
        if (exchange.timed_out_) {
            co_return Next::Close;
        }
        const bool may_be_sending =
            !exchange.body_ended_ || unread() > 0 || exchange.failure_.status != 0;
        co_return policy_.lingering == 2 || (policy_.lingering == 1 && may_be_sending)
            ? Next::Linger
            : Next::Close;
    }
    // The next request begins behind this one's body.
    if (!exchange.body_ended_) {
        const std::uint64_t until =
            io_.reactor().now_ms() + static_cast<std::uint64_t>(policy_.lingering_time.count());
        const Buffer scratch(kDrainStep);
        while (!exchange.body_ended_) {
            const Result<std::size_t> got = co_await exchange.read_body(
                scratch.data(), scratch.capacity(), policy_.lingering_timeout);
            if (!got || (!exchange.body_ended_ && io_.reactor().now_ms() >= until)) {
                co_return Next::Close;
            }
        }
    }
    co_return Next::KeepAlive;
}

// Closing while the client still sends would make the system reset the connection, and the client
// could lose the response: send the end of data, then read and forget for a while (RFC 9112 §9.6).
[[gnu::noinline]] async::Task<void> ServerSession::linger() {
    ::shutdown(io_.fd(), SHUT_WR);
    const std::uint64_t until =
        io_.reactor().now_ms() + static_cast<std::uint64_t>(policy_.lingering_time.count());
    const Buffer scratch(kDrainStep);
    while (io_.reactor().now_ms() < until) {
        if (!co_await io_.readable(policy_.lingering_timeout)) {
            co_return;
        }
        const ssize_t moved = io_.try_read(scratch.data(), scratch.capacity());
        if (moved == 0 || moved == Io::kFailed) {
            co_return;
        }
        co_await async::yield(io_.reactor());
    }
}

}  // namespace moongate::http::h1
