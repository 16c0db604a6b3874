#include "upstream/upstream_module.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "conf/values.h"
#include "engine/core_settings.h"
#include "engine/snapshot.h"
#include "upstream/balancers.h"
#include "upstream/flow.h"
#include "upstream/proxy_module.h"
#include "upstream/upstream_worker.h"

namespace moongate::upstream {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::reject;
using conf::Statement;

std::string place_of(const Statement& statement) {
    return fmt::format("{}:{}", statement.file ? *statement.file : "command line", statement.line);
}

Upstream& current(Compiler& compiler) {
    return *compiler.scope_object<UpstreamBuilder>()->upstream;
}

Applied check_block(Compiler& compiler, const Statement& statement, UpstreamBuilder& builder) {
    Upstream& upstream = *builder.upstream;
    if (upstream.servers.empty()) {
        return reject("no servers are inside upstream");
    }
    const auto& core = compiler.level().get<engine::CoreLocationSettings>();
    if (upstream.has_dynamic_servers()) {
        if (upstream.resolver == nullptr) {
            if (core.resolver.empty()) {
                return reject(fmt::format(
                    "no resolver defined to resolve names at run time in upstream \"{}\"",
                    upstream.name));
            }
            auto options = net::parse_resolver(core.resolver);
            if (!options) {
                return reject(options.error());
            }
            upstream.resolver = std::make_shared<const net::ResolverOptions>(std::move(*options));
            upstream.resolver_timeout = core.resolver_timeout;
        }
        if (upstream.zone == nullptr) {
            return reject(
                fmt::format("resolving names at run time requires upstream \"{}\" in {} "
                            "to be in shared memory",
                            upstream.name, upstream.place));
        }
    } else {
        bool any = false;
        for (const ServerRow& row : upstream.servers) {
            any = any || !row.backup;
        }
        if (!any) {
            return reject(fmt::format("no servers in upstream \"{}\"", upstream.name));
        }
    }
    if (!builder.keepalive_set) {
        upstream.keepalive.connections = 32;
        upstream.keepalive.local = true;
    }
    return {};
}

Applied enter_upstream(Compiler& compiler, const Statement& statement) {
    auto& set = compiler.extension<UpstreamSet>();
    const std::string key = to_lower(statement.arg(1));
    // A block of a live change replaces the seeded one; two of one file are a mistake.
    if (set.blocks.contains(key) && !set.seeded.erase(key)) {
        return reject(fmt::format("duplicate upstream \"{}\"", statement.arg(1)));
    }
    UpstreamBuilder builder;
    builder.upstream = std::make_shared<Upstream>();
    builder.upstream->name = std::string(statement.arg(1));
    builder.upstream->balancer = make_round_robin();
    builder.upstream->place = place_of(statement);
    const auto level = compiler.child_level();
    const Applied walked = compiler.walk(statement, conf::kUpstream, *level, &builder);
    if (!walked) {
        return walked;
    }
    if (Applied checked = check_block(compiler, statement, builder); !checked) {
        return checked;
    }
    set.blocks[key] = builder.upstream;
    return {};
}

std::unexpected<conf::ConfError> invalid_parameter(std::string_view text) {
    return reject(fmt::format("invalid parameter \"{}\"", text));
}

// One parameter of `server`. False: unknown or with a bad value.
bool read_parameter(std::string_view text, ServerRow& row) {
    const auto number_behind = [&](std::size_t prefix) {
        return conf::parse_integer(text.substr(prefix));
    };
    if (text.starts_with("weight=")) {
        const auto value = number_behind(7);
        row.weight = value.value_or(0);
        return value && *value > 0 && *value < 1'000'000'000;
    }
    if (text.starts_with("max_conns=")) {
        const auto value = number_behind(10);
        row.max_connections = static_cast<std::uint32_t>(value.value_or(0));
        return value && *value <= 0x7fffffff;
    }
    if (text.starts_with("max_fails=")) {
        const auto value = number_behind(10);
        row.max_fails = static_cast<std::uint32_t>(value.value_or(0));
        return value && *value <= 0x7fffffff;
    }
    if (text.starts_with("fail_timeout=")) {
        const auto value = conf::parse_seconds(text.substr(13));
        row.fail_timeout_s = value.value_or(0);
        return value.has_value();
    }
    if (text == "backup") {
        row.backup = true;
    } else if (text == "down" || text == "drain") {
        // Without sticky sessions nothing is sent to a draining server either.
        row.down = true;
    } else if (text == "resolve") {
        row.resolve = true;
    } else {
        return false;
    }
    return true;
}

Applied apply_server(Compiler& compiler, const Statement& statement) {
    auto& builder = *compiler.scope_object<UpstreamBuilder>();
    ServerRow row;
    row.name = std::string(statement.arg(1));
    for (std::size_t i = 2; i <= statement.args.size(); ++i) {
        const std::string_view text = statement.arg(i);
        if (text.starts_with("service=")) {
            row.service = std::string(text.substr(8));
            if (row.service.empty()) {
                return reject("service is empty");
            }
        } else if (text.starts_with("route=")) {
            row.route = std::string(text.substr(6));
            if (row.route.empty()) {
                return reject("route is empty");
            }
            if (row.route.size() > 32) {
                return reject("route is longer than 32");
            }
        } else if (text == "backup" && !builder.supports_backup) {
            return reject(fmt::format("balancing method does not support parameter \"{}\"", text));
        } else if (!read_parameter(text, row)) {
            return invalid_parameter(text);
        }
    }
    if (!row.service.empty() && !row.resolve) {
        return reject(
            fmt::format("service upstream \"{}\" requires \"resolve\" parameter", row.name));
    }
    const auto url = net::parse_host_url(row.name, {.default_port = 80});
    if (!url) {
        return reject(fmt::format("{} in upstream \"{}\"", url.error(), row.name));
    }
    row.host = std::string(url->host);
    row.port = url->port;
    if (!row.service.empty() && !url->no_port) {
        return reject(fmt::format("service upstream \"{}\" may not have port", row.name));
    }
    if (!row.service.empty() && url->address) {
        return reject(fmt::format("service upstream \"{}\" requires domain name", row.name));
    }
    if (url->address) {
        row.addresses.push_back(*url->address);
        row.resolve = false;
    } else if (!row.resolve) {
        row.addresses = net::resolve_blocking(url->host, url->port);
        if (row.addresses.empty()) {
            return reject(fmt::format("host not found in upstream \"{}\"", row.name));
        }
    }
    builder.upstream->servers.push_back(std::move(row));
    return {};
}

// --- keepalive
Applied apply_keepalive(Compiler& compiler, const Statement& statement) {
    auto& builder = *compiler.scope_object<UpstreamBuilder>();
    if (builder.keepalive_set) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    const auto count = conf::parse_integer(statement.arg(1));
    if (!count) {
        return reject(fmt::format("invalid value \"{}\" in \"{}\" directive", statement.arg(1),
                                  statement.name));
    }
    if (statement.args.size() == 2) {
        if (statement.arg(2) != "local") {
            return invalid_parameter(statement.arg(2));
        }
        builder.upstream->keepalive.local = true;
    }
    builder.keepalive_set = true;
    builder.upstream->keepalive.connections = static_cast<std::size_t>(*count);
    return {};
}

Applied once(Compiler& compiler, const Statement& statement, const conf::Directive& row) {
    if (!compiler.level().first(&row)) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    return {};
}

struct UpstreamBlockSettings {};  // the rows below keep nothing in levels

Applied apply_requests(Compiler& compiler, const Statement& statement, UpstreamBlockSettings&,
                       const conf::Directive& row) {
    if (Applied first = once(compiler, statement, row); !first) {
        return first;
    }
    const auto value = conf::parse_integer(statement.arg(1));
    if (!value) {
        return conf::reject_directive(statement.name, "invalid number");
    }
    current(compiler).keepalive.requests = static_cast<std::uint64_t>(*value);
    return {};
}

Applied apply_time(Compiler& compiler, const Statement& statement, UpstreamBlockSettings&,
                   const conf::Directive& row) {
    if (Applied first = once(compiler, statement, row); !first) {
        return first;
    }
    const auto value = conf::parse_msec(statement.arg(1));
    if (!value) {
        return conf::reject_directive(statement.name, "invalid value");
    }
    Upstream& upstream = current(compiler);
    if (statement.name == "keepalive_time") {
        upstream.keepalive.time = Milliseconds(*value);
    } else if (statement.name == "keepalive_timeout") {
        upstream.keepalive.timeout = Milliseconds(*value);
    } else {
        upstream.resolver_timeout = Milliseconds(*value);
    }
    return {};
}

Applied apply_resolver(Compiler& compiler, const Statement& statement) {
    Upstream& upstream = current(compiler);
    if (upstream.resolver != nullptr) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    auto options = net::parse_resolver(statement.args);
    if (!options) {
        return reject(options.error());
    }
    upstream.resolver = std::make_shared<const net::ResolverOptions>(std::move(*options));
    return {};
}

Applied apply_zone(Compiler& compiler, const Statement& statement) {
    Upstream& upstream = current(compiler);
    if (statement.arg(1).empty()) {
        return reject(fmt::format("invalid zone name \"{}\"", statement.arg(1)));
    }
    if (statement.args.size() == 2) {
        const auto size = conf::parse_size(statement.arg(2));
        if (!size) {
            return reject(fmt::format("invalid zone size \"{}\"", statement.arg(2)));
        }
        if (*size < 8 * 4096) {
            return reject(fmt::format("zone \"{}\" is too small", statement.arg(1)));
        }
    }
    upstream.zone_name = std::string(statement.arg(1));
    upstream.zone = std::make_shared<SharedHealth>();
    return {};
}

// --- methods
Applied set_method(Compiler& compiler, std::shared_ptr<const Balancer> balancer) {
    auto& builder = *compiler.scope_object<UpstreamBuilder>();
    if (builder.has_method) {
        compiler.warn("load balancing method redefined");
    }
    builder.has_method = true;
    builder.supports_backup = balancer->supports_backup();
    builder.upstream->balancer = std::move(balancer);
    return {};
}
Applied apply_ip_hash(Compiler& compiler, const Statement&) {
    return set_method(compiler, make_ip_hash());
}
Applied apply_least_conn(Compiler& compiler, const Statement&) {
    return set_method(compiler, make_least_conn());
}
Applied apply_hash(Compiler& compiler, const Statement& statement) {
    auto key = compiler.compile_string(statement.arg(1));
    if (!key) {
        return std::unexpected(std::move(key.error()));
    }
    const bool consistent = statement.args.size() == 2;
    if (consistent && statement.arg(2) != "consistent") {
        return invalid_parameter(statement.arg(2));
    }
    return set_method(compiler, make_hash(std::move(*key), consistent));
}
Applied apply_random(Compiler& compiler, const Statement& statement) {
    if (!statement.args.empty() && statement.arg(1) != "two") {
        return invalid_parameter(statement.arg(1));
    }
    if (statement.args.size() == 2 && statement.arg(2) != "least_conn") {
        return invalid_parameter(statement.arg(2));
    }
    return set_method(compiler, make_random(!statement.args.empty()));
}

constexpr conf::Directive kRows[] = {
    conf::block<enter_upstream>("upstream", conf::kHttp, conf::kTake1,
                                "Defines a group of servers that proxy_pass and the like name.")
        .syntax("name"),
    conf::custom<apply_server>("server", conf::kUpstream, conf::kOneOrMore, "",
                               "One server of the group: an address or a name, and how it is used.")
        .syntax("address [weight=n] [max_conns=n] [max_fails=n] [fail_timeout=time] [backup] "
                "[down] [drain] [resolve] [service=name] [route=text]"),
    conf::custom<apply_keepalive>(
        "keepalive", conf::kUpstream, conf::kTake12, "32 local",
        "How many idle connections a worker keeps; `local`: only for the location that opened "
        "them.")
        .syntax("connections [local]"),
    conf::custom<apply_requests>("keepalive_requests", conf::kUpstream, conf::kTake1, "1000",
                                 "Requests after which a kept connection is closed."),
    conf::custom<apply_time>("keepalive_time", conf::kUpstream, conf::kTake1, "1h",
                             "Age after which a connection is not kept any more."),
    conf::custom<apply_time>("keepalive_timeout", conf::kUpstream, conf::kTake1, "60s",
                             "How long a kept connection may be idle."),
    conf::custom<apply_resolver>("resolver", conf::kUpstream, conf::kOneOrMore, "",
                                 "Name servers for the group's servers with `resolve`.")
        .syntax("address ... [valid=time] [ipv4=on|off] [ipv6=on|off]"),
    conf::custom<apply_time>("resolver_timeout", conf::kUpstream, conf::kTake1, "30s",
                             "How long a name is waited for."),
    conf::custom<apply_zone>("zone", conf::kUpstream, conf::kTake12, "",
                             "Workers share the servers' failures and connection counts. The size "
                             "is accepted and not needed.")
        .syntax("name [size]"),
    conf::custom<apply_ip_hash>("ip_hash", conf::kUpstream, conf::kNoArgs, "",
                                "Chooses by the client's address."),
    conf::custom<apply_least_conn>("least_conn", conf::kUpstream, conf::kNoArgs, "",
                                   "Chooses the server with the fewest connections for its "
                                   "weight."),
    conf::custom<apply_hash>("hash", conf::kUpstream, conf::kTake12, "",
                             "Chooses by a key; `consistent`: with the ketama method.")
        .syntax("key [consistent]"),
    conf::custom<apply_random>("random", conf::kUpstream, conf::kNoArgs | conf::kTake12, "",
                               "Draws a server; `two`: the less loaded of two.")
        .syntax("[two [least_conn]]"),
};

conf::Applied finish_snapshot(conf::Compiler& compiler, engine::Snapshot& snapshot) {
    auto table = std::make_shared<UpstreamTable>();
    for (const auto& [name, upstream] : compiler.extension<UpstreamSet>().blocks) {
        table->by_name[name] = upstream;
        table->all.push_back(upstream);
    }
    snapshot.put<UpstreamTable>(std::move(table));
    return {};
}

Status start_worker(engine::WorkerState& worker) {
    worker.put(upstream_worker_slot, std::make_unique<UpstreamWorker>(worker));
    return {};
}
void serve(engine::WorkerState& worker, const engine::Snapshot& snapshot) {
    UpstreamWorker::of(worker).serve(snapshot);
}
async::Task<void> stop_worker(engine::WorkerState& worker) {
    UpstreamWorker::of(worker).stop();
    co_return;
}

}  // namespace

const engine::Module upstream_module = {
    .directives = {.module = "upstream", .rows = kRows},
    .variables = upstream_variables(),
    .context_slot = &flow_context_slot,
    .worker_slot = &upstream_worker_slot,
    .finish_snapshot = &finish_snapshot,
    .start_worker = &start_worker,
    .serve = &serve,
    .stop_worker = &stop_worker,
};

void UpstreamSet::seed(const UpstreamTable& table) {
    for (const auto& upstream : table.all) {
        blocks.emplace(to_lower(upstream->name), upstream);
        seeded.insert(to_lower(upstream->name));
    }
}

std::shared_ptr<const Upstream> make_implicit(std::string name, std::vector<net::Address> addresses,
                                              bool transient) {
    auto upstream = std::make_shared<Upstream>();
    upstream->implicit = true;
    upstream->transient = transient;
    ServerRow row;
    row.name = name;
    row.addresses = std::move(addresses);
    upstream->servers.push_back(std::move(row));
    upstream->name = std::move(name);
    upstream->balancer = make_round_robin();
    return upstream;
}

conf::Applied UpstreamSet::refer(conf::Compiler& compiler, const net::HostUrl& url,
                                 std::function<void(std::shared_ptr<const Upstream>)> receive) {
    std::string host(url.host);
    compiler.at_end([this, host = std::move(host), port = url.port, no_port = url.no_port,
                     is_unix = url.is_unix, address = url.address, text = std::string(url.url),
                     receive = std::move(receive)]() -> Applied {
        const auto block = address ? blocks.end() : blocks.find(to_lower(host));
        if (block != blocks.end()) {
            if (!no_port) {
                return reject(fmt::format("upstream \"{}\" may not have port {}", host, port));
            }
            receive(block->second);
            return {};
        }
        if (port == 0 && !is_unix) {
            return reject(fmt::format("no port in upstream \"{}\"", host));
        }
        std::string name = no_port || address ? host : fmt::format("{}:{}", host, port);
        auto& known = implicit[fmt::format("{}:{}", to_lower(host), port)];
        if (known == nullptr) {
            std::vector<net::Address> addresses =
                address ? std::vector<net::Address>{*address} : net::resolve_blocking(host, port);
            if (addresses.empty()) {
                return reject(fmt::format("host not found in upstream \"{}\"", host));
            }
            known = make_implicit(std::move(name), std::move(addresses), false);
        }
        receive(known);
        return {};
    });
    return {};
}

}  // namespace moongate::upstream
