#include "engine/listen_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>

#include "base/strings.h"

namespace moongate::engine {
namespace {

using Addresses = conf::Expected<std::vector<ParsedAddress>>;

struct Ports {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
    const auto port = parse_number<unsigned>(text);
    if (!port || *port < 1 || *port > 65535) {
        return std::nullopt;
    }
    return static_cast<std::uint16_t>(*port);
}

conf::Expected<Ports> parse_ports(std::string_view text, bool listen) {
    const auto dash = listen ? text.find('-') : std::string_view::npos;
    const auto first = parse_port(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
    if (!first || !last) {
        return conf::reject("invalid port");
    }
    if (*first > *last) {
        return conf::reject("invalid port range");
    }
    return Ports{*first, *last};
}

// A port or a range of them and nothing else: `listen 8080`.
bool only_ports(std::string_view text) {
    const auto dash = text.find('-');
    const auto digits = [](std::string_view part) {
        return !part.empty() && std::ranges::all_of(part, is_digit);
    };
    return digits(text.substr(0, dash)) &&
           (dash == std::string_view::npos || digits(text.substr(dash + 1)));
}

void append(std::vector<ParsedAddress>& to, const sockaddr* address, socklen_t size, Ports ports) {
    for (unsigned port = ports.first; port <= ports.last; ++port) {
        ParsedAddress made;
        std::memcpy(&made.address, address, size);
        made.size = size;
        if (address->sa_family == AF_INET) {
            auto& in = reinterpret_cast<sockaddr_in&>(made.address);
            in.sin_port = htons(static_cast<std::uint16_t>(port));
            made.wildcard = in.sin_addr.s_addr == INADDR_ANY;
        } else {
            auto& in = reinterpret_cast<sockaddr_in6&>(made.address);
            in.sin6_port = htons(static_cast<std::uint16_t>(port));
            made.wildcard = IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
        }
        made.text = address_text(made.address, made.size);
        const bool known = std::ranges::any_of(
            to, [&made](const ParsedAddress& other) { return other.text == made.text; });
        if (!known) {
            to.push_back(std::move(made));
        }
    }
}

Addresses parse_unix(std::string_view path) {
    if (path.empty()) {
        return conf::reject("no path in the unix domain socket");
    }
    ParsedAddress made;
    auto& address = reinterpret_cast<sockaddr_un&>(made.address);
    if (path.size() >= sizeof(address.sun_path)) {
        return conf::reject("too long path in the unix domain socket");
    }
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    made.size = sizeof(sockaddr_un);
    made.text = fmt::format("unix:{}", path);
    std::vector<ParsedAddress> all;
    all.push_back(std::move(made));
    return all;
}

Addresses parse_v6(std::string_view text, std::uint16_t default_port, bool listen) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) {
        return conf::reject("invalid host");
    }
    const std::string host(text.substr(1, end - 1));
    const std::string_view rest = text.substr(end + 1);
    Ports ports{default_port, default_port};
    if (!rest.empty()) {
        if (rest.front() != ':') {
            return conf::reject("invalid host");
        }
        auto parsed = parse_ports(rest.substr(1), listen);
        if (!parsed) {
            return std::unexpected(std::move(parsed.error()));
        }
        ports = *parsed;
    }
    if (host.empty()) {
        return conf::reject("no host");
    }
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1) {
        return conf::reject("invalid IPv6 address");
    }
    std::vector<ParsedAddress> all;
    append(all, reinterpret_cast<const sockaddr*>(&address), sizeof(address), ports);
    return all;
}

Addresses resolve(const std::string& host, Ports ports) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) {
        return conf::reject("host not found");
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &freeaddrinfo);
    std::vector<ParsedAddress> all;
    // IPv4 first, as in nginx.
    for (const int family : {AF_INET, AF_INET6}) {
        for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
            if (at->ai_family == family) {
                append(all, at->ai_addr, at->ai_addrlen, ports);
            }
        }
    }
    if (all.empty()) {
        return conf::reject("host not found");
    }
    return all;
}

}  // namespace

conf::Expected<std::vector<ParsedAddress>> parse_addresses(std::string_view text,
                                                           std::uint16_t default_port,
                                                           bool listen) {
    if (starts_with_ignore_case(text, "unix:")) {
        return parse_unix(text.substr(5));
    }
    if (text.starts_with('[')) {
        return parse_v6(text, default_port, listen);
    }
    if (text.find_first_of("/?") != std::string_view::npos) {
        return conf::reject("invalid host");
    }
    std::string_view host = text;
    std::string_view port;
    if (const auto colon = text.find(':'); colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
    } else if (listen && only_ports(text)) {
        host = "*";
        port = text;
    }
    Ports ports{default_port, default_port};
    if (port.data() != nullptr) {
        auto parsed = parse_ports(port, listen);
        if (!parsed) {
            return std::unexpected(std::move(parsed.error()));
        }
        ports = *parsed;
    }
    if (host.empty()) {
        return conf::reject("no host");
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    const std::string name(host);
    if ((listen && host == "*") || inet_pton(AF_INET, name.c_str(), &address.sin_addr) == 1) {
        std::vector<ParsedAddress> all;
        append(all, reinterpret_cast<const sockaddr*>(&address), sizeof(address), ports);
        return all;
    }
    return resolve(name, ports);
}

std::string address_text(const sockaddr_storage& address, socklen_t size) {
    char host[INET6_ADDRSTRLEN] = {};
    if (address.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(address);
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        return fmt::format("{}:{}", host, ntohs(in.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
        inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof(host));
        return fmt::format("[{}]:{}", host, ntohs(in.sin6_port));
    }
    const auto& in = reinterpret_cast<const sockaddr_un&>(address);
    const std::size_t room =
        size > offsetof(sockaddr_un, sun_path) ? size - offsetof(sockaddr_un, sun_path) : 0;
    return fmt::format("unix:{}", std::string_view(in.sun_path, strnlen(in.sun_path, room)));
}

}  // namespace moongate::engine
