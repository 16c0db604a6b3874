// Snapshot: one compiled configuration, immutable and shared by all workers. A request pins the
// snapshot that it began with (WorkerState::pin). Parts that a change did not touch are shared with
// the previous snapshot.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "conf/level.h"
#include "conf/variables.h"
#include "engine/server.h"
#include "http/exchange.h"

namespace moongate::engine {

struct Module;

// The parameters of `listen` that concern the socket. -1 and 0: the system's default.
struct ListenOptions {
    int backlog = 511;
    int rcvbuf = 0;
    int sndbuf = 0;
    int fastopen = -1;
    bool deferred = false;
    bool reuseport = false;
    bool multipath = false;  // IPPROTO_MPTCP
    bool ipv6only = true;
    bool bind = false;      // a socket of its own although a wildcard socket has the port
    int so_keepalive = -1;  // 0 off, 1 on
    int keepalive_idle_s = 0;
    int keepalive_interval_s = 0;
    int keepalive_count = 0;
    bool proxy_protocol = false;
    bool ssl = false;
    bool http2 = false;
    bool operator==(const ListenOptions&) const = default;
};

// An address and port that servers listen on, with the servers chosen by name there.
struct ListenAddress {
    sockaddr_storage address{};
    socklen_t address_size = 0;
    std::string
        text;  // "0.0.0.0:80", "[::1]:80", "unix:/path"; what messages and sockets are named by
    bool wildcard = false;
    ListenOptions options;
    VirtualHosts hosts;
};

// A socket to open: one address, or a wildcard that also takes connections for other addresses of
// its port; those are told apart by the connection's local address.
struct ListenSocket {
    const ListenAddress* bound = nullptr;
    std::vector<const ListenAddress*> others;

    // `local` is the connection's own address; only read where `others` holds something.
    const ListenAddress& choose(const http::SocketAddress& local) const;
};

class Snapshot {
public:
    Snapshot(std::uint64_t version, std::span<const Module* const> modules)
        : version_(version), modules_(modules) {}

    std::uint64_t version() const { return version_; }
    std::span<const Module* const> modules() const { return modules_; }
    // Settings of the main level and of `http {}`.
    const conf::SettingsSet& main() const { return *main_; }
    const conf::SettingsSet& http() const { return *http_; }
    const conf::VariableTable& variables() const { return variables_; }
    std::span<const std::unique_ptr<ListenAddress>> addresses() const { return addresses_; }
    std::span<const ListenSocket> sockets() const { return sockets_; }
    // The socket bound to `text` (ListenAddress::text), or null.
    const ListenSocket* socket(std::string_view text) const;

    // What modules keep for requests (upstreams, Lua code, maps), by type. Null: the module put
    // nothing.
    template <class T>
    const T* get() const {
        const auto found = parts_.find(std::type_index(typeid(T)));
        return found == parts_.end() ? nullptr : static_cast<const T*>(found->second.get());
    }
    template <class T>
    void put(std::shared_ptr<const T> part) {
        parts_[std::type_index(typeid(T))] = std::move(part);
    }

private:
    friend class SnapshotBuilder;

    std::uint64_t version_;
    std::span<const Module* const> modules_;
    conf::SettingsRef main_;
    conf::SettingsRef http_;
    conf::VariableTable variables_;
    std::vector<std::unique_ptr<ListenAddress>> addresses_;
    std::vector<ListenSocket> sockets_;
    std::unordered_map<std::type_index, std::shared_ptr<const void>> parts_;
};

}  // namespace moongate::engine
