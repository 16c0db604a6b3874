// Core variables of the response, of the request's body, and $limit_rate.
#include <fmt/format.h>

#include "conf/values.h"
#include "engine/core_settings.h"
#include "engine/core_variables.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "engine/variables_headers.h"

namespace moongate::engine {
namespace {

using conf::PrefixName;
using conf::VariableFlags;
using conf::VariableRow;
using conf::VariableValue;

void set_number(Request& request, VariableValue& value, std::uint64_t number) {
    value.set(request.arena().copy(fmt::format_int(number).str()));
}

void get_status(Request& request, std::uintptr_t, VariableValue& value) {
    const Response& response = request.response;
    const int status = response.forced_status != 0 ? response.forced_status : response.status;
    value.set(request.arena().copy(fmt::format("{:03}", status)));
}

void get_bytes_sent(Request& request, std::uintptr_t, VariableValue& value) {
    set_number(request, value, request.main->exchange.bytes_sent());
}

void get_body_bytes_sent(Request& request, std::uintptr_t, VariableValue& value) {
    set_number(request, value, request.main->exchange.body_bytes_sent());
}

void get_request_length(Request& request, std::uintptr_t, VariableValue& value) {
    set_number(request, value, request.main->exchange.request_bytes());
}

// Sessions take requests up one by one, so none counts as pipelined.
void get_pipe(Request&, std::uintptr_t, VariableValue& value) {
    value.set(".");
}

void get_request_completion(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.response.ended ? "OK" : "");
}

// --- the request's body --------------------------------------------------------------------------

void get_request_body(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.body == nullptr || request.body->file >= 0 || request.body->memory.empty()) {
        value.set_missing();
    } else {
        value.set(request.body->memory);
    }
}

void get_request_body_file(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.body == nullptr || request.body->file < 0) {
        value.set_missing();
    } else {
        value.set(request.body->file_name);
    }
}

// --- the response's headers ----------------------------------------------------------------------

void set_if_present(std::string_view text, VariableValue& value) {
    if (text.empty()) {
        value.set_missing();
    } else {
        value.set(text);
    }
}

void get_sent_content_type(Request& request, std::uintptr_t, VariableValue& value) {
    const Response& response = request.response;
    if (!response.content_type.empty() && !response.charset.empty()) {
        value.set(request.arena().concat(response.content_type, "; charset=", response.charset));
        return;
    }
    set_if_present(response.content_type, value);
}

void get_sent_content_length(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.response.content_length >= 0) {
        set_number(request, value, static_cast<std::uint64_t>(request.response.content_length));
    } else {
        value.set_missing();
    }
}

void get_sent_location(Request& request, std::uintptr_t, VariableValue& value) {
    if (!request.response.location.empty()) {
        value.set(request.response.location);
        return;
    }
    get_header_by_variable_name(request.response.headers, "location", request.arena(), value, ", ");
}

void get_sent_last_modified(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.response.last_modified < 0) {
        value.set_missing();
        return;
    }
    char text[30];
    format_http_date(request.response.last_modified, text);
    value.set(request.arena().copy({text, 29}));
}

void get_sent_connection(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.response.status == 101) {
        value.set("upgrade");
    } else {
        value.set(request.main->exchange.may_keep_alive() ? "keep-alive" : "close");
    }
}

void get_sent_keep_alive(Request& request, std::uintptr_t, VariableValue& value) {
    const auto seconds = request.get<CoreLocationSettings>().keepalive_header_s;
    if (seconds == 0 || !request.main->exchange.may_keep_alive()) {
        value.set_missing();
        return;
    }
    value.set(request.arena().copy(fmt::format("timeout={}", seconds)));
}

void get_sent_transfer_encoding(Request& request, std::uintptr_t, VariableValue& value) {
    const Response& response = request.response;
    const int status = response.status;
    const bool no_body = status == 304 || status == 204 || status < 200;
    const auto& head = request.main->exchange.head();
    const bool chunked = response.head_sent && response.content_length < 0 && !no_body &&
                         !request.header_only && head.major == 1 && head.minor == 1 &&
                         request.get<CoreLocationSettings>().chunked_transfer_encoding;
    if (chunked) {
        value.set("chunked");
    } else {
        value.set_missing();
    }
}

template <http::HeaderId Id>
void get_sent(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.response.headers.has(Id)) {
        value.set(request.response.headers.joined(Id));
    } else {
        value.set_missing();
    }
}

void get_sent_http(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const PrefixName*>(data);
    get_header_by_variable_name(request.response.headers, name.rest, request.arena(), value, ", ");
}

void get_sent_trailer(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const PrefixName*>(data);
    if (request.response.trailers == nullptr) {
        value.set_missing();
        return;
    }
    get_header_by_variable_name(*request.response.trailers, name.rest, request.arena(), value,
                                ", ");
}

// --- $limit_rate ---------------------------------------------------------------------------------

void get_limit_rate(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.limit_rate >= 0) {
        set_number(request, value, static_cast<std::uint64_t>(request.limit_rate));
    } else {
        value.set("0");
    }
}

void set_limit_rate(Request& request, std::uintptr_t, std::string_view text) {
    const auto rate = conf::parse_size(text);
    if (!rate) {
        request.log_error(LogLevel::Error, "invalid $limit_rate \"{}\"", text);
        return;
    }
    request.limit_rate = *rate;
}

constexpr auto kNoCache = VariableFlags::NoCache;
constexpr auto kNone = VariableFlags::None;

constexpr VariableRow kRows[] = {
    {"status", &get_status, nullptr, 0, kNoCache, "The response's status."},
    {"bytes_sent", &get_bytes_sent, nullptr, 0, kNone, "Bytes sent, the head included."},
    {"body_bytes_sent", &get_body_bytes_sent, nullptr, 0, kNone, "Bytes of the body sent."},
    {"request_length", &get_request_length, nullptr, 0, kNoCache,
     "Bytes of the request: line, head and body."},
    {"pipe", &get_pipe, nullptr, 0, kNone, "\"p\" for a pipelined request, else \".\"."},
    {"request_completion", &get_request_completion, nullptr, 0, kNone,
     "\"OK\" where the response was completed."},
    {"request_body", &get_request_body, nullptr, 0, kNone,
     "The request's body where it was read and is in memory."},
    {"request_body_file", &get_request_body_file, nullptr, 0, kNone,
     "The file that holds the request's body."},
    {"sent_http_content_type", &get_sent_content_type, nullptr, 0, kNone,
     "The response's Content-Type."},
    {"sent_http_content_length", &get_sent_content_length, nullptr, 0, kNone,
     "The response's Content-Length."},
    {"sent_http_location", &get_sent_location, nullptr, 0, kNone, "The response's Location."},
    {"sent_http_last_modified", &get_sent_last_modified, nullptr, 0, kNone,
     "The response's Last-Modified."},
    {"sent_http_connection", &get_sent_connection, nullptr, 0, kNone, "The response's Connection."},
    {"sent_http_keep_alive", &get_sent_keep_alive, nullptr, 0, kNone, "The response's Keep-Alive."},
    {"sent_http_transfer_encoding", &get_sent_transfer_encoding, nullptr, 0, kNone,
     "The response's Transfer-Encoding."},
    {"sent_http_cache_control", &get_sent<http::HeaderId::CacheControl>, nullptr, 0, kNone,
     "The response's Cache-Control."},
    {"sent_http_link", &get_sent<http::HeaderId::Link>, nullptr, 0, kNone, "The response's Link."},
    {"sent_http_", &get_sent_http, nullptr, 0, VariableFlags::Prefix, "A header of the response."},
    {"sent_trailer_", &get_sent_trailer, nullptr, 0, VariableFlags::Prefix,
     "A trailer of the response."},
    {"limit_rate", &get_limit_rate, &set_limit_rate, 0, VariableFlags::Changeable | kNoCache,
     "Bytes a second that the response is sent with; 0: no limit."},
};

}  // namespace

std::span<const VariableRow> response_variable_rows() {
    return kRows;
}

}  // namespace moongate::engine
