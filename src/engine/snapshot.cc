#include "engine/snapshot.h"

#include <netinet/in.h>

#include <cstring>

namespace moongate::engine {
namespace {

bool same_ip(const sockaddr_storage& address, const http::SocketAddress& local) {
    if (address.ss_family != local.family()) {
        return false;
    }
    if (address.ss_family == AF_INET) {
        return reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr ==
               local.v4.sin_addr.s_addr;
    }
    return address.ss_family == AF_INET6 &&
           std::memcmp(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr,
                       &local.v6.sin6_addr, sizeof(in6_addr)) == 0;
}

}  // namespace

const ListenAddress& ListenSocket::choose(const http::SocketAddress& local) const {
    for (const ListenAddress* other : others) {
        if (same_ip(other->address, local)) {
            return *other;
        }
    }
    return *bound;
}

const ListenSocket* Snapshot::socket(std::string_view text) const {
    for (const ListenSocket& socket : sockets_) {
        if (socket.bound->text == text) {
            return &socket;
        }
    }
    return nullptr;
}

}  // namespace moongate::engine
