// Vm: one LuaJIT state of one worker: libraries, the ngx table, compiled code and idle threads. A
// snapshot has one a worker; requests, timers and sockets that began on it keep it until they end.
// A runaway script that had to be left by a jump (guard.h) leaves its state behind: the Vm gets a
// fresh one at once, with another epoch(); runs, threads and references of the old epoch end or
// count as gone. One thread.
#pragma once

#include <lua.hpp>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "async/task.h"
#include "base/log.h"
#include "lua/guard.h"
#include "lua/heap.h"
#include "lua/settings.h"

namespace moongate::engine {
class Snapshot;
class WorkerState;
class Request;
}  // namespace moongate::engine

namespace moongate::lua {

struct Context;
struct Coroutine;
class Run;
class ThreadPools;
class TimerSet;

// A Lua thread and where the registry holds it.
struct Thread {
    lua_State* L = nullptr;
    int ref = LUA_NOREF;
    std::uint32_t epoch = 0;  // of the state that it belongs to
};

// A C++ object that Lua's collector frees through the FFI (a semaphore, a regular expression). One
// whose state was abandoned is freed with it.
class VmOwned {
public:
    VmOwned();
    virtual ~VmOwned();
    // Ends it; an object that lies in a Lua userdata is only destroyed.
    virtual void end_owned() { delete this; }
    VmOwned(const VmOwned&) = delete;
    VmOwned& operator=(const VmOwned&) = delete;

private:
    friend class Vm;
    VmOwned** before_ = nullptr;
    VmOwned* next_ = nullptr;
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
    // `limit_ms`: the bound on init_by_lua; 0: none.
    static Vm* create(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot,
                      std::int64_t limit_ms, std::string& error);
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;

    // The owner holds one share, everything that runs on the VM another; the last one closes it.
    void acquire() { ++users_; }
    void release();

    // Null where a fresh state could not be built.
    // The bound on building a VM in a worker that serves already: lua_max_run_time of http {}, and
    // at least a second, since the libraries take their time too.
    static std::int64_t set_up_limit_ms(const engine::Snapshot& snapshot);

    lua_State* state() const { return main_; }
    // Tries to build one where there is none.
    bool usable() {
        if (main_ == nullptr) [[unlikely]] {
            revive();
        }
        return main_ != nullptr;
    }
    // Counts the states that this Vm has had.
    std::uint32_t epoch() const { return epoch_; }
    std::uint64_t heap_number() const { return heap_ != nullptr ? heap_->number() : 0; }
    WorkerGuard& guard() const { return guard_; }
    // A jump has left the present state: it is set aside, a fresh one is built, and all that runs
    // on the old one ends with an error in the loop's next turn.
    // `by_init_worker`: that run was init_worker_by_lua's, which is not tried again then.
    void abandon_state(bool by_init_worker = false);
    // A whole collection, after a request that crossed lua_max_memory.
    void collect_garbage();
    void trim_heap();
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
    // `epoch`: of the state that has the table.
    void free_ctx(int ref, std::uint32_t epoch);

    // Set once init_by_lua is over.
    bool initialised() const { return initialised_; }

    // The VM whose code runs now on this thread.
    static Vm* current();

private:
    explicit Vm(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot);
    ~Vm();
    bool set_up(std::string& error);
    void close_state();
    std::int64_t run_limit_ms() const;
    bool build(std::int64_t limit_ms, std::string& error);
    // A fresh state after one could not be built; not at every request.
    void revive();
    void end_old_runs();
    static async::Task<void> end_old_runs_later(Vm& vm);
    Run* old_run() const;
    bool run_chunk(const LuaCode& code, std::string_view what, std::string& error);
    bool load_code(const LuaCode& code, LoadError& error);
    bool load_file(const std::string& path, LoadError& error);

    engine::WorkerState* worker_;
    std::shared_ptr<const engine::Snapshot> snapshot_;
    const LuaMainSettings* settings_;
    WorkerGuard& guard_;
    std::unique_ptr<LuaHeap> heap_;
    lua_State* main_ = nullptr;
    std::uint32_t epoch_ = 1;
    std::uint32_t users_ = 1;
    bool initialised_ = false;
    bool init_worker_fails_ = false;
    std::vector<Thread> idle_;
    std::vector<std::unique_ptr<Coroutine>> coroutines_;
    std::vector<std::uint32_t> free_coroutines_;
    std::vector<int> code_refs_;  // by LuaCode::number
    std::unordered_map<std::string, int> file_refs_;
    int ctx_tables_ref_ = LUA_NOREF;
    std::unique_ptr<TimerSet> timers_;
    std::unique_ptr<ThreadPools> thread_pools_;

    // What abandoned states leave until nobody can refer to it.
    struct Remains {
        std::unique_ptr<LuaHeap> heap;
        VmOwned* owned = nullptr;
    };
    friend class VmOwned;
    std::list<Remains> remains_;
    VmOwned* owned_ = nullptr;
    std::uint64_t retry_at_ms_ = 0;
};

// Keeps a Vm while it lives.
class VmShare {
public:
    explicit VmShare(Vm& vm) : vm_(vm) { vm_.acquire(); }
    VmShare(const VmShare&) = delete;
    VmShare& operator=(const VmShare&) = delete;
    ~VmShare() { vm_.release(); }

private:
    Vm& vm_;
};

}  // namespace moongate::lua
