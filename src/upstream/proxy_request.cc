// ProxyProtocol: the request to the server. Framing is ours alone: Content-Length and
// Transfer-Encoding say what is really sent, whatever the configuration sets (HARDENING 11).
#include <cstring>

#include "engine/location.h"
#include "engine/request_body.h"
#include "http/h1_writer.h"
#include "http/uri.h"
#include "upstream/proxy_protocol.h"

namespace moongate::upstream {

namespace {

// What a client's Connection header cannot take away from the request: who it is, what it may do,
// and what proxies before us said of it.
constexpr http::HeaderIdSet kNotRemovable{http::HeaderId::Host,
                                          http::HeaderId::ContentType,
                                          http::HeaderId::Cookie,
                                          http::HeaderId::Authorization,
                                          http::HeaderId::XForwardedFor,
                                          http::HeaderId::XForwardedProto,
                                          http::HeaderId::XForwardedHost,
                                          http::HeaderId::XForwardedPort,
                                          http::HeaderId::XRealIp,
                                          http::HeaderId::Forwarded,
                                          http::HeaderId::Via,
                                          http::HeaderId::XRequestId,
                                          http::HeaderId::Traceparent,
                                          http::HeaderId::XForwardedPrefix};

struct Field {
    std::string_view name;
    std::string_view value;
};

}  // namespace

std::string_view map_proxy_uri(std::string_view pass_uri, std::string_view location,
                               std::string_view uri, std::string_view args, bool escape,
                               Arena& arena) {
    std::string_view rest = uri;
    std::string_view front;
    if (!pass_uri.empty() && uri.starts_with(location)) {
        front = pass_uri;
        rest.remove_prefix(location.size());
    }
    if (escape || (!rest.empty() && !http::valid_request_target(rest))) {
        rest = http::escape_uri(rest, http::EscapeType::Uri, arena);
    }
    if (front.empty() && args.empty()) {
        return rest;
    }
    return arena.concat(front, rest, args.empty() ? "" : "?", args);
}

std::string_view ProxyProtocol::map_uri() {
    if (settings_.pass->dynamic && !vars_.uri.empty()) {
        return vars_.uri;
    }
    if (vars_.uri.empty() && request_.valid_unparsed_uri) {
        return request_.exchange.head().uri;
    }
    const bool quoted =
        request_.internal || request_.exchange.head().path.find('%') != std::string_view::npos;
    // After `rewrite ... break` the URI no longer is what the location matched: it goes as it is.
    const std::string_view replacement = request_.valid_location ? vars_.uri : std::string_view();
    return map_proxy_uri(replacement, vars_.location, request_.uri, request_.args, quoted,
                         request_.arena());
}

// The names in the client's Connection header that concern this hop alone; mostly none.
std::string_view ProxyProtocol::connection_tokens() const {
    const http::Header* header = request_.headers.find(http::HeaderId::Connection);
    if (header == nullptr || header->value == "keep-alive" ||
        equals_ignore_case(header->value, "keep-alive") ||
        equals_ignore_case(header->value, "close") ||
        equals_ignore_case(header->value, "upgrade")) {
        return {};
    }
    return request_.headers.joined(http::HeaderId::Connection);
}

bool ProxyProtocol::build(std::int64_t body_size) {
    Arena& arena = request_.arena();
    std::string_view method = request_.method_text;
    if (settings_.method) {
        method = settings_.method.evaluate(request_);
        if (!http::valid_header_name(method)) {
            request_.log_error(LogLevel::Error, "invalid \"proxy_method\" value \"{}\"", method);
            return false;
        }
    }
    method_ = http::parse_method(method);
    uri_ = map_uri();
    if (uri_.empty()) {
        request_.log_error(LogLevel::Error, "zero length URI to proxy");
        return false;
    }
    if (!http::valid_request_target(uri_)) {
        request_.log_error(LogLevel::Error, "invalid URI \"{}\" to proxy", uri_);
        return false;
    }
    // The fields that are set: each value is evaluated once.
    std::span<Field> fields = arena.make_array<Field>(settings_.set_headers.size());
    std::size_t count = 0;
    std::string_view host = vars_.host_header;
    for (const SetHeader& header : settings_.set_headers) {
        const std::string_view value = header.value.evaluate(request_);
        if (!http::valid_header_value(value)) {
            request_.log_error(LogLevel::Error, "invalid value of \"proxy_set_header {}\"",
                               header.name);
            return false;
        }
        if (header.id == http::HeaderId::Host) {
            host = value.empty() && settings_.http_minor == 1 ? vars_.host_header : value;
        } else if (!value.empty() && header.id != http::HeaderId::ContentLength &&
                   header.id != http::HeaderId::TransferEncoding) {
            fields[count++] = {header.name, value};
        }
    }
    fields = fields.first(count);
    char digits[http::kMaxDecimalDigits];
    std::string_view length;
    if (body_size >= 0) {
        http::ByteWriter number(digits);
        number.append_number(static_cast<std::uint64_t>(body_size));
        length = {digits, static_cast<std::size_t>(number.position() - digits)};
    }
    const std::string_view hop = connection_tokens();
    const auto passes = [&](const http::Header& header) {
        if (settings_.overridden.contains(header.id, header.hash, header.name) ||
            header.id == http::HeaderId::Trailer || header.id == http::HeaderId::Http2Settings) {
            return false;
        }
        return hop.empty() || kNotRemovable.contains(header.id) ||
               !http::has_token(hop, header.name);
    };
    std::size_t size = method.size() + uri_.size() + sizeof("  HTTP/1.1\r\n\r\n") +
                       http::header_size("Host", host) +
                       http::header_size("Transfer-Encoding", "chunked") +
                       http::header_size("Content-Length", length);
    for (const Field& field : fields) {
        size += http::header_size(field.name, field.value);
    }
    if (settings_.pass_request_headers) {
        for (const http::Header& header : request_.headers) {
            size += http::header_size(header.name, header.value);
        }
    }
    char* to = arena.allocate_chars(size);
    http::ByteWriter writer(to);
    writer.append(method);
    writer.append(' ');
    writer.append(uri_);
    writer.append(settings_.http_minor == 1 ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n");
    if (!host.empty()) {
        writer.append_header("Host", host);
    }
    if (body_size >= 0) {
        writer.append_header("Content-Length", length);
    } else if (body_size == kChunked) {
        writer.append_header("Transfer-Encoding", "chunked");
    }
    for (const Field& field : fields) {
        writer.append_header(field.name, field.value);
    }
    if (settings_.pass_request_headers) {
        for (const http::Header& header : request_.headers) {
            if (passes(header)) {
                writer.append_header(header.name, header.value);
            }
        }
    }
    writer.append("\r\n");
    head_bytes_ = {to, static_cast<std::size_t>(writer.position() - to)};
    body_size_ = body_size;
    return true;
}

bool ProxyProtocol::rebuild(http::BodyPart& body, bool streamed) {
    std::int64_t size = body_size_;
    if (settings_.set_body) {
        body.bytes = settings_.set_body.evaluate(request_);
        size = static_cast<std::int64_t>(body.bytes.size());
    } else if (settings_.pass_request_body && !streamed) {
        if (request_.body != nullptr && request_.body->size > 0) {
            body = request_.body->part();
            size = static_cast<std::int64_t>(request_.body->size);
        } else if (size > 0) {
            size = 0;
        }
    }
    return build(size);
}

}  // namespace moongate::upstream
