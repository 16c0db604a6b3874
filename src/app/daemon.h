// Leaving the terminal: `daemon on`. Called once, after the sockets listen and before any thread or
// child exists. The process that was started stays until the one in the background says that it
// serves, so that its exit code tells whether it does (a failing init_by_lua is only found then).
#pragma once

#include <optional>

#include "app/unique_fd.h"
#include "base/log.h"

namespace moongate::app {

// Returns in the child, which leads a new session. The parent ends with code 0 once something is
// written to the descriptor that this returns, with 1 if it is closed before. Nothing is returned
// where a system call failed.
std::optional<UniqueFd> become_daemon(const Log& log);

}  // namespace moongate::app
