#include "upstream/balancers.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <random>

#include "engine/request.h"
#include "upstream/upstream.h"

namespace moongate::upstream {
namespace {

constexpr std::uint32_t kHashTries = 20;

// The primary group by `first`, then the backup servers round robin.
template <class First>
bool with_backup(Selection& selection, First first) {
    PeerSet& set = *selection.set;
    if (!selection.on_backup) {
        selection.peer = first(set.primary());
        if (selection.peer != nullptr) {
            return true;
        }
        if (set.backup().peers.empty()) {
            return false;
        }
        selection.on_backup = true;
    }
    selection.peer = next_round_robin(set.backup(), selection);
    return selection.peer != nullptr;
}

class RoundRobin final : public Balancer {
public:
    bool choose(Selection& selection) const override {
        PeerSet& set = *selection.set;
        if (set.single()) {
            Peer* only = set.primary().peers.front().get();
            const bool full =
                only->max_connections != 0 &&
                only->health->connections.load(std::memory_order_relaxed) >= only->max_connections;
            if (only->down || full) {
                return false;
            }
            selection.peer = only;
            return true;
        }
        return with_backup(selection,
                           [&](PeerGroup& group) { return next_round_robin(group, selection); });
    }
};

class LeastConn final : public Balancer {
public:
    bool choose(Selection& selection) const override {
        return with_backup(selection, [&](PeerGroup& group) { return least(group, selection); });
    }

private:
    static std::int64_t load_of(const Peer& peer) {
        return peer.health->connections.load(std::memory_order_relaxed);
    }
    static Peer* least(PeerGroup& group, const Selection& selection) {
        Peer* best = nullptr;
        bool many = false;
        for (const auto& owned : group.peers) {
            Peer* peer = owned.get();
            if (selection.was_tried(peer) || !peer->available(selection.now_s)) {
                continue;
            }
            if (best == nullptr || load_of(*peer) * best->weight < load_of(*best) * peer->weight) {
                best = peer;
                many = false;
            } else if (load_of(*peer) * best->weight == load_of(*best) * peer->weight) {
                many = true;
            }
        }
        if (best == nullptr || !many) {
            return best;
        }
        // Equally loaded ones take turns by weight.
        const std::int64_t load = load_of(*best);
        const std::int64_t weight = best->weight;
        Peer* chosen = nullptr;
        std::int64_t total = 0;
        for (const auto& owned : group.peers) {
            Peer* peer = owned.get();
            if (selection.was_tried(peer) || !peer->available(selection.now_s) ||
                load_of(*peer) * weight != load * peer->weight) {
                continue;
            }
            peer->current_weight += peer->effective_weight;
            total += peer->effective_weight;
            if (peer->effective_weight < peer->weight) {
                ++peer->effective_weight;
            }
            if (chosen == nullptr || peer->current_weight > chosen->current_weight) {
                chosen = peer;
            }
        }
        chosen->current_weight -= total;
        return chosen;
    }
};

// The peer whose share of the total weight `point` falls into.
Peer* peer_at(const PeerGroup& group, std::uint64_t point) {
    auto left = static_cast<std::int64_t>(point);
    for (const auto& peer : group.peers) {
        left -= peer->weight;
        if (left < 0) {
            return peer.get();
        }
    }
    return nullptr;
}

class IpHash final : public Balancer {
public:
    bool supports_backup() const override { return false; }
    // The first three bytes of an IPv4 address, all of an IPv6 one.
    void prepare(engine::Request& request, Selection& selection) const override {
        const auto& remote = request.exchange.connection().remote;
        if (remote.family() == AF_INET) {
            selection.key = {reinterpret_cast<const char*>(&remote.v4.sin_addr), 3};
        } else if (remote.family() == AF_INET6) {
            selection.key = {reinterpret_cast<const char*>(&remote.v6.sin6_addr), 16};
        } else {
            selection.key = std::string_view("\0\0\0", 3);
        }
    }
    bool choose(Selection& selection) const override {
        return with_backup(selection, [&](PeerGroup& group) { return hashed(group, selection); });
    }

private:
    static Peer* hashed(PeerGroup& group, Selection& selection) {
        if (selection.hash_tries > kHashTries || group.peers.size() < 2 ||
            group.total_weight == 0) {
            return next_round_robin(group, selection);
        }
        if (!selection.hash_ready) {
            selection.hash = 89;
            selection.hash_ready = true;
        }
        for (;;) {
            for (const char byte : selection.key) {
                selection.hash = (selection.hash * 113 + static_cast<unsigned char>(byte)) % 6271;
            }
            Peer* peer =
                peer_at(group, selection.hash % static_cast<std::uint64_t>(group.total_weight));
            if (peer != nullptr && !selection.was_tried(peer) && peer->available(selection.now_s)) {
                return peer;
            }
            if (++selection.hash_tries > kHashTries) {
                return next_round_robin(group, selection);
            }
        }
    }
};

class KeyedBalancer : public Balancer {
public:
    explicit KeyedBalancer(conf::CompiledString key) : key_(std::move(key)) {}
    void prepare(engine::Request& request, Selection& selection) const override {
        selection.key = key_.evaluate(request);
    }

private:
    conf::CompiledString key_;
};

class Hash final : public KeyedBalancer {
public:
    using KeyedBalancer::KeyedBalancer;
    bool supports_backup() const override { return false; }
    bool choose(Selection& selection) const override {
        return with_backup(selection, [&](PeerGroup& group) { return hashed(group, selection); });
    }

private:
    static Peer* hashed(PeerGroup& group, Selection& selection) {
        if (selection.hash_tries > kHashTries || group.peers.size() < 2 || selection.key.empty() ||
            group.total_weight == 0) {
            return next_round_robin(group, selection);
        }
        for (;;) {
            // As Cache::Memcached: ((crc32([REHASH] KEY) >> 16) & 0x7fff) + the previous hash.
            std::uint32_t crc = kCrc32Start;
            if (selection.rehash > 0) {
                crc = crc32_update(crc, std::to_string(selection.rehash));
            }
            crc = crc32_final(crc32_update(crc, selection.key));
            selection.hash += (crc >> 16) & 0x7fff;
            ++selection.rehash;
            Peer* peer =
                peer_at(group, selection.hash % static_cast<std::uint64_t>(group.total_weight));
            if (peer != nullptr && !selection.was_tried(peer) && peer->available(selection.now_s)) {
                return peer;
            }
            if (++selection.hash_tries > kHashTries) {
                return next_round_robin(group, selection);
            }
        }
    }
};

// The ketama ring: 160 points for each unit of weight, as Cache::Memcached::Fast places them.
struct Ring final : BalancerData {
    struct Point {
        std::uint32_t hash;
        const std::string* server;
    };
    std::vector<Point> points;

    explicit Ring(const PeerGroup& group) {
        for (const auto& peer : group.peers) {
            add(*peer);
        }
        std::ranges::sort(points, {}, &Point::hash);
        const auto same = std::ranges::unique(points, {}, &Point::hash);
        points.erase(same.begin(), same.end());
    }

    void add(const Peer& peer) {
        std::string_view host = peer.server;
        std::string_view port;
        if (host.starts_with("unix:")) {
            host.remove_prefix(5);
        } else {
            std::size_t at = host.size();
            while (at > 0 && host[at - 1] >= '0' && host[at - 1] <= '9') {
                --at;
            }
            if (at > 0 && host[at - 1] == ':') {
                port = host.substr(at);
                host = host.substr(0, at - 1);
            }
        }
        std::uint32_t base = crc32_update(kCrc32Start, host);
        base = crc32_update(base, std::string_view("", 1));
        base = crc32_update(base, port);
        std::uint32_t previous = 0;
        for (std::int64_t i = 0; i < peer.weight * 160; ++i) {
            const std::array<char, 4> bytes = {
                static_cast<char>(previous), static_cast<char>(previous >> 8),
                static_cast<char>(previous >> 16), static_cast<char>(previous >> 24)};
            const std::uint32_t hash = crc32_final(crc32_update(base, {bytes.data(), 4}));
            points.push_back({hash, &peer.server});
            previous = hash;
        }
    }

    std::size_t find(std::uint32_t hash) const {
        const auto at = std::ranges::lower_bound(points, hash, {}, &Point::hash);
        return static_cast<std::size_t>(at - points.begin());
    }
};

class ConsistentHash final : public KeyedBalancer {
public:
    using KeyedBalancer::KeyedBalancer;
    bool supports_backup() const override { return false; }
    bool choose(Selection& selection) const override {
        return with_backup(selection, [&](PeerGroup& group) { return hashed(group, selection); });
    }

private:
    static Peer* hashed(PeerGroup& group, Selection& selection) {
        if (selection.hash_tries > kHashTries || group.peers.size() < 2 || selection.key.empty()) {
            return next_round_robin(group, selection);
        }
        if (group.data == nullptr) {
            group.data = std::make_unique<Ring>(group);
        }
        const Ring& ring = static_cast<const Ring&>(*group.data);
        if (!selection.hash_ready) {
            const std::uint32_t key = crc32_final(crc32_update(kCrc32Start, selection.key));
            selection.hash = static_cast<std::uint32_t>(ring.find(key));
            selection.hash_ready = true;
        }
        for (;;) {
            const std::string& server = *ring.points[selection.hash % ring.points.size()].server;
            if (Peer* peer = among(group, selection, server)) {
                return peer;
            }
            ++selection.hash;
            if (++selection.hash_tries > kHashTries) {
                return next_round_robin(group, selection);
            }
        }
    }
    // The addresses of one server take turns.
    static Peer* among(PeerGroup& group, const Selection& selection, const std::string& server) {
        Peer* best = nullptr;
        std::int64_t total = 0;
        for (const auto& owned : group.peers) {
            Peer* peer = owned.get();
            if (peer->server != server || selection.was_tried(peer) ||
                !peer->available(selection.now_s)) {
                continue;
            }
            peer->current_weight += peer->effective_weight;
            total += peer->effective_weight;
            if (peer->effective_weight < peer->weight) {
                ++peer->effective_weight;
            }
            if (best == nullptr || peer->current_weight > best->current_weight) {
                best = peer;
            }
        }
        if (best != nullptr) {
            best->current_weight -= total;
        }
        return best;
    }
};

std::uint64_t draw(std::int64_t below) {
    static thread_local std::minstd_rand generator(std::random_device{}());
    return std::uniform_int_distribution<std::uint64_t>(
        0, static_cast<std::uint64_t>(std::max<std::int64_t>(below, 1) - 1))(generator);
}

class Random final : public Balancer {
public:
    explicit Random(bool two) : two_(two) {}
    bool supports_backup() const override { return false; }
    bool choose(Selection& selection) const override {
        return with_backup(selection, [&](PeerGroup& group) { return drawn(group, selection); });
    }

private:
    static Peer* draw_one(PeerGroup& group, const Selection& selection) {
        Peer* peer = peer_at(group, draw(group.total_weight));
        const bool fit =
            peer != nullptr && !selection.was_tried(peer) && peer->available(selection.now_s);
        return fit ? peer : nullptr;
    }
    Peer* drawn(PeerGroup& group, Selection& selection) const {
        if (group.peers.size() < 2) {
            return next_round_robin(group, selection);
        }
        Peer* first = nullptr;
        while (++selection.hash_tries <= kHashTries) {
            Peer* peer = draw_one(group, selection);
            if (peer == nullptr || peer == first) {
                continue;
            }
            if (!two_) {
                return peer;
            }
            if (first == nullptr) {
                first = peer;
                continue;
            }
            const auto load = [](const Peer* one) {
                return static_cast<std::int64_t>(
                    one->health->connections.load(std::memory_order_relaxed));
            };
            return load(peer) * first->weight < load(first) * peer->weight ? peer : first;
        }
        return first != nullptr ? first : next_round_robin(group, selection);
    }

    bool two_;
};

constexpr auto kCrcTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
        }
        table[i] = value;
    }
    return table;
}();

}  // namespace

std::uint32_t crc32_update(std::uint32_t crc, std::string_view bytes) {
    for (const char byte : bytes) {
        crc = kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

std::shared_ptr<const Balancer> make_round_robin() {
    return std::make_shared<RoundRobin>();
}
std::shared_ptr<const Balancer> make_least_conn() {
    return std::make_shared<LeastConn>();
}
std::shared_ptr<const Balancer> make_ip_hash() {
    return std::make_shared<IpHash>();
}
std::shared_ptr<const Balancer> make_random(bool two) {
    return std::make_shared<Random>(two);
}
std::shared_ptr<const Balancer> make_hash(conf::CompiledString key, bool consistent) {
    if (consistent) {
        return std::make_shared<ConsistentHash>(std::move(key));
    }
    return std::make_shared<Hash>(std::move(key));
}

}  // namespace moongate::upstream
