#include "engine/builder.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "engine/core_settings.h"
#include "engine/main_settings.h"
#include "engine/module.h"

namespace moongate::engine {
namespace {

// Replaces `list` by an equal one of `known`, or remembers it. Locations with the same directives
// follow each other, and there are few kinds of them: the search is short.
template <class T>
void share(std::shared_ptr<const T>& list, std::vector<std::shared_ptr<const T>>& known) {
    if (list == nullptr) {
        return;
    }
    constexpr std::size_t kMostKnown = 256;
    const auto found =
        std::ranges::find_if(known, [&list](const auto& one) { return *one == *list; });
    if (found != known.end()) {
        list = *found;
    } else if (known.size() < kMostKnown) {
        known.push_back(list);
    }
}

// The bits of `listen` that say what is spoken on the connection, in nginx's order.
unsigned protocol_bits(const ListenOptions& options) {
    return (options.proxy_protocol ? 1U : 0U) | (options.ssl ? 2U : 0U) | (options.http2 ? 4U : 0U);
}

std::uint16_t port_of(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        return reinterpret_cast<const sockaddr_in&>(address).sin_port;
    }
    return address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                         : 0;
}

}  // namespace

void SnapshotBuilder::finish_location(Location& location, conf::Level& level) {
    location.settings = level.freeze();
    location.internal = location.settings->get<CoreLocationSettings>().internal;
    for (const Module* module : modules) {
        if (module->install != nullptr) {
            module->install(location);
        }
    }
    share(location.handlers.lists_, handler_lists_);
    share(location.filters.list_, filter_lists_);
    location.children.shrink_to_fit();
}

conf::Applied SnapshotBuilder::add_listen(conf::Compiler& compiler, ServerBuilder& server,
                                          ListenRequest request) {
    const auto [at, added] = address_index_.try_emplace(request.text, addresses_.size());
    server.listens.push_back(request);
    if (added) {
        Address address;
        address.servers.push_back(server.server);
        address.default_server = server.server.get();
        address.protocols = protocol_bits(request.options);
        address.listen = std::move(request);
        addresses_.push_back(std::move(address));
        return {};
    }
    Address& address = addresses_[at->second];
    // A server's listens come one after the other, so it would be the last one.
    if (address.servers.back() == server.server) {
        return conf::reject(fmt::format("a duplicate listen {}", request.text));
    }
    address.servers.push_back(server.server);
    const bool had_options = address.listen.has_options;
    if (request.has_options && had_options) {
        return conf::reject(fmt::format("duplicate listen options for {}", request.text));
    }
    if (request.is_default) {
        if (address.listen.is_default) {
            return conf::reject(fmt::format("a duplicate default server for {}", request.text));
        }
        address.default_server = server.server.get();
    }
    merge_protocols(compiler, address, request);
    ListenOptions options = request.has_options ? request.options : address.listen.options;
    options.proxy_protocol |= request.options.proxy_protocol;
    options.proxy_protocol |= address.listen.options.proxy_protocol;
    options.ssl = request.options.ssl || address.listen.options.ssl;
    options.http2 = request.options.http2 || address.listen.options.http2;
    address.listen.options = options;
    address.listen.has_options = had_options || request.has_options;
    address.listen.is_default = address.listen.is_default || request.is_default;
    return {};
}

// Warns, as nginx does, where two `listen` of one address do not say the same about protocols.
void SnapshotBuilder::merge_protocols(conf::Compiler& compiler, Address& address,
                                      const ListenRequest& request) {
    const unsigned now = protocol_bits(request.options);
    const unsigned before = protocol_bits(address.listen.options);
    const bool had_options = address.listen.has_options && !request.has_options;
    bool redefined = false;
    if ((now | before) != before) {
        redefined = had_options || address.protocols_changed || (now | before) != now;
        address.protocols = before;
        address.protocols_changed = true;
    } else if ((now | before) != now) {
        redefined = request.has_options || (address.protocols_set && now != address.protocols);
        address.protocols = now;
        address.protocols_changed = true;
    } else {
        redefined = (request.has_options && address.protocols_changed) ||
                    (address.protocols_set && now != address.protocols);
        address.protocols = now;
    }
    address.protocols_set = true;
    if (redefined) {
        compiler.warn(fmt::format("protocol options redefined for {}", address.listen.text));
    }
}

conf::Applied SnapshotBuilder::build_addresses(conf::Compiler& compiler, Snapshot& snapshot) {
    for (Address& address : addresses_) {
        auto made = std::make_unique<ListenAddress>();
        made->address = address.listen.address;
        made->address_size = address.listen.address_size;
        made->text = address.listen.text;
        made->wildcard = address.listen.wildcard;
        made->options = address.listen.options;
        for (auto& server : address.servers) {
            const bool is_default = server.get() == address.default_server;
            made->hosts.add(std::move(server), is_default);
        }
        const auto complaints = made->hosts.finish();
        if (!complaints.invalid.empty()) {
            return std::unexpected(conf::ConfError::unplaced(
                fmt::format("invalid server name or wildcard \"{}\" on {}",
                            complaints.invalid.front(), made->text)));
        }
        for (const std::string& name : complaints.conflicts) {
            compiler.warn(
                fmt::format("conflicting server name \"{}\" on {}, ignored", name, made->text));
        }
        snapshot.addresses_.push_back(std::move(made));
    }
    return {};
}

// One socket for a wildcard address and for all addresses of its port that do not ask for their
// own.
void SnapshotBuilder::build_sockets(Snapshot& snapshot) {
    std::map<std::pair<int, std::uint16_t>, const ListenAddress*> wildcards;
    for (const auto& address : snapshot.addresses_) {
        if (address->wildcard) {
            wildcards[{address->address.ss_family, port_of(address->address)}] = address.get();
        }
    }
    std::unordered_map<const ListenAddress*, std::vector<const ListenAddress*>> covered;
    for (const auto& address : snapshot.addresses_) {
        const auto found =
            address->address.ss_family == AF_UNIX
                ? wildcards.end()
                : wildcards.find({address->address.ss_family, port_of(address->address)});
        if (!address->wildcard && !address->options.bind && found != wildcards.end()) {
            covered[found->second].push_back(address.get());
        }
    }
    for (const auto& address : snapshot.addresses_) {
        const auto found = covered.find(address.get());
        const auto wildcard =
            wildcards.find({address->address.ss_family, port_of(address->address)});
        const bool own = address->wildcard || address->options.bind ||
                         address->address.ss_family == AF_UNIX || wildcard == wildcards.end();
        if (own) {
            ListenSocket socket{address.get(), {}};
            if (found != covered.end()) {
                socket.others = std::move(found->second);
            }
            snapshot.sockets_.push_back(std::move(socket));
        }
    }
}

conf::Expected<std::shared_ptr<Snapshot>> SnapshotBuilder::build(std::uint64_t version,
                                                                 conf::Compiler& compiler,
                                                                 conf::SettingsRef main,
                                                                 conf::VariableTable variables) {
    if (!main->get<EventSettings>().seen) {
        return std::unexpected(conf::ConfError::unplaced("no \"events\" section in configuration"));
    }
    auto snapshot = std::make_shared<Snapshot>(version, modules);
    snapshot->http_ = has_http ? http : main;
    snapshot->main_ = std::move(main);
    snapshot->variables_ = std::move(variables);
    if (auto done = build_addresses(compiler, *snapshot); !done) {
        return std::unexpected(std::move(done.error()));
    }
    build_sockets(*snapshot);
    const std::string& bodies = snapshot->http().get<CoreLocationSettings>().client_body_temp_path;
    if (std::ranges::find(temp_directories, bodies) == temp_directories.end()) {
        temp_directories.push_back(bodies);
    }
    for (const Module* module : modules) {
        if (module->finish_snapshot == nullptr) {
            continue;
        }
        if (auto done = module->finish_snapshot(compiler, *snapshot); !done) {
            return std::unexpected(std::move(done.error()));
        }
    }
    return snapshot;
}

Location* current_location(conf::Compiler& compiler) {
    if (auto* location = compiler.scope_object<Location>(); location != nullptr) {
        return location;
    }
    auto* server = compiler.scope_object<ServerBuilder>();
    return server == nullptr ? nullptr : server->server->outer.get();
}

Location& add_child_location(conf::Compiler& compiler, LocationKind kind, std::string name) {
    Location& parent = *current_location(compiler);
    auto made = std::make_unique<Location>();
    made->kind = kind;
    made->name = std::move(name);
    made->parent = &parent;
    // Locations of the server level belong to the server; what stands in its `outer` are ifs.
    const bool top = parent.kind == LocationKind::Server && kind != LocationKind::If;
    auto& owner = top ? compiler.scope_object<ServerBuilder>()->server->owned : parent.children;
    return *owner.emplace_back(std::move(made));
}

conf::Applied compile_location(conf::Compiler& compiler, const conf::Statement& statement,
                               conf::Contexts context, Location& location) {
    auto level = compiler.child_level();
    auto& builder = compiler.extension<SnapshotBuilder>();
    return compiler.walk(statement, context, *level, typeid(Location), &location, [&] {
        builder.finish_location(location, *level);
        return conf::Applied();
    });
}

}  // namespace moongate::engine
