#include "net/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace moongate::net {

std::uint16_t Address::port() const {
    switch (family()) {
        case AF_INET:
            return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
        case AF_INET6:
            return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
        default:
            return 0;
    }
}

void Address::set_port(std::uint16_t port) {
    if (family() == AF_INET) {
        reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port);
    } else if (family() == AF_INET6) {
        reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(port);
    }
}

bool Address::operator==(const Address& other) const {
    return size == other.size && std::memcmp(&storage, &other.storage, size) == 0;
}

std::optional<Address> parse_ip(std::string_view text, std::uint16_t port) {
    if (text.size() > 1 && text.front() == '[' && text.back() == ']') {
        text = text.substr(1, text.size() - 2);
    }
    char name[INET6_ADDRSTRLEN + 1];
    if (text.empty() || text.size() >= sizeof(name)) {
        return std::nullopt;
    }
    std::memcpy(name, text.data(), text.size());
    name[text.size()] = '\0';
    Address address;
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    if (inet_pton(AF_INET, name, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        address.size = sizeof(sockaddr_in);
        return address;
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    if (inet_pton(AF_INET6, name, &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        address.size = sizeof(sockaddr_in6);
        return address;
    }
    return std::nullopt;
}

std::optional<Address> unix_address(std::string_view path) {
    Address address;
    auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
    if (path.empty() || path.size() >= sizeof(un.sun_path)) {
        return std::nullopt;
    }
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return address;
}

std::string ip_string(const Address& address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.family() == AF_INET) {
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address.storage).sin_addr, text,
                  sizeof(text));
        return text;
    }
    if (address.family() == AF_INET6) {
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr, text,
                  sizeof(text));
        return text;
    }
    return "unix:";
}

std::string to_string(const Address& address) {
    switch (address.family()) {
        case AF_INET:
            return fmt::format("{}:{}", ip_string(address), address.port());
        case AF_INET6:
            return fmt::format("[{}]:{}", ip_string(address), address.port());
        case AF_UNIX: {
            const auto& un = reinterpret_cast<const sockaddr_un&>(address.storage);
            return fmt::format("unix:{}", un.sun_path);
        }
        default:
            return {};
    }
}

}  // namespace moongate::net
