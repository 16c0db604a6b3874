// UpstreamFlow: both directions after "101 Switching Protocols" (WebSocket and the like). Only a
// 101 to a request that asked for it leads here (HARDENING 7). Each direction passes bytes on as
// they come and passes the end of data on as well; the tunnel ends when both have ended, one
// failed, or nothing moved either way for proxy_read_timeout. Source: RFC 9110 §7.8.
#include <sys/socket.h>

#include "upstream/flow.h"

namespace moongate::upstream {

using engine::Action;

namespace {

constexpr std::size_t kTunnelBuffer = 16 * 1024;

struct Direction {
    async::Io& from;
    async::Io& to;
    std::string_view first;  // bytes that came before the tunnel was set up
    Milliseconds read_timeout;
    Milliseconds write_timeout;
    std::uint64_t* moved_at_ms;  // shared by both: activity either way keeps the tunnel open
    std::uint64_t* bytes;
};

enum class End : std::uint8_t { Closed, Failed, Idle };

async::Task<bool> put(Direction& way, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = way.to.try_write(bytes.data(), bytes.size());
        if (sent > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(sent));
            continue;
        }
        if (sent == async::Io::kFailed) {
            co_return false;
        }
        const bool ready = co_await way.to.writable(way.write_timeout);
        if (!ready) {
            co_return false;
        }
    }
    co_return true;
}

async::Task<End> pump(Direction way) {
    Buffer buffer;
    async::Reactor& reactor = way.from.reactor();
    if (!way.first.empty()) {
        *way.bytes += way.first.size();
        const bool sent = co_await put(way, way.first);
        if (!sent) {
            co_return End::Failed;
        }
    }
    int reads = 0;
    for (;;) {
        if (!way.from.registration().readable) {
            buffer.reset();  // an idle tunnel holds no memory
            const std::uint64_t quiet = reactor.now_ms() - *way.moved_at_ms;
            const auto limit = static_cast<std::uint64_t>(way.read_timeout.count());
            if (quiet >= limit) {
                co_return End::Idle;
            }
            const bool ready = co_await way.from.readable(Milliseconds(limit - quiet));
            if (!ready) {
                continue;  // the other direction may have moved meanwhile
            }
        } else if (++reads % 64 == 0) {
            co_await async::yield(reactor);
        }
        if (!buffer) {
            buffer = Buffer(kTunnelBuffer);
        }
        const ssize_t got = way.from.try_read(buffer.data(), buffer.capacity());
        if (got == async::Io::kWouldBlock) {
            continue;
        }
        if (got == async::Io::kFailed) {
            co_return End::Failed;
        }
        if (got == 0) {
            ::shutdown(way.to.fd(), SHUT_WR);
            co_return End::Closed;
        }
        *way.moved_at_ms = reactor.now_ms();
        *way.bytes += static_cast<std::uint64_t>(got);
        const bool sent = co_await put(way, {buffer.data(), static_cast<std::size_t>(got)});
        if (!sent) {
            co_return End::Failed;
        }
    }
}

}  // namespace

async::Task<Action> UpstreamFlow::tunnel(std::string_view first) {
    // From here on the end of one side is passed on, not a reason to drop everything.
    request_.abort_on_client_close = false;
    mark_action("proxying upgraded connection");
    Status sent = co_await request_.send_head();
    if (sent) {
        sent = co_await request_.send_body({{}, {.flush = true}});
    }
    const http::Exchange::Raw client = sent ? request_.exchange.take_over() : http::Exchange::Raw{};
    if (client.io == nullptr) {
        end_attempt(Outcome::Ok);
        request_.response.ended = true;
        co_return Action::done();
    }
    std::uint64_t moved_at_ms = request_.reactor().now_ms();
    Attempt& attempt = log_->last();
    async::Background<End> up(request_.reactor());
    async::Background<End> down(request_.reactor());
    up.start(pump({*client.io, connection_->io, client.received, read_timeout_, send_timeout_,
                   &moved_at_ms, &attempt.bytes_sent}));
    down.start(pump({connection_->io, *client.io, first, read_timeout_, send_timeout_, &moved_at_ms,
                     &attempt.response_length}));
    End up_end = End::Closed;
    End down_end = End::Closed;
    bool up_open = true;
    bool down_open = true;
    while (up_open || down_open) {
        co_await async::any_done(up, down);
        if (up.done()) {
            up_end = up.take();
            up_open = false;
        }
        if (down.done()) {
            down_end = down.take();
            down_open = false;
        }
        if (up_end != End::Closed || down_end != End::Closed) {
            break;
        }
        if (!down_open) {
            break;  // the server said its last: nothing more can come of it
        }
    }
    if (up_end == End::Idle || down_end == End::Idle) {
        log_failure(LogLevel::Info, fmt::format("upstream timed out {}", errno_text(ETIMEDOUT)));
    }
    attempt.bytes_received += attempt.response_length;
    end_attempt(Outcome::Ok);
    request_.response.ended = true;
    request_.log_action = {};
    co_return Action::done();
}

}  // namespace moongate::upstream
