#include "upstream/upstream_worker.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/snapshot.h"
#include "upstream/upstream.h"

namespace moongate::upstream {

int upstream_worker_slot = -1;

namespace {

constexpr Milliseconds kRetryResolve{1000};
constexpr Milliseconds kLeastResolve{1000};

std::string service_name(const ServerRow& row) {
    // RFC 2782: "http" stands for _http._tcp; a name with a dot is used as it is.
    return row.service.find('.') == std::string::npos
               ? fmt::format("_{}._tcp.{}", row.service, row.host)
               : fmt::format("{}.{}", row.service, row.host);
}

std::vector<PeerSet::Found> from_service(const net::ResolvedService& service) {
    std::vector<PeerSet::Found> found;
    std::uint16_t best = 65535;
    for (const auto& target : service.targets) {
        best = std::min(best, target.priority);
    }
    for (const auto& target : service.targets) {
        for (const net::Address& address : target.addresses) {
            found.push_back(
                {address, std::max<std::int64_t>(target.weight, 1), target.priority != best});
        }
    }
    return found;
}

}  // namespace

UpstreamWorker::UpstreamWorker(engine::WorkerState& worker)
    : pool(worker.reactor()), worker_(worker), tasks_(worker.reactor()) {}

UpstreamWorker::~UpstreamWorker() = default;

UpstreamWorker& UpstreamWorker::of(engine::WorkerState& worker) {
    return *worker.get<UpstreamWorker>(upstream_worker_slot);
}

PeerSet& UpstreamWorker::peers(const std::shared_ptr<const Upstream>& upstream) {
    Entry& entry = sets_[upstream.get()];
    if (entry.set == nullptr || entry.alive.expired()) {
        entry.set = std::make_unique<PeerSet>(*upstream);
        entry.alive = upstream;
    }
    return *entry.set;
}

net::Resolver& UpstreamWorker::resolver(const net::ResolverOptions& options) {
    std::string key =
        fmt::format("{} {} {}{}", options.servers, options.valid_s, options.ipv4, options.ipv6);
    auto& slot = resolvers_[std::move(key)];
    if (slot == nullptr) {
        slot = std::make_unique<net::Resolver>(worker_.reactor(), options);
    }
    return *slot;
}

net::Resolver* UpstreamWorker::resolver(const std::vector<std::string>& values) {
    if (values.empty()) {
        return nullptr;
    }
    std::string key;
    for (const std::string& value : values) {
        key += value;
        key += ' ';
    }
    auto& slot = resolvers_[key];
    if (slot == nullptr) {
        const auto options = net::parse_resolver(values);
        if (!options) {
            resolvers_.erase(key);
            return nullptr;
        }
        slot = std::make_unique<net::Resolver>(worker_.reactor(), *options);
    }
    return slot.get();
}

void UpstreamWorker::serve(const engine::Snapshot& snapshot) {
    std::erase_if(sets_, [](const auto& one) { return one.second.alive.expired(); });
    const auto* table = snapshot.get<UpstreamTable>();
    if (table == nullptr) {
        return;
    }
    for (const auto& upstream : table->all) {
        if (!upstream->has_dynamic_servers() || sets_.contains(upstream.get())) {
            continue;
        }
        peers(upstream);
        for (std::size_t row = 0; row < upstream->servers.size(); ++row) {
            if (upstream->servers[row].resolve) {
                tasks_.spawn("upstream resolve", keep_resolving(upstream, upstream.get(), row));
            }
        }
    }
}

async::Task<void> UpstreamWorker::keep_resolving(std::weak_ptr<const Upstream> alive,
                                                 const Upstream* key, std::size_t row_index) {
    for (;;) {
        std::string name;
        std::string service;
        std::uint16_t port = 0;
        Milliseconds timeout{};
        net::Resolver* names = nullptr;
        {
            const auto upstream = alive.lock();
            if (upstream == nullptr || upstream->resolver == nullptr) {
                co_return;
            }
            const ServerRow& row = upstream->servers[row_index];
            name = row.host;
            service = row.service.empty() ? std::string() : service_name(row);
            port = row.port;
            timeout = upstream->resolver_timeout;
            names = &resolver(*upstream->resolver);
        }
        std::vector<PeerSet::Found> found;
        std::uint64_t valid_until = 0;
        if (service.empty()) {
            const auto resolved = co_await names->resolve(name, timeout);
            if (resolved) {
                valid_until = resolved->valid_until_ms;
                for (net::Address address : resolved->addresses) {
                    address.set_port(port);
                    found.push_back({address, 0, false});
                }
            }
        } else {
            const auto resolved = co_await names->resolve_service(service, timeout);
            if (resolved) {
                valid_until = resolved->valid_until_ms;
                found = from_service(*resolved);
            }
        }
        {
            const auto upstream = alive.lock();
            const auto entry = sets_.find(key);
            if (upstream == nullptr || entry == sets_.end()) {
                co_return;
            }
            // A failure changes nothing: the addresses known so far stay in use.
            if (!found.empty()) {
                entry->second.set->update(row_index, found);
            }
        }
        const std::uint64_t now = worker_.reactor().now_ms();
        Milliseconds wait = found.empty() ? kRetryResolve : kLeastResolve;
        if (valid_until > now) {
            wait = std::max(wait, Milliseconds(valid_until - now));
        }
        co_await async::sleep(worker_.reactor(), wait);
    }
}

void UpstreamWorker::stop() {
    tasks_.cancel_all();
    pool.clear();
}

}  // namespace moongate::upstream
