// HTTP/1 message heads: finding their end in a stream, and parsing them into RequestHead and
// ResponseHead. Heads are parsed where they lie: every view points into the caller's buffer. Strict
// about everything that peers could read differently: line ends are CRLF, no folding, no space
// before a colon. No I/O, no state but HeadScan. Source: RFC 9112 §2 to §5, nginx's
// ngx_http_parse.c for limits and invalid headers. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/arena.h"
#include "http/head.h"
#include "http/head_error.h"

namespace moongate::http {

struct ParseLimits {
    std::size_t max_request_line =
        8192;  // large_client_header_buffers' size; of a response, its status line
    std::size_t max_header_line = 8192;  // the same
    std::size_t max_head = 4 * 8192;     // its number × size
    std::uint32_t max_headers = 1000;    // max_headers
    bool ignore_invalid_headers = true;
    bool underscores_in_headers = false;
    bool operator==(const ParseLimits&) const = default;
};

// How far an incomplete head was looked through. One a connection and direction; reset for each
// head.
struct HeadScan {
    std::size_t scanned = 0;     // bytes known to hold no end of a head
    std::size_t line_start = 0;  // where the line that is still open began
    bool in_first_line = true;
};

struct HeadScanResult {
    std::size_t end = 0;  // bytes of the head with its empty line; 0: more bytes are needed
    HeadError error = HeadError::None;
};

// Looks for the end of a head in `bytes`, which begins where the head does and grows between calls
// (it may also have moved). Each byte is looked at once, however small the pieces. A head that can
// no longer become valid is refused at once: a line or the head over its limit, a request line that
// does not begin with a method.
HeadScanResult scan_request_head(std::string_view bytes, const ParseLimits& limits, HeadScan& scan);
HeadScanResult scan_response_head(std::string_view bytes, const ParseLimits& limits,
                                  HeadScan& scan);

// The position behind the empty line that ends a head, or npos. `from`: bytes searched in vain
// before. A head that ends in bare line feeds is found too, for the parser to refuse. Empty lines
// before the head are passed over, a few of them.
std::size_t find_head_end(std::string_view bytes, std::size_t from = 0);

struct ParseResult {
    HeadError error = HeadError::None;
    std::uint32_t ignored_headers = 0;  // lines dropped because of ignore_invalid_headers
    std::string_view detail;            // the line at fault, or the first one dropped
    explicit operator bool() const { return error == HeadError::None; }
};

// `head` is a whole head, from scan_request_head or find_head_end. Fills `request`, whose headers
// are bound to `arena`. Headers that nginx wants once (Host, Content-Length, If-* and so on) are
// refused when repeated. Framing is decided by request_framing() (framing.h).
ParseResult parse_request_head(std::string_view head, const ParseLimits& limits, Arena& arena,
                               RequestHead& request);

// The same for an upstream's response. Invalid header names are dropped as nginx does for
// upstreams.
ParseResult parse_response_head(std::string_view head, const ParseLimits& limits, Arena& arena,
                                ResponseHead& response);

// Field lines alone, ended by an empty line: a trailer section. Appends to `headers`, which must be
// bound.
ParseResult parse_trailers(std::string_view lines, const ParseLimits& limits, HeaderList& headers);

}  // namespace moongate::http
