#include "http/h1_parser.h"

#include <cstring>

#include "base/strings.h"
#include "http/byte_scan.h"
#include "http/field_parser.h"

namespace moongate::http {
namespace {

// Those that nginx refuses when they are repeated.
constexpr HeaderIdSet kUniqueInRequests{HeaderId::Host,
                                        HeaderId::ContentLength,
                                        HeaderId::TransferEncoding,
                                        HeaderId::IfModifiedSince,
                                        HeaderId::IfUnmodifiedSince,
                                        HeaderId::IfMatch,
                                        HeaderId::IfNoneMatch,
                                        HeaderId::IfRange,
                                        HeaderId::ContentRange,
                                        HeaderId::Expect,
                                        HeaderId::Authorization,
                                        HeaderId::ProxyAuthorization};
constexpr HeaderIdSet kUniqueInResponses{HeaderId::ContentLength, HeaderId::TransferEncoding};

constexpr int kMaxLeadingLines = 4;

std::string_view between(const char* from, const char* to) {
    return {from, static_cast<std::size_t>(to - from)};
}

HeadError parse_scheme_and_authority(RequestHead& request, Arena& arena) {
    const std::string_view target = request.target;
    std::size_t at = 0;
    while (at < target.size() && (is_alpha(target[at]) || is_digit(target[at]) ||
                                  target[at] == '+' || target[at] == '-' || target[at] == '.')) {
        ++at;
    }
    if (!target.substr(at).starts_with("://")) {
        return HeadError::InvalidRequest;
    }
    request.form = TargetForm::Absolute;
    request.scheme = target.substr(0, at);
    const std::size_t start = at + 3;
    const std::size_t end = target.find_first_of("/?#", start);
    request.authority = target.substr(start, end == std::string_view::npos ? end : end - start);
    if (request.authority.empty()) {
        return HeadError::InvalidRequest;
    }
    if (end == std::string_view::npos) {
        request.uri = "/";
    } else if (target[end] == '/') {
        request.uri = target.substr(end);
    } else {
        request.uri = arena.concat(std::string_view("/"), target.substr(end));
    }
    return HeadError::None;
}

// RFC 9112 §3.2.3: host and port, both there.
bool is_authority(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
        return false;
    }
    for (char c : text.substr(colon + 1)) {
        if (!is_digit(c)) {
            return false;
        }
    }
    return text.find_first_of("/?#@") == std::string_view::npos;
}

void split_query(RequestHead& request) {
    const auto* mark =
        static_cast<const char*>(std::memchr(request.uri.data(), '?', request.uri.size()));
    request.has_query = mark != nullptr;
    if (mark == nullptr) {
        request.path = request.uri;
        request.query = {};
        return;
    }
    const char* end = request.uri.data() + request.uri.size();
    request.path = between(request.uri.data(), mark);
    request.query = between(mark + 1, end);
}

HeadError parse_target(RequestHead& request, Arena& arena) {
    const std::string_view target = request.target;
    request.scheme = {};
    request.authority = {};
    if (target.empty()) {
        return HeadError::InvalidRequest;
    }
    if (request.method == Method::Connect) [[unlikely]] {
        if (!is_authority(target)) {
            return HeadError::InvalidRequest;
        }
        request.form = TargetForm::Authority;
        request.authority = target;
        request.uri = "/";
    } else if (target.front() == '/') [[likely]] {
        request.form = TargetForm::Origin;
        request.uri = target;
    } else if (is_alpha(target.front())) {
        const HeadError error = parse_scheme_and_authority(request, arena);
        if (error != HeadError::None) {
            return error;
        }
    } else if (target == "*" && request.method == Method::Options) {
        request.form = TargetForm::Asterisk;
        request.uri = target;
    } else {
        return HeadError::InvalidRequest;
    }
    split_query(request);
    return HeadError::None;
}

// "HTTP/" DIGIT "." DIGIT at `at`; 0 where it is not there.
bool parse_version(const char* at, const char* end, int& major, int& minor) {
    if (end - at < 8 || std::memcmp(at, "HTTP/", 5) != 0 || !is_digit(at[5]) || at[6] != '.' ||
        !is_digit(at[7])) {
        return false;
    }
    major = at[5] - '0';
    minor = at[7] - '0';
    return true;
}

HeadError request_version(const char* at, const char* end, RequestHead& request) {
    if (!parse_version(at, end, request.major, request.minor) || request.major == 0) {
        return HeadError::InvalidRequest;
    }
    return request.major > 1 ? HeadError::InvalidVersion : HeadError::None;
}

// Parses the line that begins at `at`; leaves `at` behind it.
HeadError parse_request_line(const char*& at, const char* end, const ParseLimits& limits,
                             Arena& arena, RequestHead& request) {
    const char* const line = at;
    if (end - at > 4 && std::memcmp(at, "GET ", 4) == 0) {
        request.method = Method::Get;
        at += 3;
    } else {
        while (at != end && scan::is(*at, scan::kToken)) {
            ++at;
        }
        if (at == end || at == line || *at != ' ') {
            return HeadError::InvalidMethod;
        }
        request.method = parse_method(between(line, at));
    }
    request.method_text = between(line, at);
    const char* const target = ++at;
    at = scan::target_end(at, end, line);
    request.target = between(target, at);
    if (end - at < 2) {
        return HeadError::InvalidRequest;
    }
    if (*at != ' ') {
        return at[0] == '\r' && at[1] == '\n' && at != target ? HeadError::Http09
                                                              : HeadError::InvalidRequest;
    }
    ++at;
    const HeadError version = request_version(at, end, request);
    if (version != HeadError::None) {
        return version;
    }
    at += 8;
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n') {
        return HeadError::InvalidRequest;
    }
    request.request_line = between(line, at);
    at += 2;
    if (static_cast<std::size_t>(at - line) > limits.max_request_line) {
        return HeadError::UriTooLong;
    }
    return parse_target(request, arena);
}

std::string_view first_line(std::string_view head) {
    return head.substr(0, head.find_first_of("\r\n"));
}

}  // namespace

ParseResult parse_request_head(std::string_view head, const ParseLimits& limits, Arena& arena,
                               RequestHead& request) {
    request.headers.bind(arena);
    const char* at = head.data();
    const char* const end = at + head.size();
    for (int lines = 0; lines < kMaxLeadingLines && end - at >= 2 && at[0] == '\r' && at[1] == '\n';
         ++lines) {
        at += 2;
    }
    const std::string_view rest = between(at, end);
    HeadError error = parse_request_line(at, end, limits, arena, request);
    if (error == HeadError::None && head.size() > limits.max_head) {
        error = HeadError::HeadTooLarge;
    }
    if (error != HeadError::None) {
        return {.error = error, .detail = first_line(rest)};
    }
    const FieldRules rules{.max_line = limits.max_header_line,
                           .max_fields = limits.max_headers,
                           .drop_invalid_names = limits.ignore_invalid_headers,
                           .allow_underscores = limits.underscores_in_headers,
                           .unique = kUniqueInRequests};
    return parse_fields({at, end, head.data()}, rules, request.headers);
}

ParseResult parse_response_head(std::string_view head, const ParseLimits& limits, Arena& arena,
                                ResponseHead& response) {
    response.headers.bind(arena);
    const char* at = head.data();
    const char* const end = at + head.size();
    const auto invalid = [head] {
        return ParseResult{.error = HeadError::InvalidStatusLine, .detail = first_line(head)};
    };
    if (head.size() > limits.max_head) {
        return {.error = HeadError::ResponseTooLarge, .detail = first_line(head)};
    }
    if (!parse_version(at, end, response.major, response.minor) || response.major != 1) {
        return invalid();
    }
    at += 8;
    if (end - at < 4 || *at++ != ' ' || !is_digit(at[0]) || !is_digit(at[1]) || !is_digit(at[2])) {
        return invalid();
    }
    const char* const status = at;
    response.status = (at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0');
    at += 3;
    const char* reason = at;
    if (at != end && *at == ' ') {
        reason = ++at;
    } else if (at != end && *at != '\r') {
        return invalid();
    }
    at = scan::find_control(at, end, head.data());
    while (at != end && *at != '\r' && *at != '\n' && *at != '\0') {
        at = scan::find_control(at + 1, end, head.data());
    }
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n' || response.status < 100) {
        return invalid();
    }
    response.reason = between(reason, at);
    response.status_text = between(status, at);
    at += 2;
    if (static_cast<std::size_t>(at - head.data()) > limits.max_request_line) {
        return {.error = HeadError::ResponseTooLarge, .detail = first_line(head)};
    }
    const FieldRules rules{.max_line = limits.max_header_line,
                           .max_fields = limits.max_headers,
                           .drop_invalid_names = false,
                           .allow_underscores = true,
                           .allow_controls = true,
                           .unique = kUniqueInResponses};
    return parse_fields({at, end, head.data()}, rules, response.headers);
}

ParseResult parse_trailers(std::string_view lines, const ParseLimits& limits, HeaderList& headers) {
    const FieldRules rules{.max_line = limits.max_header_line,
                           .max_fields = limits.max_headers,
                           .drop_invalid_names = limits.ignore_invalid_headers,
                           .allow_underscores = limits.underscores_in_headers};
    return parse_fields({lines.data(), lines.data() + lines.size(), lines.data()}, rules, headers);
}

}  // namespace moongate::http
