// A socket address as a value: IPv4, IPv6 or a path. Parsing and printing in nginx's forms. Any
// thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moongate::net {

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    int family() const { return storage.ss_family; }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    std::uint16_t port() const;  // 0 for a path
    void set_port(std::uint16_t port);
    bool operator==(const Address& other) const;
    // The bytes that tell addresses apart, for hashing.
    std::string_view bytes() const {
        return {reinterpret_cast<const char*>(&storage), static_cast<std::size_t>(size)};
    }
};

// "192.0.2.1", "2001:db8::1", "[2001:db8::1]". Nothing where it is no address.
std::optional<Address> parse_ip(std::string_view text, std::uint16_t port);
// Nothing where the path is empty or too long for a socket address.
std::optional<Address> unix_address(std::string_view path);
// "192.0.2.1:80", "[2001:db8::1]:80", "unix:/path".
std::string to_string(const Address& address);
// Without the port: "192.0.2.1", "2001:db8::1", "unix:".
std::string ip_string(const Address& address);

}  // namespace moongate::net
