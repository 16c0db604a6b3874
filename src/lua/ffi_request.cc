// The request as resty/core/request and var bind it.
#include "engine/request.h"
#include "http/h1_writer.h"
#include "http/uri.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/uri_component.h"

using namespace moongate::lua;
using moongate::conf::Variable;
using moongate::conf::VariableValue;
using moongate::engine::Request;
namespace http = moongate::http;

namespace moongate::lua {
void keep_ffi_request() {}
}  // namespace moongate::lua

namespace {

constexpr int kMaxHeaders = 100;
constexpr int kMaxArgs = 100;

const unsigned char* bytes(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}
std::string_view view(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), data == nullptr ? 0 : size};
}
std::string_view view(const char* data, std::size_t size) {
    return {data, data == nullptr ? 0 : size};
}
void fail(unsigned char* error, std::size_t* size, std::string_view text) {
    *size = std::min(*size, text.size());
    std::memcpy(error, text.data(), *size);
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_req_get_headers_count(Context* context, int max, int* truncated) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    *truncated = 0;
    if (max < 0) {
        max = kMaxHeaders;
    }
    int count = static_cast<int>(context->request->headers.size());
    if (max > 0 && count > max) {
        *truncated = 1;
        count = max;
    }
    return count;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_get_headers(Context* context, FfiTableElt* out, int count,
                                                  int raw) {
    Request& request = *context->request;
    int n = 0;
    for (const http::Header& header : request.headers) {
        if (n >= count) {
            break;
        }
        std::string_view name = header.name;
        if (raw == 0) {
            char* lower = request.arena().allocate_chars(name.size());
            std::memcpy(lower, name.data(), name.size());
            moongate::lower_in_place(lower, name.size());
            name = {lower, name.size()};
        }
        out[n].key = {static_cast<int>(name.size()), bytes(name)};
        out[n].value = {static_cast<int>(header.value.size()), bytes(header.value)};
        ++n;
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_set_header(Context* context, const unsigned char* key,
                                                 std::size_t key_size, const unsigned char* value,
                                                 std::size_t value_size, FfiStr* values,
                                                 std::size_t value_count, int override,
                                                 const char** error) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    Request& request = *context->request;
    if (request.exchange.head().major < 1) {
        return kFfiDeclined;
    }
    const std::string_view name = view(key, key_size);
    const auto store = [&](std::string_view text, bool replace) {
        // CR and LF would forge further fields: such bytes are percent-encoded, as in ngx_lua.
        const std::string_view stored_name =
            escaped_in(name, LuaEscape::HeaderName, request.arena());
        const std::string_view stored = escaped_in(text, LuaEscape::HeaderValue, request.arena());
        const http::Header& header = replace ? request.headers.set(stored_name, stored)
                                             : request.headers.add(stored_name, stored);
        if (header.id == http::HeaderId::Host) {
            const std::size_t colon = stored.rfind(':');
            const bool port = colon != std::string_view::npos && !stored.ends_with(']');
            request.host =
                request.arena().copy(moongate::to_lower(port ? stored.substr(0, colon) : stored));
            if (const Variable* host = request.variable_table().find("host");
                host != nullptr && host->index >= 0) {
                request.forget(host->index);
            }
        }
    };
    if (name.empty()) {
        *error = "failed to set header";
        return kFfiError;
    }
    if (values != nullptr && value_count > 0) {
        for (std::size_t i = 0; i < value_count; ++i) {
            store(view(values[i].data, static_cast<std::size_t>(values[i].len)),
                  override != 0 && i == 0);
        }
        return kFfiOk;
    }
    if (value == nullptr || values != nullptr) {
        request.headers.remove(name);
        return kFfiOk;
    }
    store(view(value, value_size), override != 0);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_get_method(Context* context) {
    return context->request == nullptr
               ? kFfiBadContext
               : static_cast<int>(http::method_bit(context->request->method));
}

MOONGATE_FFI int ngx_http_lua_ffi_req_get_method_name(Context* context, const unsigned char** name,
                                                      std::size_t* size) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    *name = bytes(context->request->method_text);
    *size = context->request->method_text.size();
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_set_method(Context* context, int method) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    const http::Method wanted = http::method_of_bit(static_cast<std::uint32_t>(method));
    if (wanted == http::Method::Other || wanted == http::Method::Connect) {
        return kFfiDeclined;
    }
    context->request->method = wanted;
    context->request->method_text = http::method_name(wanted);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_is_internal(Context* context) {
    return context->request == nullptr ? kFfiBadContext : context->request->internal ? 1 : 0;
}

MOONGATE_FFI int ngx_http_lua_ffi_is_subrequest(Context* context) {
    return context->request == nullptr                  ? kFfiBadContext
           : context->request->main != context->request ? 1
                                                        : 0;
}

MOONGATE_FFI int ngx_http_lua_ffi_req_get_uri_args_count(Context* context, int max,
                                                         int* truncated) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    *truncated = 0;
    if (max < 0) {
        max = kMaxArgs;
    }
    const std::string_view args = context->request->args;
    if (args.empty()) {
        return 0;
    }
    int count = 1 + static_cast<int>(std::count(args.begin(), args.end(), '&'));
    if (max > 0 && count > max) {
        *truncated = 1;
        count = max;
    }
    return count;
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_req_get_querystring_len(Context* context) {
    return context->request->args.size();
}

MOONGATE_FFI int ngx_http_lua_ffi_req_get_uri_args(Context* context, unsigned char* buffer,
                                                   FfiTableElt* out, int count) {
    std::string_view text = context->request->args;
    int n = 0;
    const auto decode = [&](std::string_view raw) {
        const std::string plain = http::unescape_form(raw);
        std::memcpy(buffer, plain.data(), plain.size());
        const FfiStr result{static_cast<int>(plain.size()), buffer};
        buffer += plain.size();
        return result;
    };
    while (!text.empty() && n < count) {
        const std::size_t end = std::min(text.find('&'), text.size());
        const std::string_view pair = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const std::size_t equals = pair.find('=');
        const FfiStr key = decode(pair.substr(0, equals));
        if (key.len == 0) {
            continue;
        }
        FfiTableElt element;
        element.key = key;
        element.value = equals == std::string_view::npos ? FfiStr{-1, nullptr}
                                                         : decode(pair.substr(equals + 1));
        // resty.core places the elements right behind the text, at any address.
        std::memcpy(static_cast<void*>(reinterpret_cast<char*>(out) +
                                       sizeof element * static_cast<std::size_t>(n)),
                    &element, sizeof element);
        ++n;
    }
    return n;
}

MOONGATE_FFI int ngx_http_lua_ffi_var_get(Context* context, const char* name, std::size_t name_size,
                                          char*, int capture, const char** value,
                                          std::size_t* value_size, const char** error) {
    Request* request = context->request;
    if (request == nullptr) {
        *error = "API disabled in the current context";
        return kFfiError;
    }
    if (name == nullptr) {
        if (capture <= 0 || static_cast<std::uint32_t>(capture) >= request->captures().pairs) {
            *value = nullptr;
            *value_size = 0;
            return kFfiDeclined;
        }
        const std::string_view text = request->capture(static_cast<std::uint32_t>(capture));
        *value = text.data();
        *value_size = text.size();
        return kFfiOk;
    }
    VariableValue storage;
    const VariableValue& found = request->by_name(view(name, name_size), storage);
    if (!found.valid) {
        return kFfiDeclined;
    }
    *value = found.data;
    *value_size = found.size;
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_var_set(Context* context, const unsigned char* name_data,
                                          std::size_t name_size, unsigned char*,
                                          const unsigned char* value, std::size_t value_size,
                                          unsigned char* error, std::size_t* error_size) {
    Request* request = context->request;
    if (request == nullptr) {
        fail(error, error_size, "API disabled in the current context");
        return kFfiError;
    }
    const std::string_view name = view(name_data, name_size);
    const Variable* variable = request->variable_table().find(name);
    if (variable == nullptr || !variable->defined ||
        (variable->from_family && variable->set == nullptr)) {
        fail(
            error, error_size,
            fmt::format("variable \"{}\" not found for writing; maybe it is a built-in variable "
                        "that is not changeable or you forgot to use \"set ${} '';\" in the config "
                        "file to define it first",
                        name, name));
        return kFfiError;
    }
    if (!has(variable->flags, moongate::conf::VariableFlags::Changeable) &&
        variable->set == nullptr) {
        fail(error, error_size, fmt::format("variable \"{}\" not changeable", name));
        return kFfiError;
    }
    const std::string_view text =
        value == nullptr ? std::string_view() : request->arena().copy(view(value, value_size));
    if (value == nullptr && variable->set == nullptr && variable->index >= 0) {
        request->assign_missing(variable->index);
        return kFfiOk;
    }
    if (variable->set != nullptr) {
        variable->set(*request, variable->data, text);
        if (variable->index >= 0) {
            request->forget(variable->index);
        }
        return kFfiOk;
    }
    if (variable->index < 0) {
        fail(error, error_size, fmt::format("variable \"{}\" cannot be assigned a value", name));
        return kFfiError;
    }
    request->assign(variable->index, text);
    return kFfiOk;
}
