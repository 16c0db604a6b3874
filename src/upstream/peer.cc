#include "upstream/peer.h"

#include <algorithm>

#include "upstream/upstream.h"

namespace moongate::upstream {

void PeerGroup::count() {
    total_weight = 0;
    tries = 0;
    for (const auto& peer : peers) {
        total_weight += peer->weight;
        tries += peer->down ? 0 : 1;
    }
    data.reset();
}

PeerSet::PeerSet(const Upstream& upstream) : upstream_(&upstream) {
    for (std::size_t i = 0; i < upstream_->servers.size(); ++i) {
        const ServerRow& row = upstream_->servers[i];
        for (const net::Address& address : row.addresses) {
            auto peer = make(row, address, row.weight);
            rows_.emplace_back(peer.get(), i);
            (row.backup ? backup_ : primary_).peers.push_back(std::move(peer));
        }
    }
    rebuild();
}

PeerSet::~PeerSet() = default;

std::unique_ptr<Peer> PeerSet::make(const ServerRow& row, const net::Address& address,
                                    std::int64_t weight) {
    auto peer = std::make_unique<Peer>();
    peer->name = net::to_string(address);
    peer->server = row.name;
    peer->address = address;
    peer->weight = peer->effective_weight = weight;
    peer->max_connections = row.max_connections;
    peer->max_fails = row.max_fails;
    peer->fail_timeout_s = row.fail_timeout_s;
    peer->down = row.down;
    peer->health = upstream_->zone ? upstream_->zone->of(row.name + ' ' + peer->name)
                                   : std::make_shared<PeerHealth>();
    return peer;
}

void PeerSet::rebuild() {
    primary_.count();
    backup_.count();
    single_ = primary_.peers.size() == 1 && backup_.peers.empty();
}

void PeerSet::update(std::size_t row_index, const std::vector<Found>& found) {
    const ServerRow& row = upstream_->servers[row_index];
    std::vector<std::unique_ptr<Peer>> kept;
    const auto belongs = [&](const Peer* peer) {
        return std::ranges::find(rows_, std::pair<const Peer*, std::size_t>(peer, row_index)) !=
               rows_.end();
    };
    for (PeerGroup* group : {&primary_, &backup_}) {
        for (auto& peer : group->peers) {
            if (belongs(peer.get())) {
                kept.push_back(std::move(peer));
            }
        }
        std::erase(group->peers, nullptr);
    }
    std::erase_if(rows_, [&](const auto& one) { return one.second == row_index; });
    for (const Found& one : found) {
        const std::int64_t weight = one.weight > 0 ? one.weight : row.weight;
        const auto same = std::ranges::find_if(kept, [&](const auto& peer) {
            return peer != nullptr && peer->address == one.address;
        });
        std::unique_ptr<Peer> peer;
        if (same != kept.end()) {
            peer = std::move(*same);
            peer->weight = weight;
            peer->effective_weight = std::min(peer->effective_weight, weight);
        } else {
            peer = make(row, one.address, weight);
        }
        rows_.emplace_back(peer.get(), row_index);
        (row.backup || one.backup ? backup_ : primary_).peers.push_back(std::move(peer));
    }
    for (auto& peer : kept) {
        if (peer != nullptr) {
            peer->removed = true;
            retired_.push_back(std::move(peer));
        }
    }
    rebuild();
    free_unused();
}

void PeerSet::free_unused() {
    std::erase_if(retired_, [](const auto& peer) { return peer->users == 0; });
}

std::shared_ptr<PeerHealth> SharedHealth::of(const std::string& key) {
    const std::lock_guard lock(mutex_);
    auto& slot = map_[key];
    if (slot == nullptr) {
        slot = std::make_shared<PeerHealth>();
    }
    return slot;
}

bool Upstream::has_dynamic_servers() const {
    return std::ranges::any_of(servers, [](const ServerRow& row) { return row.resolve; });
}

std::uint32_t Upstream::configured_backups() const {
    return static_cast<std::uint32_t>(
        std::ranges::count_if(servers, [](const ServerRow& row) { return row.backup; }));
}

const std::shared_ptr<const Upstream>* UpstreamTable::find(std::string_view name) const {
    const auto found = by_name.find(to_lower(name));
    return found == by_name.end() ? nullptr : &found->second;
}

}  // namespace moongate::upstream
