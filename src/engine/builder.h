// What is being built while a configuration is compiled: the engine's bag in the conf::Compiler
// (`compiler.extension<SnapshotBuilder>()`) and the objects of the enclosing blocks.
//
// The order for one block (server, location, if, limit_except): its plain statements and the
// modules' finish hooks (pass 1), then finish_location(): settings frozen, every module's install()
// called; then its child blocks, which therefore find their parent complete. A module that needs a
// child's Location before the child is compiled (`if`, whose code is part of the parent's rewrite
// code) makes it in pass 1 with add_child_location() and compiles it in pass 2 with
// compile_location(). Compiling thread only.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conf/compiler.h"
#include "engine/location.h"
#include "engine/server.h"
#include "engine/snapshot.h"

namespace moongate::engine {

// A `listen`, parsed: one of its addresses.
struct ListenRequest {
    sockaddr_storage address{};
    socklen_t address_size = 0;
    std::string text;
    bool wildcard = false;
    bool is_default = false;
    bool has_options = false;  // a parameter that concerns the socket was given
    ListenOptions options;
};

// One `server {}`: what scope_object<ServerBuilder>() finds in it and in its locations. Its own
// settings and handlers are in server->outer.
struct ServerBuilder {
    std::shared_ptr<Server> server;
    std::vector<ListenRequest> listens;
};

// Which protocols `listen` may ask for. The modules that implement them set these before compiling:
// `compiler.extension<ListenSupport>().ssl = true`.
struct ListenSupport {
    bool ssl = false;
    bool http2 = false;
    bool quic = false;
};

class SnapshotBuilder {
public:
    // Set by the application before compiling; must outlive the snapshots.
    std::span<const Module* const> modules;
    std::string configure_arguments;  // as -V tells them
    conf::SettingsRef http;
    bool has_http = false;
    // Directories for temporary files that the configuration names: the application creates them
    // at start with the rights of the account that requests run under.
    std::vector<std::string> temp_directories;

    // Records one address of a `listen` as it is read; refuses duplicates with nginx's words.
    conf::Applied add_listen(conf::Compiler& compiler, ServerBuilder& server,
                             ListenRequest request);
    void add_server(std::shared_ptr<Server> server) { servers_.push_back(std::move(server)); }
    std::span<const std::shared_ptr<Server>> servers() const { return servers_; }

    // Turns `location`, whose level is complete, into its final form: freezes the settings and lets
    // every module install what they need.
    void finish_location(Location& location, conf::Level& level);

    // Puts everything compiled into one snapshot; `main` is what Compiler::compile() returned.
    // Refuses duplicates and conflicts with nginx's words, and calls the modules' finish_snapshot.
    conf::Expected<std::shared_ptr<Snapshot>> build(std::uint64_t version, conf::Compiler& compiler,
                                                    conf::SettingsRef main,
                                                    conf::VariableTable variables);

private:
    // An address while servers are added to it (nginx's ngx_http_conf_addr_t).
    struct Address {
        ListenRequest listen;
        std::vector<std::shared_ptr<const Server>> servers;
        const Server* default_server = nullptr;
        unsigned protocols = 0;
        bool protocols_set = false;
        bool protocols_changed = false;
    };
    static void merge_protocols(conf::Compiler& compiler, Address& address,
                                const ListenRequest& request);
    conf::Applied build_addresses(conf::Compiler& compiler, Snapshot& snapshot);
    static void build_sockets(Snapshot& snapshot);

    std::vector<std::shared_ptr<Server>> servers_;
    std::vector<Address> addresses_;
    std::unordered_map<std::string, std::size_t> address_index_;
    std::vector<std::shared_ptr<const HandlerTable::Lists>> handler_lists_;
    std::vector<std::shared_ptr<const std::vector<const Filter*>>> filter_lists_;
};

// The Location that the current statement stands in: of a location, an if, a limit_except, or the
// server's own. Null outside of servers.
Location* current_location(conf::Compiler& compiler);

// A new child of the current location (of the server at server level). It is owned by the right
// parent; kinds that are found by URI or by name are not yet in a tree.
Location& add_child_location(conf::Compiler& compiler, LocationKind kind, std::string name);

// Compiles the body of `statement` as `location`'s in a level that inherits from the current one,
// finishes the location, then compiles its child blocks.
conf::Applied compile_location(conf::Compiler& compiler, const conf::Statement& statement,
                               conf::Contexts context, Location& location);

}  // namespace moongate::engine
