// Vm: one LuaJIT state of one worker: libraries, the ngx table, compiled code and idle threads. A
// snapshot has one a worker; requests, timers and sockets that began on it keep it until they end.
// One thread.
#pragma once

#include <lua.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "lua/settings.h"

namespace moongate::engine {
class Snapshot;
class WorkerState;
class Request;
}  // namespace moongate::engine

namespace moongate::lua {

struct Context;
struct Coroutine;
class ThreadPools;
class TimerSet;

// A Lua thread and where the registry holds it.
struct Thread {
    lua_State* L = nullptr;
    int ref = LUA_NOREF;
};

// Why code could not be compiled.
struct LoadError {
    std::string what;    // "failed to load inlined Lua code: "
    std::string reason;  // Lua's words
    int status = 500;    // for the client: 404 and 503 for files that are missing or unreadable

    std::string text() const { return what + reason; }
};

class Vm {
public:
    // Builds the state and runs init_by_lua. On failure `error` says why and null is returned.
    static Vm* create(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot,
                      std::string& error);
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;

    // The owner holds one share, everything that runs on the VM another; the last one closes it.
    void acquire() { ++users_; }
    void release();

    lua_State* state() const { return main_; }
    engine::WorkerState& worker() const { return *worker_; }
    const engine::Snapshot& snapshot() const { return *snapshot_; }
    const std::shared_ptr<const engine::Snapshot>& shared_snapshot() const { return snapshot_; }
    const LuaMainSettings& settings() const { return *settings_; }
    // The log for what happens outside of requests.
    const Log& log() const;
    TimerSet& timers() const { return *timers_; }
    // Of ngx.run_worker_thread; made at the first use.
    ThreadPools& thread_pools();

    // A thread with an empty stack, for one run of a phase.
    Thread take_thread();
    // `clean`: it ended normally and its stack is empty.
    void give_thread(Thread thread, bool clean);
    // A thread that is never used again by others: the user may keep it.
    Thread new_thread();
    void drop_thread(Thread thread);

    // Records of coroutines (context.h). find() gives null for a thread that has none (any more).
    Coroutine& make_coroutine(lua_State* L);
    void free_coroutine(Coroutine& coroutine);
    Coroutine* find_coroutine(lua_State* L) const;

    // Pushes the function of `code` to `to`, compiling it at its first use. For a file name with
    // variables, `request` evaluates it. False: compiling failed, as `error` tells.
    bool push_code(lua_State* to, const LuaCode& code, engine::Request* request, LoadError& error);

    // References into resty.core's table of ngx.ctx tables, for Context::ctx_ref. make_ctx() takes
    // the table at the top of `from` and pops it.
    int make_ctx(lua_State* from);
    void free_ctx(int ref);

    // Set once init_by_lua is over.
    bool initialised() const { return initialised_; }

    // The VM whose code runs now on this thread.
    static Vm* current();

private:
    explicit Vm(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot);
    ~Vm();
    bool set_up(std::string& error);
    bool run_chunk(const LuaCode& code, std::string_view what, std::string& error);
    bool load_code(const LuaCode& code, LoadError& error);
    bool load_file(const std::string& path, LoadError& error);

    engine::WorkerState* worker_;
    std::shared_ptr<const engine::Snapshot> snapshot_;
    const LuaMainSettings* settings_;
    lua_State* main_ = nullptr;
    std::uint32_t users_ = 1;
    bool initialised_ = false;
    std::vector<Thread> idle_;
    std::vector<std::unique_ptr<Coroutine>> coroutines_;
    std::vector<std::uint32_t> free_coroutines_;
    std::vector<int> code_refs_;  // by LuaCode::number
    std::unordered_map<std::string, int> file_refs_;
    int ctx_tables_ref_ = LUA_NOREF;
    std::unique_ptr<TimerSet> timers_;
    std::unique_ptr<ThreadPools> thread_pools_;
};

}  // namespace moongate::lua
