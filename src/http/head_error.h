// What can be wrong with a message head or its framing: the HTTP status each fault answers with and
// the words nginx logs for it, so that log scanners keep working. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace moongate::http {

enum class HeadError : std::uint8_t {
    None,
    InvalidMethod,
    InvalidRequest,  // request line: target, spaces, line ends
    InvalidVersion,  // HTTP/2.0 and above in a request line
    Http09,          // a request line without a version
    UriTooLong,      // the request line is longer than a large header buffer
    HeaderTooLong,   // one header line is
    HeadTooLarge,    // all of them together are
    TooManyHeaders,
    InvalidHeaderLine,
    DuplicateHeader,
    InvalidHost,
    InvalidHostInRequestLine,
    DuplicateHost,
    MissingHost,
    InvalidContentLength,
    LengthAndEncoding,
    EncodingInHttp10,
    InvalidTransferEncoding,
    UnknownTransferEncoding,
    ConnectWithBody,
    UnknownExpectation,
    InvalidStatusLine,  // responses only, from here on
    ResponseTooLarge,
};

// The status for the client: 400, 414, 417, 494 (nginx's internal form of 400), 501, 505; 502 for
// those of responses. 0 for None.
int http_status(HeadError error);
// nginx's log text without the part it quotes from the message, such as "client sent invalid method
// while reading client request line".
std::string_view client_log_text(HeadError error);
// The same for the head of an upstream's response: "upstream sent invalid header" and the like.
std::string_view upstream_log_text(HeadError error);

}  // namespace moongate::http
