#include "upstream/balancer.h"

#include <algorithm>

#include "upstream/upstream.h"

namespace moongate::upstream {

async::Task<Result<bool>> Balancer::choose_later(Selection& selection) const {
    co_return choose(selection);
}

void take_peer(Selection& selection) {
    if (Peer* peer = selection.peer) {
        ++peer->users;
        peer->health->connections.fetch_add(1, std::memory_order_relaxed);
    }
}

bool release_peer(Selection& selection, Outcome outcome) {
    Peer* peer = std::exchange(selection.peer, nullptr);
    if (selection.tries_left > 0) {
        --selection.tries_left;
    }
    if (peer == nullptr) {
        return false;
    }
    PeerHealth& health = *peer->health;
    bool disabled = false;
    if (selection.set->single()) {
        if (health.fails.load(std::memory_order_relaxed) != 0) {
            health.fails.store(0, std::memory_order_relaxed);
        }
        selection.tries_left = 0;
    } else if (outcome == Outcome::Failed) {
        const std::uint32_t fails = health.fails.fetch_add(1, std::memory_order_relaxed) + 1;
        health.accessed_s.store(selection.now_s, std::memory_order_relaxed);
        health.checked_s.store(selection.now_s, std::memory_order_relaxed);
        if (peer->max_fails != 0) {
            peer->effective_weight -= peer->weight / peer->max_fails;
            disabled = fails == peer->max_fails;
        }
        peer->effective_weight = std::max<std::int64_t>(peer->effective_weight, 0);
    } else if (health.fails.load(std::memory_order_relaxed) != 0 &&
               health.accessed_s.load(std::memory_order_relaxed) <
                   health.checked_s.load(std::memory_order_relaxed)) {
        // The try after fail_timeout went well.
        health.fails.store(0, std::memory_order_relaxed);
    }
    health.connections.fetch_sub(1, std::memory_order_relaxed);
    if (--peer->users == 0 && peer->removed) {
        selection.tried.clear();
        selection.set->free_unused();
    } else if (outcome != Outcome::Ok) {
        selection.tried.push_back(peer);
    }
    return disabled;
}

Peer* next_round_robin(PeerGroup& group, const Selection& selection) {
    Peer* best = nullptr;
    std::int64_t total = 0;
    for (const auto& owned : group.peers) {
        Peer* peer = owned.get();
        if (selection.was_tried(peer) || !peer->available(selection.now_s)) {
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
    if (best == nullptr) {
        return nullptr;
    }
    best->current_weight -= total;
    PeerHealth& health = *best->health;
    if (selection.now_s - health.checked_s.load(std::memory_order_relaxed) > best->fail_timeout_s) {
        health.checked_s.store(selection.now_s, std::memory_order_relaxed);
    }
    return best;
}

}  // namespace moongate::upstream
