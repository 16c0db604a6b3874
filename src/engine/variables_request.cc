// Core variables of the request line, the request's headers and the files it maps to. Values are
// views into the request wherever they exist as text there. Source: nginx's ngx_http_variables.c,
// whose flags these rows keep.
#include <algorithm>

#include "base/strings.h"
#include "engine/core_settings.h"
#include "engine/core_variables.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "engine/server.h"
#include "engine/variables_headers.h"
#include "http/uri.h"

namespace moongate::engine {
namespace {

using conf::PrefixName;
using conf::VariableFlags;
using conf::VariableRow;
using conf::VariableValue;

template <std::string_view Request::* Member>
void get_member(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.*Member);
}

// Without a '?' in the request line there are no arguments, which is not the same as empty ones.
void get_args(Request& request, std::uintptr_t, VariableValue& value) {
    if (request.args.data() == nullptr) {
        value.set_missing();
    } else {
        value.set(request.args);
    }
}

void set_args(Request& request, std::uintptr_t, std::string_view text) {
    request.args = text;
    request.valid_unparsed_uri = false;
}

void get_is_args(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.args.empty() ? "" : "?");
}

void get_arg(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const PrefixName*>(data);
    const auto found = name.rest.empty() ? std::nullopt : http::find_arg(request.args, name.rest);
    if (found) {
        value.set(*found);
    } else {
        value.set_missing();
    }
}

// Subrequests show the main request's line and target, as nginx's do.
void get_request_line(Request& request, std::uintptr_t, VariableValue& value) {
    const std::string_view line = request.exchange.head().request_line;
    if (line.data() == nullptr) {
        value.set_missing();
    } else {
        value.set(line);
    }
}

void get_request_uri(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.main->exchange.head().uri);
}

void get_server_protocol(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.main->exchange.protocol());
}

void get_request_method(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.main->method_text);
}

void get_host(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.host.empty() ? std::string_view(request.server->first_name) : request.host);
}

void get_server_name(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.server->first_name);
}

void get_request_port(Request& request, std::uintptr_t, VariableValue& value) {
    const unsigned port = request.exchange.framing().port;
    value.set(port == 0 ? "" : request.arena().copy(fmt::format("{}", port)));
}

void get_is_request_port(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(request.exchange.framing().port == 0 ? "" : ":");
}

// --- headers -------------------------------------------------------------------------------------

// `name` is a variable's: lower case with '_' for '-'.
bool header_matches(std::string_view header, std::string_view name) {
    return header.size() == name.size() &&
           std::ranges::equal(header, name, [](char from_header, char from_name) {
               return (from_header == '-' ? '_' : ascii_lower(from_header)) == from_name;
           });
}

}  // namespace

void get_header_by_variable_name(const http::HeaderList& headers, std::string_view name,
                                 Arena& arena, VariableValue& value, std::string_view separator) {
    std::size_t count = 0;
    std::size_t bytes = 0;
    const http::Header* first = nullptr;
    for (const http::Header& header : headers) {
        if (header_matches(header.name, name)) {
            first = first == nullptr ? &header : first;
            bytes += header.value.size() + separator.size();
            ++count;
        }
    }
    if (count == 0) {
        value.set_missing();
        return;
    }
    if (count == 1) {
        value.set(first->value);
        return;
    }
    bytes -= separator.size();
    char* const text = arena.allocate_chars(bytes);
    char* at = text;
    for (const http::Header& header : headers) {
        if (!header_matches(header.name, name)) {
            continue;
        }
        if (at != text) {
            at = std::ranges::copy(separator, at).out;
        }
        at = std::ranges::copy(header.value, at).out;
    }
    value.set({text, bytes});
}

namespace {

void get_http(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const PrefixName*>(data);
    get_header_by_variable_name(request.headers, name.rest, request.arena(), value, ", ");
}

template <http::HeaderId Id>
void get_header(Request& request, std::uintptr_t, VariableValue& value) {
    if (!request.headers.has(Id)) {
        value.set_missing();
        return;
    }
    // nginx joins several Cookie fields as one, by "; ".
    value.set(request.headers.joined(Id, Id == http::HeaderId::Cookie ? "; " : ", "));
}

void get_content_length(Request& request, std::uintptr_t, VariableValue& value) {
    if (const auto* header = request.headers.find(http::HeaderId::ContentLength)) {
        value.set(header->value);
        return;
    }
    value.set_missing();
    // Known once the body was read.
    value.no_cache = request.exchange.framing().body == http::BodyKind::Chunked;
}

// One cookie of a Cookie field: "a=1; b=2". nginx's parser: names ignore case, the value ends at
// ';'.
bool find_cookie(std::string_view field, std::string_view name, std::string_view& found) {
    while (!field.empty()) {
        const auto end = std::min(field.find(';'), field.size());
        std::string_view pair = field.substr(0, end);
        field.remove_prefix(std::min(end + 1, field.size()));
        while (pair.starts_with(' ')) {
            pair.remove_prefix(1);
        }
        if (!starts_with_ignore_case(pair, name)) {
            continue;
        }
        std::string_view rest = pair.substr(name.size());
        while (rest.starts_with(' ')) {
            rest.remove_prefix(1);
        }
        if (!rest.starts_with('=')) {
            continue;
        }
        rest.remove_prefix(1);
        while (rest.starts_with(' ')) {
            rest.remove_prefix(1);
        }
        found = rest;
        return true;
    }
    return false;
}

void get_cookie(Request& request, std::uintptr_t data, VariableValue& value) {
    const auto& name = *reinterpret_cast<const PrefixName*>(data);
    for (const auto* header = request.headers.find(http::HeaderId::Cookie); header != nullptr;
         header = request.headers.next(header)) {
        std::string_view found;
        if (find_cookie(header->value, name.rest, found)) {
            value.set(found);
            return;
        }
    }
    value.set_missing();
}

// --- Authorization: Basic ------------------------------------------------------------------------

int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (is_digit(c)) {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Standard base64, padding optional; false where a character or the length is none of it.
bool decode_base64(std::string_view text, char* to, std::size_t& size) {
    while (text.ends_with('=')) {
        text.remove_suffix(1);
    }
    if (text.size() % 4 == 1) {
        return false;
    }
    std::uint32_t bits = 0;
    unsigned have = 0;
    size = 0;
    for (const char c : text) {
        const int value = base64_value(c);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[size++] = static_cast<char>(bits >> have & 0xff);
        }
    }
    return true;
}

void get_remote_user(Request& request, std::uintptr_t, VariableValue& value) {
    value.set_missing();
    std::string_view field = request.headers.value(http::HeaderId::Authorization);
    constexpr std::string_view kScheme = "Basic ";
    if (!starts_with_ignore_case(field, kScheme)) {
        return;
    }
    field.remove_prefix(kScheme.size());
    while (field.starts_with(' ')) {
        field.remove_prefix(1);
    }
    if (field.empty()) {
        return;
    }
    char* decoded = request.arena().allocate_chars(field.size());
    std::size_t size = 0;
    if (!decode_base64(field, decoded, size)) {
        return;
    }
    const std::string_view user = std::string_view(decoded, size);
    const auto colon = user.find(':');
    if (colon != 0 && colon != std::string_view::npos) {
        value.set(user.substr(0, colon));
    }
}

// --- files ---------------------------------------------------------------------------------------

void get_document_root(Request& request, std::uintptr_t, VariableValue& value) {
    value.set(document_root(request));
}

void get_realpath_root(Request& request, std::uintptr_t, VariableValue& value) {
    if (const auto root = realpath_root(request)) {
        value.set(*root);
    } else {
        value.set_missing();
    }
}

void get_request_filename(Request& request, std::uintptr_t, VariableValue& value) {
    if (const auto mapped = map_uri_to_path(request)) {
        value.set(mapped->text());
    } else {
        value.set_missing();
    }
}

constexpr auto kNoCache = VariableFlags::NoCache;

constexpr VariableRow kRows[] = {
    {"http_host", &get_header<http::HeaderId::Host>, nullptr, 0, VariableFlags::None,
     "The Host header."},
    {"http_user_agent", &get_header<http::HeaderId::UserAgent>, nullptr, 0, VariableFlags::None,
     "The User-Agent header."},
    {"http_referer", &get_header<http::HeaderId::Referer>, nullptr, 0, VariableFlags::None,
     "The Referer header."},
    {"http_via", &get_header<http::HeaderId::Via>, nullptr, 0, VariableFlags::None,
     "The Via headers."},
    {"http_x_forwarded_for", &get_header<http::HeaderId::XForwardedFor>, nullptr, 0,
     VariableFlags::None, "The X-Forwarded-For headers."},
    {"http_cookie", &get_header<http::HeaderId::Cookie>, nullptr, 0, VariableFlags::None,
     "The Cookie headers, joined by \"; \"."},
    {"content_length", &get_content_length, nullptr, 0, VariableFlags::None,
     "The Content-Length header."},
    {"content_type", &get_header<http::HeaderId::ContentType>, nullptr, 0, VariableFlags::None,
     "The Content-Type header."},
    {"host", &get_host, nullptr, 0, VariableFlags::None,
     "The host of the request line or the Host header, else the server's name."},
    {"server_name", &get_server_name, nullptr, 0, VariableFlags::None,
     "The first name of the server."},
    {"server_protocol", &get_server_protocol, nullptr, 0, VariableFlags::None,
     "The protocol, such as HTTP/1.1."},
    {"request_port", &get_request_port, nullptr, 0, VariableFlags::None,
     "The port that the client named; empty: none."},
    {"is_request_port", &get_is_request_port, nullptr, 0, VariableFlags::None,
     "\":\" where the client named a port."},
    {"request_uri", &get_request_uri, nullptr, 0, VariableFlags::None,
     "The URI with arguments as it was sent."},
    {"uri", &get_member<&Request::uri>, nullptr, 0, kNoCache, "The URI, decoded and normalised."},
    {"document_uri", &get_member<&Request::uri>, nullptr, 0, kNoCache, "As $uri."},
    {"request", &get_request_line, nullptr, 0, VariableFlags::None, "The request line."},
    {"document_root", &get_document_root, nullptr, 0, kNoCache, "The value of root or alias."},
    {"realpath_root", &get_realpath_root, nullptr, 0, kNoCache,
     "$document_root with symbolic links resolved."},
    {"query_string", &get_args, nullptr, 0, kNoCache, "As $args."},
    {"args", &get_args, &set_args, 0, VariableFlags::Changeable | kNoCache,
     "The arguments of the request line."},
    {"is_args", &get_is_args, nullptr, 0, kNoCache, "\"?\" where there are arguments."},
    {"request_filename", &get_request_filename, nullptr, 0, kNoCache,
     "The file that the URI stands for."},
    {"request_method", &get_request_method, nullptr, 0, kNoCache, "The method."},
    {"remote_user", &get_remote_user, nullptr, 0, VariableFlags::None,
     "The user name of Basic authentication."},
    {"http_", &get_http, nullptr, 0, VariableFlags::Prefix, "A header of the request."},
    {"cookie_", &get_cookie, nullptr, 0, VariableFlags::Prefix, "A cookie of the request."},
    {"arg_", &get_arg, nullptr, 0, kNoCache | VariableFlags::Prefix,
     "An argument of the request line."},
};

}  // namespace

std::span<const VariableRow> request_variable_rows() {
    return kRows;
}

}  // namespace moongate::engine
