// The addresses of `listen` and `resolver`: nginx's ngx_parse_url for these two. Host names are
// resolved while the configuration is read. Compiling thread only.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conf/error.h"

namespace moongate::engine {

struct ParsedAddress {
    sockaddr_storage address{};
    socklen_t size = 0;
    std::string text;  // "0.0.0.0:80", "[::1]:80", "unix:/path"
    bool wildcard = false;
};

// "80", "*:80", "127.0.0.1", "[::1]:80", "localhost:80", "unix:/path"; where `listen`, also a range
// of ports "127.0.0.1:8000-8009", "*" and a port alone. Errors are nginx's words alone, such as
// `host not found` or `invalid port`; the caller says where.
conf::Expected<std::vector<ParsedAddress>> parse_addresses(std::string_view text,
                                                           std::uint16_t default_port, bool listen);

// The text form of an address that was made elsewhere.
std::string address_text(const sockaddr_storage& address, socklen_t size);

}  // namespace moongate::engine
