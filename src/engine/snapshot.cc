#include "engine/snapshot.h"

#include <netinet/in.h>

#include <cstring>

namespace moongate::engine {
namespace {

bool same_ip(const sockaddr_storage& a, const sockaddr_storage& b) {
    if (a.ss_family != b.ss_family) {
        return false;
    }
    if (a.ss_family == AF_INET) {
        return reinterpret_cast<const sockaddr_in&>(a).sin_addr.s_addr ==
               reinterpret_cast<const sockaddr_in&>(b).sin_addr.s_addr;
    }
    return a.ss_family == AF_INET6 &&
           std::memcmp(&reinterpret_cast<const sockaddr_in6&>(a).sin6_addr,
                       &reinterpret_cast<const sockaddr_in6&>(b).sin6_addr, sizeof(in6_addr)) == 0;
}

}  // namespace

const ListenAddress& ListenSocket::choose(const sockaddr_storage& local) const {
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
