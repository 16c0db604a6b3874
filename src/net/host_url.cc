#include "net/host_url.h"

#include <netdb.h>

#include <algorithm>
#include <cstring>

#include "base/strings.h"

namespace moongate::net {
namespace {

using Parsed = std::expected<HostUrl, std::string_view>;

Parsed parse_unix(std::string_view text, UrlOptions options) {
    HostUrl url;
    url.url = text;
    url.is_unix = true;
    std::string_view path = text.substr(5);
    if (options.allow_uri) {
        // unix:/path:/uri
        if (const std::size_t colon = path.find(':'); colon != std::string_view::npos) {
            url.uri = path.substr(colon + 1);
            path = path.substr(0, colon);
        }
    }
    if (path.empty()) {
        return std::unexpected("no path in the unix domain socket");
    }
    url.host = path;
    url.address = unix_address(path);
    if (!url.address) {
        return std::unexpected("too long path in the unix domain socket");
    }
    url.no_port = false;
    return url;
}

bool read_port(std::string_view text, HostUrl& url) {
    const auto port = parse_number<std::uint32_t>(text);
    if (!port || *port < 1 || *port > 65535) {
        return false;
    }
    url.port = static_cast<std::uint16_t>(*port);
    url.port_text = text;
    url.no_port = false;
    return true;
}

}  // namespace

Parsed parse_host_url(std::string_view text, UrlOptions options) {
    if (starts_with_ignore_case(text, "unix:")) {
        return parse_unix(text, options);
    }
    HostUrl url;
    url.url = text;
    url.port = options.default_port;
    const std::size_t bracket = !text.empty() && text.front() == '[' ? text.find(']') : 0;
    if (bracket == std::string_view::npos) {
        return std::unexpected("invalid host");
    }
    std::string_view authority = text;
    if (const std::size_t end = text.find_first_of("/?#", bracket); end != std::string_view::npos) {
        if (!options.allow_uri) {
            // nginx: a '/' here is part of no valid host.
            return std::unexpected("invalid host");
        }
        url.uri = text.substr(end);
        authority = text.substr(0, end);
    }
    url.host = authority;
    if (const std::size_t colon = authority.find(':', bracket == 0 ? 0 : bracket + 1);
        colon != std::string_view::npos) {
        url.host = authority.substr(0, colon);
        if (!read_port(authority.substr(colon + 1), url)) {
            return std::unexpected("invalid port");
        }
    } else if (bracket != 0 && bracket + 1 != authority.size()) {
        return std::unexpected("invalid host");
    }
    if (url.host.empty()) {
        return std::unexpected("no host");
    }
    if (url.host == "*") {
        return std::unexpected("no host");
    }
    url.address = parse_ip(url.host, url.port);
    if (bracket != 0 && (!url.address || url.address->family() != AF_INET6)) {
        return std::unexpected("invalid IPv6 address");
    }
    return url;
}

std::vector<Address> resolve_blocking(std::string_view host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    const std::string name(host);
    int error = getaddrinfo(name.c_str(), nullptr, &hints, &list);
    if (error != 0) {
        // A host without any but the loopback address: AI_ADDRCONFIG knows nothing then.
        hints.ai_flags = 0;
        error = getaddrinfo(name.c_str(), nullptr, &hints, &list);
    }
    std::vector<Address> found;
    if (error != 0) {
        return found;
    }
    // IPv4 first, as nginx orders them.
    for (const int family : {AF_INET, AF_INET6}) {
        for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
            if (one->ai_family != family || one->ai_addrlen > sizeof(sockaddr_storage)) {
                continue;
            }
            Address address;
            std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
            address.size = static_cast<socklen_t>(one->ai_addrlen);
            address.set_port(port);
            if (std::ranges::find(found, address) == found.end()) {
                found.push_back(address);
            }
        }
    }
    freeaddrinfo(list);
    return found;
}

}  // namespace moongate::net
