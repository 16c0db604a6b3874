#include "upstream/dynamic_upstream.h"

#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "upstream/upstream_module.h"
#include "upstream/upstream_worker.h"

namespace moongate::upstream {

async::Task<std::shared_ptr<const Upstream>> dynamic_upstream(engine::Request& request,
                                                              const net::HostUrl& url,
                                                              std::string_view name) {
    if (url.address) {
        co_return make_implicit(std::string(name), {*url.address}, true);
    }
    const auto* table = request.snapshot.get<UpstreamTable>();
    if (const auto* named = table != nullptr ? table->find(url.host) : nullptr) {
        co_return *named;
    }
    const auto& core = request.get<engine::CoreLocationSettings>();
    auto* resolver = UpstreamWorker::of(request.worker).resolver(core.resolver);
    if (resolver == nullptr) {
        request.log_error(LogLevel::Error, "no resolver defined to resolve {}", url.host);
        co_return nullptr;
    }
    auto resolved = co_await resolver->resolve(std::string(url.host), core.resolver_timeout);
    if (!resolved) {
        request.log_error(LogLevel::Error, "{} could not be resolved ({}: {})", url.host,
                          resolved.error().code, resolved.error().text());
        co_return nullptr;
    }
    for (net::Address& address : resolved->addresses) {
        address.set_port(url.port);
    }
    co_return make_implicit(std::string(name), std::move(resolved->addresses), true);
}

}  // namespace moongate::upstream
