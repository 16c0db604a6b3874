// Upstream: a group of servers as the configuration describes it: `upstream {}`, or the single host
// of a proxy_pass (implicit). Immutable, shared by all workers and snapshots that use it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/strings.h"
#include "net/address.h"
#include "net/resolver.h"
#include "upstream/balancer.h"
#include "upstream/peer.h"

namespace moongate::upstream {

struct ServerRow {
    std::string name;  // as written
    std::string host;
    std::uint16_t port = 80;
    std::vector<net::Address> addresses;  // empty with `resolve` until the name is known
    std::int64_t weight = 1;
    std::uint32_t max_connections = 0;
    std::uint32_t max_fails = 1;
    std::int64_t fail_timeout_s = 10;
    bool backup = false;
    bool down = false;
    bool resolve = false;
    std::string service;
    std::string route;
};

// Health that all workers share, by server and address (`zone`).
class SharedHealth {
public:
    std::shared_ptr<PeerHealth> of(const std::string& key);

private:
    std::mutex mutex_;
    std::unordered_map<std::string, std::shared_ptr<PeerHealth>, StringHash, std::equal_to<>> map_;
};

struct Upstream {
    std::string name;
    bool implicit = false;   // made of a host name in proxy_pass
    bool transient = false;  // made for one request: its peers are the request's own
    std::vector<ServerRow> servers;
    std::shared_ptr<const Balancer> balancer;
    KeepaliveSettings keepalive;
    std::size_t pool_connections = 32;   // idle ones of a pool that a balancer names
    std::shared_ptr<SharedHealth> zone;  // null without `zone`
    std::string zone_name;
    std::shared_ptr<const net::ResolverOptions> resolver;  // for `resolve`; its own or http's
    Milliseconds resolver_timeout{30000};
    std::string place;  // "FILE:LINE"

    bool has_dynamic_servers() const;
    std::uint32_t configured_backups() const;
};

// All upstreams of a snapshot by name; proxy_pass with variables looks here.
struct UpstreamTable {
    std::unordered_map<std::string, std::shared_ptr<const Upstream>, StringHash, std::equal_to<>>
        by_name;  // lower case
    std::vector<std::shared_ptr<const Upstream>> all;

    const std::shared_ptr<const Upstream>* find(std::string_view name) const;
};

}  // namespace moongate::upstream
