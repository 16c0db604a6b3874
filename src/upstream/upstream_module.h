// The `upstream {}` block and everything in it, and the module object that owns each worker's
// UpstreamWorker. Compiling thread, but for the module's worker hooks.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "conf/compiler.h"
#include "engine/module.h"
#include "net/host_url.h"
#include "upstream/upstream.h"

namespace moongate::upstream {

extern const engine::Module upstream_module;

// The block being compiled: `compiler.scope_object<UpstreamBuilder>()`. Other modules' rows for
// kUpstream (balancer_by_lua) set `upstream->balancer` here.
struct UpstreamBuilder {
    std::shared_ptr<Upstream> upstream;
    bool keepalive_set = false;
    bool supports_backup = true;
    bool has_method = false;
};

// The upstreams of a configuration while it is compiled: `compiler.extension<UpstreamSet>()`. A
// live change puts the served snapshot's table in first, through seed().
class UpstreamSet {
public:
    void seed(const UpstreamTable& table);
    // What proxy_pass names, known by now or by the end: `receive` gets it when all blocks were
    // compiled. Errors are nginx's: an unknown host, a port behind an upstream's name.
    conf::Applied refer(conf::Compiler& compiler, const net::HostUrl& url,
                        std::function<void(std::shared_ptr<const Upstream>)> receive);

    std::unordered_map<std::string, std::shared_ptr<const Upstream>, StringHash, std::equal_to<>>
        blocks;
    std::unordered_map<std::string, std::shared_ptr<const Upstream>, StringHash, std::equal_to<>>
        implicit;                            // "host:port"
    std::unordered_set<std::string> seeded;  // blocks that a live change may replace
};

// An upstream of these addresses. `transient`: for one request (proxy_pass with variables).
std::shared_ptr<const Upstream> make_implicit(std::string name, std::vector<net::Address> addresses,
                                              bool transient);

}  // namespace moongate::upstream
