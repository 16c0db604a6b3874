// `listen`: parses a statement into one request an address and hands them to the SnapshotBuilder.
// Compiling thread only.
#pragma once

#include "conf/compiler.h"
#include "engine/builder.h"

namespace moongate::engine {

// The row's apply function.
conf::Applied apply_listen(conf::Compiler& compiler, const conf::Statement& statement);

// What a server without `listen` gets: *:80, or *:8000 where the process is not root's.
conf::Applied add_default_listen(conf::Compiler& compiler, ServerBuilder& server);

}  // namespace moongate::engine
