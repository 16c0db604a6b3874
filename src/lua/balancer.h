// LuaBalancer: balancer_by_lua* as a balancing method. Its code runs in the balancer phase of the
// request, before each try; where it sets no peer, the upstream's servers are taken in turn. The
// code may wait. Source: lua-nginx-module's balancer_by_lua_block and lua-resty-core's
// ngx.balancer. The request's worker.
#pragma once

#include <memory>

#include "lua/settings.h"
#include "upstream/balancer.h"

namespace moongate::lua {

// A choice that is being made: what the functions of ngx.balancer work on.
struct BalancerRun {
    upstream::Selection& selection;
    std::size_t pool_connections;  // of enable_keepalive, where set_current_peer gives no number
    bool peer_set = false;
    std::int64_t more_tries = 0;
};

class LuaBalancer final : public upstream::Balancer {
public:
    explicit LuaBalancer(CodeRef code);

    bool choose(upstream::Selection& selection) const override;
    bool waits() const override { return true; }
    async::Task<Result<bool>> choose_later(upstream::Selection& selection) const override;
    bool supports_backup() const override { return false; }

private:
    CodeRef code_;
    std::shared_ptr<const upstream::Balancer> fallback_;
};

}  // namespace moongate::lua
