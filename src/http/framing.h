// How long a message's body is and whether the connection outlives it: the rules that request
// smuggling attacks, so they are strict where nginx is and stricter where it is not
// (docs/compatibility.md). Source: RFC 9112 §6 and §9, RFC 9110 §7.2, §8.6 and §10.1.1. Pure
// functions. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/arena.h"
#include "http/head.h"
#include "http/head_error.h"

namespace moongate::http {

enum class BodyKind : std::uint8_t { None, Length, Chunked, UntilClose };

struct RequestFraming {
    HeadError error = HeadError::None;
    BodyKind body = BodyKind::None;
    bool keep_alive = false;
    bool expect_continue = false;     // "Expect: 100-continue" in HTTP/1.1
    bool upgrade = false;             // Connection: upgrade, with an Upgrade header
    bool has_content_length = false;  // "Content-Length: 0" was sent, or more
    std::uint16_t port = 0;           // of Host or the target; 0: none
    std::uint64_t content_length = 0;
    std::string_view host;  // lower case, without port and trailing dot: what $host and server_name
                            // use; may be empty
    std::string_view upgrade_protocol;  // the Upgrade header's value where `upgrade`
};

// For HTTP/1 alone: HTTP/2 and 3 frame by their own layers. `arena` takes the host where it had to
// be lowered. An error means 4xx or 501 and a closed connection.
RequestFraming request_framing(const RequestHead& request, Arena& arena);

struct ResponseFraming {
    HeadError error = HeadError::None;
    BodyKind body = BodyKind::None;
    bool keep_alive =
        false;  // as far as the peer is concerned; never where the body ends with the connection
    bool upgrade = false;  // 101
    bool has_content_length =
        false;  // also for HEAD and 304, where it describes the body that is not sent
    std::uint64_t content_length = 0;
};

// `request_method`: what the response answers. A 1xx other than 101 has no body and another head
// follows it.
ResponseFraming response_framing(const ResponseHead& response, Method request_method);

struct HostPort {
    std::string_view host;  // lower case, no trailing dot; an IPv6 literal keeps its brackets
    std::uint16_t port = 0;
};

// nginx's rules for a Host header or authority: letters, digits and the sub-delims, no "..", a port
// up to 65535. Nothing where it is invalid or empty. `arena` takes the host where it had to be
// lowered.
std::optional<HostPort> validate_host(std::string_view text, Arena& arena);

// The whole of `text` as decimal digits that fit 63 bits; nothing else.
std::optional<std::uint64_t> parse_content_length(std::string_view text);

// Whether a comma-separated field value has `token` among its elements, case-insensitively.
bool has_token(std::string_view list, std::string_view token);

}  // namespace moongate::http
