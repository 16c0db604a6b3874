// What is being built while a configuration is compiled: the engine's bag in the conf::Compiler
// (`compiler.extension<SnapshotBuilder>()`) and the objects of the enclosing blocks
// (`compiler.scope_object<ServerBuilder>()`, `compiler.scope_object<Location>()`). Compiling thread
// only.
#pragma once

#include <memory>
#include <vector>

#include "conf/compiler.h"
#include "engine/location.h"
#include "engine/server.h"
#include "engine/snapshot.h"

namespace moongate::engine {

// One `server {}`. Its own settings and handlers are in server->outer, which is also the scope's
// Location.
struct ServerBuilder {
    std::shared_ptr<Server> server;
    struct Listen {
        std::shared_ptr<ListenAddress> address;  // hosts unused
        bool is_default = false;
        bool has_options = false;
    };
    std::vector<Listen> listens;
};

class SnapshotBuilder {
public:
    std::span<const Module* const> modules;
    std::vector<ServerBuilder> servers;
    conf::SettingsRef http;
    bool has_http = false;

    // Turns `location`, whose level is complete, into its final form: freezes the settings and lets
    // every module install what they need.
    void finish_location(Location& location, conf::Level& level) const;

    // Puts everything compiled into one snapshot; `main` is what Compiler::compile() returned.
    // Refuses duplicates and conflicts with nginx's words.
    conf::Expected<std::shared_ptr<Snapshot>> build(std::uint64_t version, conf::Compiler& compiler,
                                                    conf::SettingsRef main,
                                                    conf::VariableTable variables);
};

}  // namespace moongate::engine
