// Request URIs as nginx treats them: normalising ($uri), escaping and unescaping, arguments, and
// the check of internal targets. Results are views into the input wherever nothing had to change.
// Source: nginx's ngx_http_parse_complex_uri, ngx_http_parse_unsafe_uri, ngx_escape_uri, RFC 3986.
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/arena.h"

namespace moongate::http {

struct NormalizedUri {
    std::string_view path;  // decoded, without "." and ".."; what $uri holds and locations match
    std::string_view args;  // behind the first '?', still encoded, without a fragment
    std::string_view extension;  // behind the last '.' of the last segment, else empty
    bool quoted = false;         // there was a %XX
    bool plus = false;           // there was a '+'
    bool changed = false;  // path is not the text that was sent: proxy_pass must use the original
};

// `uri` is RequestHead::uri. Nothing where it is invalid: "%00", a broken %XX, ".." above the root,
// or no leading '/' (the asterisk form "*" passes as it is).
std::optional<NormalizedUri> normalize_uri(std::string_view uri, bool merge_slashes, Arena& arena);

// nginx's ngx_escape_uri types.
enum class EscapeType : std::uint8_t {
    Uri,
    Args,
    UriComponent,
    Html,
    Refresh,
    Memcached,
    MailAuth,
    MailXtext
};

// The size of the escaped text; equal to text.size() where nothing needs escaping.
std::size_t escaped_size(std::string_view text, EscapeType type);
// Writes the escaped text and returns behind its end.
char* escape_uri(std::string_view text, EscapeType type, char* to);
std::string_view escape_uri(std::string_view text, EscapeType type, Arena& arena);
std::string escape_uri(std::string_view text, EscapeType type);

// nginx's ngx_unescape_uri. All: everything is decoded. Uri: stops behind a '?', plain or as %3F.
// Redirect: decodes only printable characters above '%' and stops behind '?'. A broken %XX loses
// its '%', as in nginx.
enum class UnescapeType : std::uint8_t { All, Uri, Redirect };

// Writes at most text.size() bytes and returns behind their end; `to` may be text's own memory.
char* unescape_uri(std::string_view text, UnescapeType type, char* to);
std::string_view unescape_uri(std::string_view text, UnescapeType type, Arena& arena);
// Lua's ngx.unescape_uri, which differs: '+' becomes a space and a broken %XX stays as it is.
std::string unescape_form(std::string_view text);

// The value of the first argument of that name, as $arg_NAME finds it: case-insensitive, "name="
// required, not decoded.
std::optional<std::string_view> find_arg(std::string_view args, std::string_view name);

struct SafeUri {
    std::string_view path;  // decoded
    std::string_view args;
};

// Checks a URI that came from an upstream or from Lua (X-Accel-Redirect, ngx.exec): nothing where
// it could leave the root ("..", NUL) or is empty. Splits at '?' and decodes the path.
std::optional<SafeUri> parse_unsafe_uri(std::string_view uri, Arena& arena);

// & < > " as entities.
std::size_t html_escaped_size(std::string_view text);
char* escape_html(std::string_view text, char* to);
std::string_view escape_html(std::string_view text, Arena& arena);

}  // namespace moongate::http
