// The machine code that LuaJIT has generated on this thread: the guard's signal handler asks
// whether the program counter is in it, and the areas of a state that was abandoned are given back,
// since lua_close() never runs for it. Learned by standing between LuaJIT and mmap64, munmap and
// the registration of unwind tables: the executable's symbols come first in the search order. Calls
// of anybody but LuaJIT pass through. Everything here is the calling thread's.
#pragma once

#include <cstdint>

namespace moongate::lua {

// Async-signal-safe.
bool is_machine_code(std::uintptr_t address);
// Unmaps all areas that the state of that number (LuaHeap::number()) has generated.
void release_machine_code(std::uint64_t state);

}  // namespace moongate::lua
