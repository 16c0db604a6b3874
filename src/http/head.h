// Message heads as the rest of the engine sees them, whatever protocol they came over. All views
// live in the caller's receive buffer or in the request's arena. Source: RFC 9112 §3 and §4, RFC
// 9110. One thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/header_list.h"
#include "http/method.h"

namespace moongate::http {

// RFC 9112 §3.2.
enum class TargetForm : std::uint8_t { Origin, Absolute, Authority, Asterisk };

struct RequestHead {
    Method method = Method::Other;
    TargetForm form = TargetForm::Origin;
    bool has_query = false;  // "/a?" has an empty query, "/a" none
    int major = 1;
    int minor = 1;
    std::string_view method_text;
    std::string_view request_line;  // the whole line without CRLF: $request
    std::string_view target;        // as sent: "/a?b", "http://h/a?b", "h:443", "*"
    // The target's path and query, always beginning with '/' ("*" in asterisk form, "/" in
    // authority form and where an absolute form has no path): what nginx calls unparsed_uri and
    // what normalize_uri() takes.
    std::string_view uri;
    std::string_view path;       // uri before '?', still encoded
    std::string_view query;      // behind '?', a fragment (#…) included as sent
    std::string_view scheme;     // of an absolute form, else empty
    std::string_view authority;  // of an absolute or authority form: "host:port", else empty
    HeaderList headers;
};

struct ResponseHead {
    int major = 1;
    int minor = 1;
    int status = 0;
    std::string_view reason;
    std::string_view status_text;  // "200 OK": status and reason as sent, what nginx forwards
    HeaderList headers;
};

}  // namespace moongate::http
