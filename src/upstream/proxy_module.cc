#include "upstream/proxy_module.h"

#include <fmt/format.h>

#include "engine/location.h"
#include "net/host_url.h"
#include "upstream/dynamic_upstream.h"
#include "upstream/proxy_protocol.h"
#include "upstream/upstream_module.h"

namespace moongate::upstream {

int proxy_context_slot = -1;

namespace {

using engine::Action;
using engine::Request;

// What proxy_pass with variables comes to for this request. Null: `status` is the answer.
async::Task<std::shared_ptr<const Upstream>> evaluate_target(Request& request,
                                                             const PassTarget& target,
                                                             ProxyVars& vars) {
    Arena& arena = request.arena();
    const std::string_view text = target.dynamic.evaluate(request);
    if (!starts_with_ignore_case(text, "http://") || text.size() <= 7) {
        request.log_error(LogLevel::Error, "invalid URL prefix in \"{}\"", text);
        co_return nullptr;
    }
    const auto url = net::parse_host_url(text.substr(7), {.default_port = 80, .allow_uri = true});
    if (!url) {
        request.log_error(LogLevel::Error, "{} in upstream \"{}\"", url.error(), text.substr(7));
        co_return nullptr;
    }
    vars.scheme = text.substr(0, 7);
    if (url->is_unix) {
        vars.host_header = "localhost";
    } else if (url->no_port || url->port == 80) {
        vars.host_header = url->host;
        vars.port = "80";
    } else {
        vars.host_header = arena.concat(url->host, ":", url->port_text);
        vars.port = url->port_text;
    }
    vars.uri = url->uri.starts_with('?') ? arena.concat("/", url->uri) : url->uri;
    co_return co_await dynamic_upstream(request, *url, vars.host_header);
}

ProxyVars vars_of(const PassTarget& target) {
    return {target.scheme, target.host_header, target.port, target.uri, target.location};
}

ProxyProtocol* make_protocol(Request& request, const ProxySettings& settings,
                             const ProxyVars& vars) {
    auto* protocol = request.arena().make<ProxyProtocol>(request, settings, vars);
    request.context<ProxyProtocol>(proxy_context_slot) = protocol;
    return protocol;
}

UpstreamFlow* make_flow(Request& request, const ProxySettings& settings, ProxyProtocol* protocol,
                        std::shared_ptr<const Upstream> upstream) {
    auto* flow =
        request.arena().make<UpstreamFlow>(request, settings.flow, *protocol, std::move(upstream));
    protocol->flow = flow;
    flow->describe(protocol->vars().scheme, protocol->uri());
    flow->set_location(&settings);
    return flow;
}

// With a target to find out, or a body.
async::Task<Action> proxy_with_waiting(Request& request) {
    const auto& settings = request.get<ProxySettings>();
    const PassTarget& target = *settings.pass;
    ProxyVars vars = vars_of(target);
    std::shared_ptr<const Upstream> upstream = target.upstream;
    if (target.dynamic) {
        vars = {};
        upstream = co_await evaluate_target(request, target, vars);
        if (upstream == nullptr) {
            // nginx: 500 for what makes no URL, 502 for what has no address.
            co_return Action::finish(vars.host_header.empty() ? 500 : 502);
        }
    }
    ProxyProtocol* protocol = make_protocol(request, settings, vars);

    // --- the body
    const http::RequestFraming& framing = request.exchange.framing();
    http::BodyPart body;
    std::int64_t body_size = ProxyProtocol::kNoBody;
    bool streamed = false;
    if (settings.set_body) {
        body.bytes = settings.set_body.evaluate(request);
        body_size = static_cast<std::int64_t>(body.bytes.size());
    } else if (settings.pass_request_body) {
        const bool chunked = framing.body == http::BodyKind::Chunked;
        // HTTP/1.0 servers know no chunks: such a body is read first.
        streamed = !settings.request_buffering && request.body == nullptr &&
                   request.main == &request && framing.body != http::BodyKind::None &&
                   !(chunked && settings.http_minor == 0);
        if (streamed) {
            body_size = chunked ? ProxyProtocol::kChunked
                                : static_cast<std::int64_t>(framing.content_length);
        } else if (request.body != nullptr || framing.body != http::BodyKind::None) {
            const Status read = co_await engine::read_request_body(request);
            if (!read) {
                co_return Action::finish(read.error().code >= 400 ? read.error().code : 400);
            }
            if (request.body != nullptr && request.body->size > 0) {
                body = request.body->part();
                body_size = static_cast<std::int64_t>(request.body->size);
            } else if (framing.has_content_length || chunked) {
                body_size = 0;
            }
        } else if (framing.has_content_length) {
            body_size = 0;
        }
    }
    if (!protocol->build(body_size)) {
        co_return Action::finish(500);
    }
    UpstreamFlow* flow = make_flow(request, settings, protocol, std::move(upstream));
    if (streamed) {
        flow->stream_body(body_size == ProxyProtocol::kChunked);
    } else if (body_size > 0) {
        flow->send_body(body);
    }
    co_return co_await flow->run();
}

async::Task<Action> proxy_handler(Request& request) {
    const auto& settings = request.get<ProxySettings>();
    const PassTarget& target = *settings.pass;
    const http::RequestFraming& framing = request.exchange.framing();
    const bool bodiless = request.body == nullptr && framing.body == http::BodyKind::None &&
                          !framing.has_content_length && !settings.set_body;
    if (target.dynamic || !bodiless) {
        return proxy_with_waiting(request);
    }
    ProxyProtocol* protocol = make_protocol(request, settings, vars_of(target));
    if (!protocol->build(ProxyProtocol::kNoBody)) {
        return async::Task<Action>::ready(Action::finish(500));
    }
    return make_flow(request, settings, protocol, target.upstream)->run();
}

void install(engine::Location& location) {
    const auto& settings = location.settings->get<ProxySettings>();
    if (settings.pass == nullptr) {
        return;
    }
    // proxy_pass is not inherited but by `if` and `limit_except`.
    const engine::Location* owner = &location;
    while (owner != nullptr && owner != settings.pass->owner &&
           (owner->kind == engine::LocationKind::If ||
            owner->kind == engine::LocationKind::LimitExcept)) {
        owner = owner->parent;
    }
    if (owner != settings.pass->owner) {
        return;
    }
    if (!location.content) {
        location.content = {.name = "proxy_pass", .wait = &proxy_handler};
    }
    const bool by_name = location.kind == engine::LocationKind::Prefix ||
                         location.kind == engine::LocationKind::PrefixNoRegex ||
                         location.kind == engine::LocationKind::Exact;
    if (by_name && location.name.ends_with('/')) {
        location.auto_redirect = true;
    }
}

const ProxyProtocol* protocol_of(Request& request) {
    return request.context<ProxyProtocol>(proxy_context_slot);
}
void get_host(Request& request, std::uintptr_t, conf::VariableValue& value) {
    const ProxyProtocol* protocol = protocol_of(request);
    if (protocol == nullptr) {
        value.set_missing();
    } else {
        value.set(protocol->vars().host_header);
    }
}
void get_port(Request& request, std::uintptr_t, conf::VariableValue& value) {
    const ProxyProtocol* protocol = protocol_of(request);
    if (protocol == nullptr) {
        value.set_missing();
    } else {
        value.set(protocol->vars().port);
    }
}
void get_forwarded_for(Request& request, std::uintptr_t, conf::VariableValue& value) {
    const std::string_view ip = request.exchange.connection().remote_ip;
    const std::string_view before = request.headers.joined(http::HeaderId::XForwardedFor);
    value.set(before.empty() ? ip : request.arena().concat(before, ", ", ip));
}

constexpr conf::VariableRow kProxyVariables[] = {
    {.name = "proxy_host",
     .get = &get_host,
     .flags = conf::VariableFlags::NoCache | conf::VariableFlags::Changeable,
     .doc = "The server's name and port as proxy_pass gives them."},
    {.name = "proxy_port",
     .get = &get_port,
     .flags = conf::VariableFlags::NoCache | conf::VariableFlags::Changeable,
     .doc = "The server's port as proxy_pass gives it, or 80."},
    {.name = "proxy_add_x_forwarded_for",
     .get = &get_forwarded_for,
     .flags = conf::VariableFlags::NoCache,
     .doc = "The client's X-Forwarded-For with its address added."},
};

}  // namespace

const engine::Module proxy_module = {
    .directives = {.module = "proxy", .rows = proxy_rows(), .finish = &finish_proxy},
    .variables = kProxyVariables,
    .context_slot = &proxy_context_slot,
    .install = &install,
};

}  // namespace moongate::upstream
