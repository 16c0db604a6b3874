// Leaving the terminal: `daemon on`. Called once, after the sockets listen and before any thread or
// child exists, so that whoever started the program learns from its exit code whether it serves.
#pragma once

#include "base/log.h"

namespace moongate::app {

// Returns in the child, which leads a new session; the parent ends with code 0. False where that
// failed.
bool become_daemon(const Log& log);

}  // namespace moongate::app
