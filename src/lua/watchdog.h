// What guard.cc and watchdog.cc share: the signal, and what its handler knows of LuaJIT. Internal
// to the guard (guard.h).
#pragma once

#include <signal.h>

#include <cstdint>

namespace moongate::lua {

// Nothing else in the process uses it: no interval timer of that kind is ever set.
inline constexpr int kGuardSignal = SIGVTALRM;

// Installs the handler and lets the signal through on the calling thread.
void install_guard_signal(bool restart);
bool is_luajit_text(std::uintptr_t address);

}  // namespace moongate::lua
