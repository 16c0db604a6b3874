#include "engine/listen_directive.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "conf/values.h"
#include "engine/listen_address.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::reject;

// What `listen` says behind the address.
struct Parameters {
    ListenOptions options;
    bool is_default = false;
    bool has_options = false;
};

std::optional<std::string_view> value_of(std::string_view parameter, std::string_view name) {
    if (!parameter.starts_with(name)) {
        return std::nullopt;
    }
    return parameter.substr(name.size());
}

Applied store_number(std::string_view value, std::string_view parameter, std::string_view name,
                     std::int64_t minimum, bool size, int& member) {
    const auto number = size ? conf::parse_size(value) : conf::parse_integer(value);
    if (!number || *number < minimum || *number > std::numeric_limits<int>::max()) {
        return reject(fmt::format("invalid {} \"{}\"", name, parameter));
    }
    member = static_cast<int>(*number);
    return {};
}

// on, off, or idle:interval:count, any of which may be left out.
bool parse_keepalive(std::string_view value, ListenOptions& options) {
    if (value == "on" || value == "off") {
        options.so_keepalive = value == "on" ? 1 : 0;
        return true;
    }
    int* const members[] = {&options.keepalive_idle_s, &options.keepalive_interval_s,
                            &options.keepalive_count};
    for (std::size_t i = 0; i < 3; ++i) {
        const auto colon = i < 2 ? value.find(':') : std::string_view::npos;
        const std::string_view part = value.substr(0, colon);
        if (!part.empty()) {
            const auto number = i < 2 ? conf::parse_seconds(part) : conf::parse_integer(part);
            if (!number || *number > std::numeric_limits<int>::max()) {
                return false;
            }
            *members[i] = static_cast<int>(*number);
        }
        value = colon == std::string_view::npos ? std::string_view() : value.substr(colon + 1);
    }
    options.so_keepalive = 1;
    return options.keepalive_idle_s != 0 || options.keepalive_interval_s != 0 ||
           options.keepalive_count != 0;
}

// The parameters that concern the socket: each of them also asks for a socket of its own.
// `known` is false where the parameter is none of them.
Applied apply_socket_parameter(conf::Compiler& compiler, std::string_view parameter,
                               Parameters& parameters, bool& known) {
    ListenOptions& options = parameters.options;
    Applied done;
    known = true;
    if (parameter == "bind") {
    } else if (const auto fastopen = value_of(parameter, "fastopen=")) {
        done = store_number(*fastopen, parameter, "fastopen", 0, false, options.fastopen);
    } else if (const auto backlog = value_of(parameter, "backlog=")) {
        done = store_number(*backlog, parameter, "backlog", 1, false, options.backlog);
    } else if (const auto rcvbuf = value_of(parameter, "rcvbuf=")) {
        done = store_number(*rcvbuf, parameter, "rcvbuf", 0, true, options.rcvbuf);
    } else if (const auto sndbuf = value_of(parameter, "sndbuf=")) {
        done = store_number(*sndbuf, parameter, "sndbuf", 0, true, options.sndbuf);
    } else if (parameter.starts_with("accept_filter=")) {
        compiler.warn(fmt::format(
            "accept filters \"{}\" are not supported on this platform, ignored", parameter));
        return {};
    } else if (parameter == "deferred") {
        options.deferred = true;
    } else if (parameter.starts_with("ipv6only=o")) {
        if (parameter != "ipv6only=on" && parameter != "ipv6only=off") {
            return reject(fmt::format("invalid ipv6only flags \"{}\"", parameter.substr(9)));
        }
        options.ipv6only = parameter == "ipv6only=on";
    } else if (parameter == "reuseport") {
        options.reuseport = true;
    } else if (parameter == "multipath") {
        options.multipath = true;
    } else if (const auto keepalive = value_of(parameter, "so_keepalive=")) {
        if (!parse_keepalive(*keepalive, options)) {
            return reject(fmt::format("invalid so_keepalive value: \"{}\"", *keepalive));
        }
    } else {
        known = false;
        return {};
    }
    options.bind = true;
    parameters.has_options = true;
    return done;
}

Applied requires_module(std::string_view parameter, std::string_view module) {
    return reject(fmt::format("the \"{}\" parameter requires {}", parameter, module));
}

Applied apply_parameter(conf::Compiler& compiler, std::string_view parameter,
                        Parameters& parameters) {
    const ListenSupport& support = compiler.extension<ListenSupport>();
    bool known = false;
    auto done = apply_socket_parameter(compiler, parameter, parameters, known);
    if (known) {
        return done;
    }
    if (parameter == "default_server" || parameter == "default") {
        parameters.is_default = true;
    } else if (parameter == "proxy_protocol") {
        parameters.options.proxy_protocol = true;
    } else if (parameter == "ssl") {
        if (!support.ssl) {
            return requires_module("ssl", "ngx_http_ssl_module");
        }
        parameters.options.ssl = true;
    } else if (parameter == "http2") {
        if (!support.http2) {
            return requires_module("http2", "ngx_http_v2_module");
        }
        compiler.warn(
            "the \"listen ... http2\" directive is deprecated, use the \"http2\" directive "
            "instead");
        parameters.options.http2 = true;
    } else if (parameter == "quic") {
        return requires_module("quic", "ngx_http_v3_module");
    } else {
        return reject(fmt::format("invalid parameter \"{}\"", parameter));
    }
    return {};
}

}  // namespace

Applied apply_listen(conf::Compiler& compiler, const conf::Statement& statement) {
    auto* server = compiler.scope_object<ServerBuilder>();
    auto addresses = parse_addresses(statement.arg(1), 80, true);
    if (!addresses) {
        return reject(fmt::format("{} in \"{}\" of the \"listen\" directive",
                                  addresses.error().message, statement.arg(1)));
    }
    Parameters parameters;
    for (std::size_t n = 2; n <= statement.args.size(); ++n) {
        if (auto done = apply_parameter(compiler, statement.arg(n), parameters); !done) {
            return done;
        }
    }
    auto& builder = compiler.extension<SnapshotBuilder>();
    for (ParsedAddress& address : *addresses) {
        ListenRequest request{address.address,   address.size,          address.text,
                              address.wildcard,  parameters.is_default, parameters.has_options,
                              parameters.options};
        if (auto done = builder.add_listen(compiler, *server, std::move(request)); !done) {
            return done;
        }
    }
    return {};
}

Applied add_default_listen(conf::Compiler& compiler, ServerBuilder& server) {
    const bool root = getuid() == 0;
    auto addresses = parse_addresses(root ? "*:80" : "*:8000", 80, true);
    ParsedAddress& address = addresses->front();
    ListenRequest request;
    request.address = address.address;
    request.address_size = address.size;
    request.text = address.text;
    request.wildcard = true;
    return compiler.extension<SnapshotBuilder>().add_listen(compiler, server, std::move(request));
}

}  // namespace moongate::engine
