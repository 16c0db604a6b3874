// LuaHeap: the memory of one Lua state: counted, bounded (lua_max_memory), and freed as a whole
// when the state is abandoned. Near the bound the collector is told to run whole cycles; what would
// go beyond it fails, which Lua sees as "not enough memory", but only where Lua code runs: C++ code
// that pushes results outside of a protected call always gets its memory. One thread.
#pragma once

#include <lua.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "lua/guard.h"

struct mi_heap_s;

namespace moongate::lua {

class LuaHeap {
public:
    explicit LuaHeap(WorkerGuard& guard);
    // Frees everything: the state must be closed, or never be used again.
    ~LuaHeap();
    LuaHeap(const LuaHeap&) = delete;
    LuaHeap& operator=(const LuaHeap&) = delete;

    // For lua_newstate(), with the heap as its user data.
    static void* allocate(void* heap, void* old, std::size_t old_bytes, std::size_t bytes);

    // From now on: at most so many bytes; 0: no bound.
    void set_limit(lua_State* L, std::size_t bytes);
    // Returns free memory to the system at once.
    void trim();
    std::size_t used() const { return used_; }
    std::size_t limit() const { return limit_; }
    // Unique among all states of the process.
    std::uint64_t number() const { return number_; }

private:
    bool refuse(std::size_t more);

    mi_heap_s* heap_;
    WorkerGuard& guard_;
    lua_State* main_ = nullptr;
    std::size_t used_ = 0;
    std::size_t look_at_ = std::numeric_limits<std::size_t>::max();  // above it refuse() decides
    std::size_t limit_ = 0;
    int whole_cycles_ = 0;  // allocations until the collector works in steps again; 0: it does
    int step_before_ = 0;
    const std::uint64_t number_;
};

}  // namespace moongate::lua
