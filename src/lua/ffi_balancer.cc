// ngx.balancer as lua-resty-core 0.1.25 binds it, what later versions add, and what prelude.cc adds
// for set_current_peer's options. The declarations are lua-resty-core's; conditions and messages
// those of ngx_http_lua_balancer.c. Lua code of balancer_by_lua alone reaches a choice.
#include <cstring>
#include <limits>
#include <string_view>

#include "engine/request.h"
#include "lua/balancer.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "net/host_url.h"
#include "upstream/flow.h"

using namespace moongate::lua;
using moongate::Milliseconds;

namespace moongate::lua {
void keep_ffi_balancer() {}
}  // namespace moongate::lua

namespace {

using Bytes = const unsigned char*;

std::string_view view(Bytes data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

// The choice being made, or null with the reason.
BalancerRun* choice_of(Context* context, const char** error) {
    if (context == nullptr || context->request == nullptr) {
        *error = "no request found";
    } else if (moongate::upstream::UpstreamFlow::of(*context->request) == nullptr) {
        *error = "no upstream found";
    } else if (context->phase() != Phase::Balancer) {
        *error = "API disabled in the current context";
    } else if (context->balancer == nullptr) {
        *error = "no upstream peer data found";
    } else {
        return context->balancer;
    }
    return nullptr;
}

int fail(const char** error, const char* why) {
    *error = why;
    return kFfiError;
}

Milliseconds milliseconds(long value) {
    return Milliseconds(value);
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_balancer_set_current_peer(Context* context, Bytes address,
                                                            std::size_t size, int port,
                                                            const char** error) {
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    const std::string_view text = context->arena.copy(view(address, size));
    const auto url =
        moongate::net::parse_host_url(text, {.default_port = static_cast<std::uint16_t>(port)});
    if (!url) {
        return fail(error, url.error().data());  // a literal
    }
    if (!url->address) {
        return fail(error, "no host allowed");
    }
    moongate::upstream::Selection& selection = choice->selection;
    selection.address = *url->address;
    selection.address_text = context->arena.copy(moongate::net::to_string(*url->address));
    selection.terms.identity = {};
    choice->peer_set = true;
    return kFfiOk;
}

// set_current_peer's third argument. Connections are shared only under the same host (the TLS name)
// and pool; `pool_size` 0: the upstream's.
MOONGATE_FFI int moongate_lua_ffi_balancer_identify(Context* context, Bytes host,
                                                    std::size_t host_size, Bytes pool,
                                                    std::size_t pool_name_size, unsigned pool_size,
                                                    const char** error) {
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    if (!choice->peer_set) {
        return fail(error, "no current peer set");
    }
    if (host_size + pool_name_size > 0) {
        choice->selection.terms.identity = context->arena.concat(
            view(host, host_size), std::string_view("\0", 1), view(pool, pool_name_size));
    }
    if (pool_size > 0) {
        choice->pool_connections = pool_size;
    }
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_set_more_tries(Context* context, int count,
                                                          const char** error) {
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    const moongate::upstream::Selection& selection = choice->selection;
    const auto limit = static_cast<std::int64_t>(selection.tries_limit);
    const std::int64_t total =
        std::int64_t{selection.choices} + std::int64_t{selection.tries_left} - 1;
    *error = nullptr;
    std::int64_t more = std::max(count, 0);
    if (limit != 0 && total + more > limit) {
        more = std::max<std::int64_t>(limit - total, 0);
        *error = "reduced tries due to limit";
    }
    choice->more_tries = more;
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_get_last_failure(Context* context, int* status,
                                                            const char** error) {
    constexpr int kNextState = 2;
    constexpr int kFailedState = 4;
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    const moongate::upstream::Selection& selection = choice->selection;
    *status = selection.last_status;
    if (!selection.last_end) {
        *status = 0;
        return 0;
    }
    return *selection.last_end == moongate::upstream::Outcome::Next ? kNextState : kFailedState;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_set_timeouts(Context* context, long connect, long send,
                                                        long read, const char** error) {
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    moongate::upstream::TryTerms& terms = choice->selection.terms;
    const auto set = [](Milliseconds& time, long value) {
        if (value > 0) {
            time = milliseconds(value);
        }
    };
    set(terms.connect_timeout, connect);
    set(terms.send_timeout, send);
    set(terms.read_timeout, read);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_recreate_request(Context* context, const char** error) {
    if (choice_of(context, error) == nullptr) {
        return kFfiError;
    }
    *error = nullptr;
    auto& flow = *moongate::upstream::UpstreamFlow::of(*context->request);
    return flow.rebuild_request() ? kFfiOk : kFfiError;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_enable_keepalive(Context* context, unsigned long timeout,
                                                            unsigned max_requests,
                                                            const char** error) {
    BalancerRun* choice = choice_of(context, error);
    if (choice == nullptr) {
        return kFfiError;
    }
    if (!choice->peer_set) {
        return fail(error, "no current peer set");
    }
    constexpr Milliseconds kForever = std::chrono::hours(24 * 365);
    moongate::upstream::KeepaliveSettings keepalive;
    keepalive.connections = choice->pool_connections;
    keepalive.requests =
        max_requests != 0 ? max_requests : std::numeric_limits<std::uint64_t>::max();
    keepalive.time = kForever;
    keepalive.timeout = timeout != 0 && timeout < static_cast<unsigned long>(kForever.count())
                            ? milliseconds(static_cast<long>(timeout))
                            : kForever;
    choice->selection.terms.keepalive = keepalive;
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_bind_to_local_addr(Context* context, Bytes address,
                                                              std::size_t size,
                                                              unsigned char* error,
                                                              std::size_t* error_size) {
    const char* why = nullptr;
    BalancerRun* choice = choice_of(context, &why);
    if (choice != nullptr) {
        const std::string_view text = view(address, size);
        auto local = moongate::net::parse_ip(text, 0);
        if (!local) {
            const auto url = moongate::net::parse_host_url(text, {.default_port = 0});
            if (url && url->address && !url->is_unix) {
                local = *url->address;
            }
        }
        if (local) {
            choice->selection.terms.local = *local;
            return kFfiOk;
        }
        why = "invalid local address";
    }
    *error_size = std::min(*error_size, std::strlen(why));
    std::memcpy(error, why, *error_size);
    return kFfiError;
}

MOONGATE_FFI int ngx_http_lua_ffi_balancer_set_upstream_tls(Context* context, int on,
                                                            const char** error) {
    if (choice_of(context, error) == nullptr) {
        return kFfiError;
    }
    return on == 0 ? kFfiOk : fail(error, "TLS to upstream servers is not supported yet");
}
