// ngx.header, ngx.status, ngx.headers_sent as resty/core/response and misc bind them. The fields
// that the engine keeps apart (Content-Type, Content-Length, Last-Modified, Location) are mapped
// here.
#include "base/clock.h"
#include "engine/request.h"
#include "http/h1_writer.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/uri_component.h"

using namespace moongate::lua;
using moongate::engine::Request;
using moongate::engine::Response;
namespace http = moongate::http;
using http::HeaderId;

namespace moongate::lua {
void keep_ffi_response() {}
}  // namespace moongate::lua

namespace {

std::string_view view(const char* data, std::size_t size) {
    return {data, data == nullptr ? 0 : size};
}

// What would end or split the field is percent-encoded.
std::string_view clean(Request& request, std::string_view text,
                       LuaEscape kind = LuaEscape::HeaderValue) {
    return escaped_in(text, kind, request.arena());
}

void set_content_type(Context& context, Response& response, std::string_view value) {
    context.output.type_set = true;
    response.content_type = value;
    response.charset = {};
}

// False: the value makes no sense.
bool set_header(Context& context, std::string_view name, std::string_view value, bool replace) {
    Request& request = *context.request;
    Response& response = request.response;
    switch (http::header_id(name)) {
        case HeaderId::ContentType:
            set_content_type(context, response, value);
            return true;
        case HeaderId::ContentLength: {
            const auto length = moongate::parse_number<std::int64_t>(value);
            if (!length) {
                return false;
            }
            response.content_length = *length;
            return true;
        }
        case HeaderId::LastModified:
            response.last_modified = moongate::parse_http_date(value);
            return true;
        case HeaderId::Location:
            if (!value.empty() && value.front() == '/') {
                response.location = {};
                response.headers.set(HeaderId::Location, value);
            } else {
                response.headers.remove(HeaderId::Location);
                response.location = value;
            }
            return true;
        case HeaderId::Connection:
        case HeaderId::TransferEncoding:
            return true;  // the connection's own business
        case HeaderId::Server:
        case HeaderId::Date:
        case HeaderId::ContentEncoding:
        case HeaderId::Refresh:
        case HeaderId::ContentRange:
        case HeaderId::AcceptRanges:
        case HeaderId::WwwAuthenticate:
        case HeaderId::Expires:
        case HeaderId::ETag:
            response.headers.set(name, value);
            return true;
        default:
            if (replace) {
                response.headers.set(name, value);
            } else {
                response.headers.add(name, value);
            }
            return true;
    }
}

void remove_header(Context& context, std::string_view name) {
    Response& response = context.request->response;
    switch (http::header_id(name)) {
        case HeaderId::ContentType:
            set_content_type(context, response, {});
            break;
        case HeaderId::ContentLength:
            response.content_length = -1;
            break;
        case HeaderId::LastModified:
            response.last_modified = -1;
            break;
        case HeaderId::Location:
            response.location = {};
            break;
        case HeaderId::AcceptRanges:
            response.allow_ranges = false;
            break;
        default:
            break;
    }
    response.headers.remove(name);
}

std::string_view spelled(Context& context, std::string_view name) {
    char* to = context.arena.allocate_chars(name.size() + 1);
    std::memcpy(to, name.data(), name.size());
    to[name.size()] = '\0';
    if (context.settings().transform_underscores) {
        std::replace(to, to + name.size(), '_', '-');
    }
    return {to, name.size()};
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_set_resp_header(Context* context, const char* key,
                                                  std::size_t key_size, int is_nil,
                                                  const char* value, std::size_t value_size,
                                                  FfiStr* values, std::size_t value_count,
                                                  int override, const char** error) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    Request& request = *context->request;
    if (request.response.head_sent || context->output.head_started()) {
        if (context->phase() != Phase::HeaderFilter || request.response.head_sent) {
            context->log_line(
                moongate::LogLevel::Error,
                "attempt to set ngx.header.HEADER after sending out response headers");
            return kFfiDeclined;
        }
    }
    const std::string_view name =
        clean(request, spelled(*context, view(key, key_size)), LuaEscape::HeaderName);
    context->output.headers_set = true;
    if (is_nil != 0 || (values != nullptr && value_count == 0)) {
        remove_header(*context, name);
        return kFfiOk;
    }
    if (values != nullptr) {
        // Fields that may stand once keep the last value; the others all of them.
        for (std::size_t i = 0; i < value_count; ++i) {
            const std::string_view text(reinterpret_cast<const char*>(values[i].data),
                                        static_cast<std::size_t>(values[i].len));
            if (!set_header(*context, name, clean(request, text), override != 0 && i == 0)) {
                *error = "failed to set header";
                return kFfiError;
            }
        }
        return kFfiOk;
    }
    const std::string_view text = view(value, value_size);
    if (text.empty() && http::header_id(name) != HeaderId::ContentType) {
        if (override != 0) {
            remove_header(*context, name);
        }
        return kFfiOk;
    }
    if (!set_header(*context, name, clean(request, text), override != 0)) {
        *error = "failed to set header";
        return kFfiError;
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_get_resp_header(Context* context, const unsigned char* key,
                                                  std::size_t key_size, unsigned char*,
                                                  FfiStr* values, int max, const char**) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    Request& request = *context->request;
    const Response& response = request.response;
    const std::string_view name = spelled(*context, {reinterpret_cast<const char*>(key), key_size});
    int found = 0;
    const auto put = [&](std::string_view text) {
        if (found < max) {
            values[found++] = {static_cast<int>(text.size()),
                               reinterpret_cast<const unsigned char*>(text.data())};
        }
    };
    switch (http::header_id(name)) {
        case HeaderId::ContentLength:
            if (response.content_length >= 0) {
                put(request.arena().copy(fmt::format("{}", response.content_length)));
                return found;
            }
            break;
        case HeaderId::ContentType:
            if (!response.content_type.empty()) {
                put(response.charset.empty()
                        ? response.content_type
                        : request.arena().concat(response.content_type,
                                                 "; charset=", response.charset));
                return found;
            }
            break;
        case HeaderId::LastModified:
            if (response.last_modified >= 0) {
                char date[32];
                moongate::format_http_date(response.last_modified, date);
                put(request.arena().copy({date, 29}));
                return found;
            }
            break;
        case HeaderId::Location:
            if (!response.location.empty()) {
                put(response.location);
                return found;
            }
            break;
        default:
            break;
    }
    for (const http::Header& header : response.headers) {
        if (moongate::equals_ignore_case(header.name, name)) {
            put(header.value);
        }
    }
    return found;
}

MOONGATE_FFI int ngx_http_lua_ffi_get_resp_status(Context* context) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    return context->request->response.status;
}

MOONGATE_FFI int ngx_http_lua_ffi_set_resp_status(Context* context, int status) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    Response& response = context->request->response;
    if (response.head_sent ||
        (context->output.head_started() && context->phase() != Phase::HeaderFilter)) {
        context->log_line(moongate::LogLevel::Error,
                          "attempt to set ngx.status after sending out response headers");
        return kFfiDeclined;
    }
    response.status = status;
    response.status_text = {};
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_set_resp_status_and_reason(Context* context, int status,
                                                             const char* reason, std::size_t size) {
    const std::string_view text(reason, size);
    if (!moongate::http::valid_header_value(text)) {
        return kFfiError;
    }
    const int result = ngx_http_lua_ffi_set_resp_status(context, status);
    if (result == kFfiOk && size > 0) {
        context->request->response.status_text =
            context->request->arena().copy(fmt::format("{:03} {}", status, text));
    }
    return result;
}

MOONGATE_FFI int ngx_http_lua_ffi_bypass_if_checks(Context* context) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    context->request->response.ignores_conditions = true;
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_headers_sent(Context* context) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    return context->request->response.head_sent || context->output.head_started() ? 1 : 0;
}
