// What one worker keeps for upstreams: the peers' state, idle connections, resolvers, and the
// tasks that look names up again (`resolve`). One a worker; made by the upstream module.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "async/task_group.h"
#include "engine/worker_state.h"
#include "net/resolver.h"
#include "upstream/connection_pool.h"
#include "upstream/peer.h"

namespace moongate::engine {
class Request;
class Snapshot;
}  // namespace moongate::engine

namespace moongate::upstream {

struct AttemptLog;

class UpstreamWorker {
public:
    explicit UpstreamWorker(engine::WorkerState& worker);
    UpstreamWorker(const UpstreamWorker&) = delete;
    UpstreamWorker& operator=(const UpstreamWorker&) = delete;
    ~UpstreamWorker();

    static UpstreamWorker& of(engine::WorkerState& worker);

    ConnectionPool pool;

    // This worker's state of `upstream`, made at first use.
    PeerSet& peers(const std::shared_ptr<const Upstream>& upstream);
    // The resolver of a `resolver` directive's values; equal values share one. Null where they are
    // empty or refused.
    net::Resolver* resolver(const std::vector<std::string>& values);
    net::Resolver& resolver(const net::ResolverOptions& options);

    // A snapshot is served now: peers of upstreams that are gone are forgotten, and names of
    // `resolve` servers are looked up from now on.
    void serve(const engine::Snapshot& snapshot);
    void stop();

    // Attempts of requests that were redirected internally after an upstream failed, whose module
    // contexts are gone: $upstream_addr goes on to list them.
    std::unordered_map<const engine::Request*, AttemptLog*> earlier;

private:
    struct Entry {
        std::weak_ptr<const Upstream> alive;
        std::unique_ptr<PeerSet> set;
    };
    async::Task<void> keep_resolving(std::weak_ptr<const Upstream> alive, const Upstream* key,
                                     std::size_t row);

    engine::WorkerState& worker_;
    std::unordered_map<const Upstream*, Entry> sets_;
    std::unordered_map<std::string, std::unique_ptr<net::Resolver>, StringHash, std::equal_to<>>
        resolvers_;
    std::unordered_map<std::string, std::string, StringHash, std::equal_to<>> keys_;
    async::TaskGroup tasks_;
};

extern int upstream_worker_slot;

}  // namespace moongate::upstream
