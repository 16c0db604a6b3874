// The parts of the VM's library, one function a file: each puts its functions into the ngx table at
// the top of the stack (or into globals). Also what those files share. One thread.
#pragma once

#include <lua.hpp>

#include <string>
#include <string_view>

namespace moongate::engine {
class Snapshot;
class WorkerState;
}  // namespace moongate::engine

namespace moongate::lua {

class Vm;
struct Context;

// Libraries, paths, ngx, ndk, coroutine and resty.core; everything before init_by_lua.
bool set_up_libraries(Vm& vm, std::string& error);
// From now on, new global variables are warned about in the log.
void guard_globals(lua_State* L);

void install_constants(lua_State* L);
void install_output(lua_State* L);
void install_control(lua_State* L);
void install_client_abort(lua_State* L);
void install_log(lua_State* L);
void install_request(lua_State* L);
void install_request_body(lua_State* L);
void install_encoding(lua_State* L);
void install_config(lua_State* L, const engine::Snapshot& snapshot);
void install_coroutines(lua_State* L);
void install_threads(lua_State* L);
void install_capture(lua_State* L);
void install_timers(lua_State* L);
void install_shared_dicts(lua_State* L, const engine::Snapshot& snapshot);
void install_worker_threads(lua_State* L);
void install_sockets(lua_State* L);
void install_request_socket(lua_State* L);
// After resty.core: its wrappers fall back to the plain functions in filters, ours wait there too.
void install_coroutine_wrappers(lua_State* L);

// Also after it: what it does not know of (prelude.cc).
void install_prelude(lua_State* L);
// What add_preload() knows, into package.preload (preload.h).
void install_preloads(lua_State* L);
// Runs a chunk of the program's own; a Lua error where it is wrong. Its values are pushed.
// The topmost `arguments` values are its arguments.
void run_own(lua_State* L, std::string_view code, const char* name, int arguments, int results);
// Packages (preload.h).
int open_balancer(lua_State* L);
int open_response(lua_State* L);
int open_connection(lua_State* L);

// The FFI's symbols stand in files that nothing else refers to: each has one function that
// keep_ffi() calls, so that the linker takes the file.
void keep_ffi();

// Sets fields of the table at the top of the stack.
void set_function(lua_State* L, const char* name, lua_CFunction function);
inline void push(lua_State* L, std::string_view text) {
    lua_pushlstring(L, text.data(), text.size());
}
inline std::string_view to_view(lua_State* L, int index) {
    std::size_t size = 0;
    const char* text = lua_tolstring(L, index, &size);
    return {text, text != nullptr ? size : 0};
}
inline std::string_view check_view(lua_State* L, int index) {
    std::size_t size = 0;
    const char* text = luaL_checklstring(L, index, &size);
    return {text, size};
}

// The text of a value that output functions and sockets take, tables in tables with it: its size
// (or a Lua error about `argument`), and the text itself. `kinds`: what the error says was
// expected.
std::size_t measure_value(lua_State* L, int index, int argument, const char* kinds);
char* write_value(lua_State* L, int index, char* to);

// The worker of this thread.
engine::WorkerState* this_worker();
// Thread numbers of all workers of the process; returns how many were written.
int worker_pids(int* to, int room);

// "a=1&b" from the table at `index` (ngx.encode_args); a Lua error for values that cannot be.
std::string encode_args(lua_State* L, int index);
// Pushes the table of `text` (ngx.decode_args). True: `max` was reached.
bool push_args(lua_State* L, std::string_view text, int max);

}  // namespace moongate::lua
