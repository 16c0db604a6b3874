// Peers: the servers of an upstream as one worker sees them. Their health is the worker's own, or
// shared by all workers where the upstream has a `zone`. Rules of nginx's round robin: a peer that
// failed max_fails times is left out for fail_timeout, then tried once. One worker, but for
// PeerHealth.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace moongate::upstream {

struct Upstream;
struct ServerRow;

// Relaxed atomics: workers that share one see each other's counts soon, which is all they need.
struct PeerHealth {
    std::atomic<std::uint32_t> connections = 0;
    std::atomic<std::uint32_t> fails = 0;
    std::atomic<std::int64_t> accessed_s = 0;  // of the last failure
    std::atomic<std::int64_t> checked_s = 0;   // of the last try after failures
};

struct Bucket;

struct Peer {
    std::string name;    // the address: what $upstream_addr shows
    std::string server;  // as the configuration names it
    net::Address address;
    std::int64_t weight = 1;
    std::int64_t effective_weight = 1;
    std::int64_t current_weight = 0;
    std::uint32_t max_connections = 0;
    std::uint32_t max_fails = 1;
    std::int64_t fail_timeout_s = 10;
    bool down = false;
    std::shared_ptr<PeerHealth> health;

    // Uses by requests of this worker; a removed peer is freed when there are none left.
    std::uint32_t users = 0;
    bool removed = false;
    // The pool's list last used for this peer, and whose it is.
    Bucket* bucket = nullptr;
    std::uint64_t bucket_identity = 0;

    // May be asked now: not down, not failed lately, not full.
    bool available(std::int64_t now_s) const {
        if (down) {
            return false;
        }
        const PeerHealth& state = *health;
        if (max_fails != 0 && state.fails.load(std::memory_order_relaxed) >= max_fails &&
            now_s - state.checked_s.load(std::memory_order_relaxed) <= fail_timeout_s) {
            return false;
        }
        return max_connections == 0 ||
               state.connections.load(std::memory_order_relaxed) < max_connections;
    }
};

// What a balancing method derives from a group's peers; forgotten when they change.
struct BalancerData {
    virtual ~BalancerData() = default;
};

struct PeerGroup {
    std::vector<std::unique_ptr<Peer>> peers;
    std::int64_t total_weight = 0;
    std::uint32_t tries = 0;  // peers that are not down
    std::unique_ptr<BalancerData> data;

    void count();
};

class PeerSet {
public:
    // `upstream` must live as long as requests use the set; the set itself does not keep it.
    explicit PeerSet(const Upstream& upstream);
    PeerSet(const PeerSet&) = delete;
    PeerSet& operator=(const PeerSet&) = delete;
    ~PeerSet();

    const Upstream& upstream() const { return *upstream_; }
    PeerGroup& primary() { return primary_; }
    PeerGroup& backup() { return backup_; }
    // One peer and no backup: its failures are not counted, as in nginx.
    bool single() const { return single_; }
    std::uint32_t tries() const { return primary_.tries + backup_.tries; }

    struct Found {
        net::Address address;
        std::int64_t weight = 0;  // 0: the row's
        bool backup = false;
    };
    // Replaces the peers of row `row` by those found for its name; peers whose address stays keep
    // their state.
    void update(std::size_t row, const std::vector<Found>& found);
    void free_unused();

private:
    std::unique_ptr<Peer> make(const ServerRow& row, const net::Address& address,
                               std::int64_t weight);
    void rebuild();

    const Upstream* upstream_;
    PeerGroup primary_;
    PeerGroup backup_;
    std::vector<std::pair<const Peer*, std::size_t>> rows_;  // which row a peer comes from
    std::vector<std::unique_ptr<Peer>> retired_;
    bool single_ = false;
};

}  // namespace moongate::upstream
