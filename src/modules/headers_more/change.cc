// What headers-more's rules do to a message. The fields that the engine keeps apart (Content-Type,
// Content-Length, Last-Modified, Location) are mapped here.
#include "base/strings.h"
#include "engine/request.h"
#include "http/framing.h"
#include "modules/headers_more/rules.h"

namespace moongate::modules {

namespace {

using http::HeaderId;

std::string_view type_without_parameters(std::string_view type) {
    return trim(type.substr(0, type.find(';')));
}

// The first field of the name gets the value, further ones go; an empty value takes all away.
// Returns whether there was any.
bool change_fields(http::HeaderList& headers, const FieldRule& field, std::string_view value) {
    bool matched = false;
    for (http::Header& header : headers) {
        if (field.matches(header.name)) {
            if (!matched && !value.empty()) {
                header.value = value;
            }
            matched = true;
        }
    }
    if (matched) {
        bool keep = !value.empty();
        headers.remove_if([&](const http::Header& header) {
            const bool drop = field.matches(header.name) && !keep;
            keep = keep && !field.matches(header.name);
            return drop;
        });
    }
    return matched;
}

// A field that stands once and takes the statement's spelling. What the engine adds by itself stays
// away while the list has an empty one.
void set_single(http::HeaderList& headers, const FieldRule& field, std::string_view value) {
    if (value.empty() && field.id != HeaderId::Server && field.id != HeaderId::Date) {
        headers.remove(field.id);
    } else {
        headers.set(field.name, value);
    }
}

void clear_by_prefix(engine::Response& response, const FieldRule& field) {
    if (field.matches("Location")) {
        response.location = {};
    }
    if (field.matches("Last-Modified")) {
        response.last_modified = -1;
    }
}

Status change_field(engine::Request& request, const FieldRule& field, std::string_view value,
                    bool append) {
    engine::Response& response = request.response;
    switch (field.id) {
        case HeaderId::ContentType:
            response.content_type = value;
            response.charset = {};
            return {};
        case HeaderId::ContentLength: {
            const auto length = parse_number<std::int64_t>(value);
            if (!value.empty() && !length) {
                request.log_error(LogLevel::Error, "more_set_headers: invalid Content-Length: {}",
                                  value);
                return Error{.kind = ErrorKind::Invalid, .detail = "an invalid Content-Length"};
            }
            response.content_length = length.value_or(-1);
            return {};
        }
        case HeaderId::Location:
            response.headers.remove(field.id);
            response.location = value;
            return {};
        case HeaderId::LastModified:
            response.last_modified = -1;
            set_single(response.headers, field, value);
            return {};
        case HeaderId::AcceptRanges:
            response.allow_ranges = response.allow_ranges && !value.empty();
            set_single(response.headers, field, value);
            return {};
        case HeaderId::Server:
        case HeaderId::Date:
        case HeaderId::ContentEncoding:
        case HeaderId::Refresh:
        case HeaderId::ContentRange:
        case HeaderId::WwwAuthenticate:
        case HeaderId::Expires:
        case HeaderId::CacheControl:
            set_single(response.headers, field, value);
            return {};
        case HeaderId::Connection:
        case HeaderId::TransferEncoding:
            return {};  // the connection's own business
        default:
            break;
    }
    if (append) {
        if (!value.empty()) {
            response.headers.add(field.name, value);
        }
        return {};
    }
    if (field.wildcard && value.empty()) {
        clear_by_prefix(response, field);
    }
    const bool matched = change_fields(response.headers, field, value);
    if (!matched && !field.wildcard && !value.empty()) {
        response.headers.add(field.name, value);
    }
    return {};
}

bool valid_length(std::string_view value) {
    return value.empty() || parse_number<std::uint64_t>(value).has_value();
}

// What else the request has of a field. False: the value makes no sense.
bool follow_request_field(engine::Request& request, HeaderId id, std::string_view value) {
    switch (id) {
        case HeaderId::Host: {
            if (value.empty()) {
                request.host = {};
                return true;
            }
            const auto host = http::validate_host(value, request.arena());
            if (host) {
                request.host = host->host;
            }
            return host.has_value();
        }
        case HeaderId::Connection:
            if (find_ignore_case(value, "close") != std::string_view::npos) {
                request.exchange.disable_keep_alive();
            }
            return true;
        case HeaderId::ContentLength:
            return valid_length(value);
        default:
            return true;
    }
}

}  // namespace

Status change_response(engine::Request& request, const HeadersRule& rule) {
    if (!rule.wants_status(request.response.status) ||
        !rule.wants_type(type_without_parameters(request.response.content_type))) {
        return {};
    }
    for (const FieldRule& field : rule.fields) {
        const std::string_view value = field.value.evaluate(request);
        if (Status changed = change_field(request, field, value, rule.append); !changed) {
            return changed;
        }
    }
    return {};
}

bool change_request(engine::Request& request, const HeadersRule& rule) {
    if (!rule.types.empty() && !rule.wants_type(request.headers.value(HeaderId::ContentType))) {
        return true;
    }
    for (const FieldRule& field : rule.fields) {
        const std::string_view value = field.value.evaluate(request);
        if (field.wildcard && !value.empty()) {
            continue;  // a wildcard only takes away
        }
        if (rule.replace && !request.headers.has(field.name)) {
            continue;
        }
        if (!follow_request_field(request, field.id, value)) {
            request.log_error(LogLevel::Error, "invalid value of the request header \"{}\": {}",
                              field.name, value);
            return false;
        }
        const bool matched = change_fields(request.headers, field, value);
        if (!matched && !field.wildcard && !value.empty()) {
            request.headers.add(field.name, value);
        }
    }
    return true;
}

}  // namespace moongate::modules
