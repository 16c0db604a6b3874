// The texts that name a server in a configuration: "host", "host:port", "[::1]:80", "unix:/path",
// with a URI behind where the directive allows one. Errors are nginx's words (ngx_parse_url). Views
// point into the text that was parsed. Any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace moongate::net {

struct HostUrl {
    std::string_view url;        // all that was parsed
    std::string_view host;       // "example.org", "[::1]", or the path of a unix socket
    std::string_view port_text;  // empty where none is written
    std::string_view uri;        // begins with '/', '?' or '#'; or empty
    std::uint16_t port = 0;      // the default where none is written
    bool no_port = true;
    bool is_unix = false;
    std::optional<Address> address;  // set where the host is an address or a path
};

struct UrlOptions {
    std::uint16_t default_port = 80;
    bool allow_uri = false;
};

// The error is a literal: "no host", "invalid host", "invalid port", "invalid URL path" …
std::expected<HostUrl, std::string_view> parse_host_url(std::string_view text, UrlOptions options);

// getaddrinfo(), which blocks: for the time a configuration is loaded. Without duplicates; empty
// where the name is not known.
std::vector<Address> resolve_blocking(std::string_view host, std::uint16_t port);

}  // namespace moongate::net
