#include "engine/filters.h"

#include <arpa/inet.h>

#include "base/clock.h"
#include "conf/values.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/request.h"
#include "engine/server.h"
#include "engine/subrequest.h"
#include "engine/worker_state.h"

namespace moongate::engine {
namespace {

using http::BodyPart;

constexpr std::string_view kServerName = "moongate/0.1.0";
constexpr std::string_view kServerNameBare = "moongate";

// The address the connection came to: for clients that named no host.
std::string_view local_address(Request& request) {
    const http::SocketAddress& local = request.exchange.connection().local;
    char text[INET6_ADDRSTRLEN];
    if (local.family() == AF_INET &&
        inet_ntop(AF_INET, &local.v4.sin_addr, text, sizeof text) != nullptr) {
        return request.arena().copy(text);
    }
    if (local.family() == AF_INET6 &&
        inet_ntop(AF_INET6, &local.v6.sin6_addr, text, sizeof text) != nullptr) {
        return request.arena().concat("[", text, "]");
    }
    return {};
}

// A Location that names only a path gets the scheme and authority that the client used
// (absolute_redirect).
std::string_view absolute_location(Request& request, const CoreLocationSettings& core) {
    const std::string_view location = request.response.location;
    if (location.empty() || location.front() != '/' || !core.absolute_redirect) {
        return location;
    }
    const bool tls = request.exchange.connection().tls;
    const http::SocketAddress& local = request.exchange.connection().local;
    const std::string_view host =
        core.server_name_in_redirect ? std::string_view(request.server->first_name)
        : request.headers.has(http::HeaderId::Host) || !request.host.empty()
            ? request.host
            : local_address(request);
    if (host.empty()) {
        return location;
    }
    std::string_view port;
    if (core.port_in_redirect && local.port() != 0 && local.port() != (tls ? 443 : 80)) {
        port = request.arena().copy(fmt::format(":{}", local.port()));
    }
    return request.arena().concat(tls ? "https://" : "http://", host, port, location);
}

bool wants_keep_alive(const Request& request, const CoreLocationSettings& core) {
    const http::ConnectionInfo& connection = request.exchange.connection();
    return core.keepalive_timeout > Milliseconds::zero() &&
           connection.requests < static_cast<std::uint64_t>(core.keepalive_requests) &&
           !request.worker.exiting &&
           Clock::current().monotonic_ms() - connection.start_ms <=
               static_cast<std::uint64_t>(core.keepalive_time.count());
}

void write_head(Request& request) {
    Response& response = request.response;
    if (request.main != &request) [[unlikely]] {
        request.exchange.start_response({.status = response.status});
        return;
    }
    const auto& core = request.get<CoreLocationSettings>();
    char modified[32];
    http::ResponseStart start;
    start.status = response.status;
    start.status_text = response.status_text;
    // An empty field of these two stands for one that was taken away.
    if (const http::Header* server = response.headers.find(http::HeaderId::Server);
        server == nullptr) {
        start.server = core.server_tokens == ServerTokens::Off ? kServerNameBare : kServerName;
    } else if (server->value.empty()) {
        response.headers.remove(http::HeaderId::Server);
    }
    if (const http::Header* date = response.headers.find(http::HeaderId::Date); date == nullptr) {
        start.date = Clock::current().http_date();
    } else if (date->value.empty()) {
        response.headers.remove(http::HeaderId::Date);
    }
    start.content_type = response.content_type;
    start.charset = response.charset;
    start.content_length = response.content_length;
    if (response.last_modified >= 0) {
        format_http_date(response.last_modified, modified);
        start.last_modified = {modified, 29};
    }
    start.location = absolute_location(request, core);
    start.has_body = !request.header_only;
    if (response.status == 204 || response.status == 304 || response.status < 200) {
        start.has_body = false;
        start.content_length = -1;
        if (response.status != 304 || response.content_type.empty()) {
            start.content_type = {};
        }
    }
    start.may_chunk = core.chunked_transfer_encoding;
    start.keep_alive = wants_keep_alive(request, core);
    start.keep_alive_header_s = static_cast<std::uint32_t>(core.keepalive_header_s);
    start.headers = &response.headers;
    request.exchange.set_policy({.keep_alive_timeout = core.keepalive_timeout,
                                 .send_timeout = core.send_timeout,
                                 .lingering_time = core.lingering_time,
                                 .lingering_timeout = core.lingering_timeout,
                                 .lingering = static_cast<std::uint8_t>(core.lingering_close),
                                 .reset_timed_out = core.reset_timedout_connection,
                                 .postpone_output = core.postpone_output});
    if (response.trailers != nullptr) {
        request.exchange.set_trailers(response.trailers);
    }
    request.exchange.start_response(start);
}

// Bytes a second that this response may be sent with; 0: no limit.
std::uint64_t rate_of(Request& request, const CoreLocationSettings& core) {
    if (request.limit_rate >= 0) {
        return static_cast<std::uint64_t>(request.limit_rate);
    }
    return core.limit_rate ? conf::parse_size(core.limit_rate.evaluate(request)).value_or(0) : 0;
}

BodyPart take_piece(BodyPart& part, std::size_t bytes) {
    BodyPart piece = part;
    if (part.file >= 0) {
        piece.file_size = bytes;
        part.offset += static_cast<off_t>(bytes);
        part.file_size -= bytes;
    } else {
        piece.bytes = part.bytes.substr(0, bytes);
        part.bytes.remove_prefix(bytes);
    }
    return piece;
}

// limit_rate: sends what the time since the request's start allows, then waits until more is
// allowed.
async::Task<Status> write_limited(Request& request, BodyChunk chunk, std::uint64_t rate) {
    const auto& core = request.get<CoreLocationSettings>();
    const std::uint64_t free_bytes =
        core.limit_rate_after
            ? conf::parse_size(core.limit_rate_after.evaluate(request)).value_or(0)
            : 0;
    for (std::size_t i = 0; i < chunk.parts.size(); ++i) {
        BodyPart part = chunk.parts[i];
        while (part.size() > 0) {
            const std::uint64_t seconds =
                (Clock::current().monotonic_ms() - request.start_mono_ms) / 1000 + 1;
            const std::uint64_t allowed = rate * seconds + free_bytes;
            const std::uint64_t sent = request.exchange.body_bytes_sent();
            if (sent >= allowed) {
                co_await async::sleep(request.reactor(),
                                      Milliseconds((sent - allowed) * 1000 / rate + 1));
                continue;
            }
            const BodyPart piece = take_piece(
                part,
                static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), allowed - sent)));
            const bool last = chunk.flags.last && part.size() == 0 && i + 1 == chunk.parts.size();
            const Status written = co_await request.exchange.write(
                {&piece, 1}, {.flush = true, .last = last}, core.send_timeout);
            if (!written || last) {
                co_return written;
            }
        }
    }
    co_return co_await request.exchange.write({}, chunk.flags, core.send_timeout);
}

}  // namespace

async::Task<Status> next_head(Request& request, FilterPosition from) {
    const auto& filters = request.location->filters;
    for (FilterPosition i = from; i < filters.size(); ++i) {
        const Filter& filter = *filters[i];
        if (filter.adjust_head != nullptr) {
            if (Status adjusted = filter.adjust_head(request); !adjusted) {
                return async::Task<Status>::ready(adjusted);
            }
        } else if (filter.head != nullptr) {
            return filter.head(request, i + 1);
        }
    }
    request.response.head_sent = true;
    write_head(request);
    return async::Task<Status>::ready(Status{});
}

async::Task<Status> next_body(Request& request, BodyChunk chunk, FilterPosition from) {
    const auto& filters = request.location->filters;
    for (FilterPosition i = from; i < filters.size(); ++i) {
        if (filters[i]->body != nullptr) {
            return filters[i]->body(request, chunk, i + 1);
        }
    }
    if (chunk.flags.last) {
        request.response.ended = true;
    }
    if (request.streaming != nullptr && request.streaming->is_root()) [[unlikely]] {
        return request.streaming->order().write(request.streaming->node(), chunk);
    }
    return write_response(request, chunk);
}

async::Task<Status> write_response(Request& request, BodyChunk chunk) {
    const auto& core = request.get<CoreLocationSettings>();
    if (request.limit_rate > 0 || (core.limit_rate && request.limit_rate != 0)) [[unlikely]] {
        if (const std::uint64_t rate = rate_of(request, core); rate > 0) {
            return write_limited(request, chunk, rate);
        }
    }
    return request.exchange.write(chunk.parts, chunk.flags, core.send_timeout);
}

}  // namespace moongate::engine
