// Context: what Lua code of one request (or of one timer, or of init_worker) shares over its
// phases: ngx.ctx, the output, body parameters. Lua sees its address as the request pointer
// (thread.exdata). Run is one run of a phase: the scheduler of its coroutines, alive as long as the
// phase's Task, so that cancelling the Task cancels all it waits for. Filters run inside other
// phases of the same request; Context::run is the one whose Lua code executes right now. One
// thread.
#pragma once

#include <lua.hpp>

#include <coroutine>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "async/task.h"
#include "base/arena.h"
#include "base/log.h"
#include "lua/op.h"
#include "lua/output.h"
#include "lua/settings.h"
#include "lua/vm.h"

namespace moongate::engine {
class Request;
class WorkerState;
struct BodyChunk;
struct CoreLocationSettings;
class NewRequestBody;
}  // namespace moongate::engine

namespace moongate::lua {

struct Context;
class Run;
struct BalancerRun;
class Process;

// Bit values as ngx_lua's: lua-resty-core reads them.
enum class Phase : std::uint32_t {
    Init = 0,
    Set = 0x0001,
    Rewrite = 0x0002,
    Access = 0x0004,
    Content = 0x0008,
    Log = 0x0010,
    HeaderFilter = 0x0020,
    BodyFilter = 0x0040,
    Timer = 0x0080,
    InitWorker = 0x0100,
    Balancer = 0x0200,
    ExitWorker = 0x2000,
    ServerRewrite = 0x8000,
    // Behind all that ngx_lua uses: resty.core knows no names for them (prelude.cc).
    Precontent = 0x0010'0000,
    PostRead = 0x0020'0000,
    FindConfig = 0x0040'0000,
    PostRewrite = 0x0080'0000,
    Preaccess = 0x0100'0000,
    PostAccess = 0x0200'0000,
};

// Phases whose code may answer the request: ngx.say, ngx.exit, ngx.exec, ngx.redirect, body
// reading.
constexpr bool may_answer(Phase phase) {
    constexpr auto bit = [](Phase one) { return static_cast<std::uint32_t>(one); };
    constexpr std::uint32_t kAnswering =
        bit(Phase::Rewrite) | bit(Phase::Access) | bit(Phase::Content) | bit(Phase::ServerRewrite) |
        bit(Phase::Precontent) | bit(Phase::PostRead) | bit(Phase::FindConfig) |
        bit(Phase::PostRewrite) | bit(Phase::Preaccess) | bit(Phase::PostAccess);
    return (bit(phase) & kAnswering) != 0;
}

// "header_filter_by_lua*": as messages name it.
const char* directive_of(Phase phase);

enum class CoStatus : std::uint8_t { Running, Suspended, Normal, Dead, Zombie };
std::string_view status_name(CoStatus status);

// One Lua coroutine that the scheduler knows: the entry thread of a phase, a light thread, or a
// user's coroutine. Lives in the VM's pool; its lua_State knows it through exdata2 as a number with
// a generation, so that a coroutine kept beyond its request finds nothing instead of freed memory.
struct Coroutine {
    std::uint32_t index = 0;
    std::uint32_t generation = 1;
    lua_State* L = nullptr;
    Context* context = nullptr;
    Run* run = nullptr;
    Thread thread;  // of entry and light threads: how the registry holds them
    Coroutine* parent = nullptr;
    Coroutine* next = nullptr;  // in the ready queue
    Coroutine* previous_of_context = nullptr;
    Coroutine* next_of_context = nullptr;
    Op op;
    int arguments = 0;  // on the stack, for the next resume
    CoStatus status = CoStatus::Suspended;
    bool is_light = false;  // a light thread (ngx.thread.spawn)
    bool is_wrap = false;
    bool waited_by_parent = false;
    bool waits_for_children = false;
    bool propagates_error = false;
    bool starting = false;  // its op runs inside the C function that made it
    bool queued = false;
};

// A cosocket of a Context, whose end closes it. Lies in a Lua userdata, which may live on.
class ContextSocket : public VmOwned {
public:
    ContextSocket() = default;
    ContextSocket(const ContextSocket&) = delete;
    ContextSocket& operator=(const ContextSocket&) = delete;
    ~ContextSocket() override { leave(); }
    void end_owned() override { this->~ContextSocket(); }
    virtual void close() = 0;

    // Whose it is; null before the first connect and behind the owner's end.
    Context* context() const { return context_; }
    bool orphaned() const { return orphaned_; }
    void join(Context& context);

private:
    friend struct Context;
    void leave();

    Context* context_ = nullptr;
    ContextSocket* previous_ = nullptr;
    ContextSocket* next_ = nullptr;
    bool orphaned_ = false;
};

struct Context {
    Context(Vm& vm, engine::WorkerState& worker, engine::Request* request, Arena& arena);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    Vm& vm;
    engine::WorkerState& worker;
    engine::Request* request;  // null in timers and init_worker
    Arena& arena;
    Run* run = nullptr;
    Coroutine* coroutines = nullptr;   // all that live
    ContextSocket* sockets = nullptr;  // cosockets, closed at the end
    Process* processes = nullptr;      // of ngx.pipe; killed at the end
    Run* abortable = nullptr;     // with lua_check_client_abort: what ends when the client leaves
    int ctx_ref = -1;             // into resty.core's table of ctx tables; < 0: none
    std::uint32_t ctx_epoch = 0;  // of the Lua state that has the table
    Output output;

    // set_by_lua: ngx.arg[1] and so on.
    std::span<const std::string_view> set_arguments;
    // body_filter_by_lua: the current chunk.
    std::string_view chunk;
    bool chunk_last = false;
    bool body_ended = false;
    // balancer_by_lua: the choice that is being made.
    BalancerRun* balancer = nullptr;
    int filter_exit = 0;  // what header_filter_by_lua ended with
    // ngx.req.init_body() and its successors.
    engine::NewRequestBody* new_body = nullptr;  // in the arena
    bool discarded_body = false;
    bool body_is_stream = false;  // ngx.req.socket() reads it
    int body_readers = 0;         // that began ngx.req.read_body() and did not end it
    // ngx.exec() and ngx.req.set_uri(…, true).
    std::string_view exec_uri;
    std::string_view exec_args;

    Phase phase() const;
    const Log& log() const;
    void log_line(LogLevel level, std::string_view message) const;
    const LuaSettings& settings() const;
    const engine::CoreLocationSettings& core_settings() const;

    // The Context of the code that runs in L: null in init_by_lua.
    static Context* of(lua_State* L) { return static_cast<Context*>(lua_getexdata(L)); }
};

// The context of `request`, made at the first use. Null: no VM (its init failed).
Context* context_of(engine::Request& request);
// Gives a request that has none a context on `vm`: a subrequest's is its parent's.
Context& make_context(engine::Request& request, Vm& vm);
// The one it has, or null.
Context* existing_context(engine::Request& request);

class Run {
public:
    enum class End : std::uint8_t { Waiting, Done, Exit, Exec, Jump, Error };

    Run(Context& context, Phase phase) : context_(context), phase_(phase) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() { release(); }

    // Prepares `code` as the entry thread. False: it could not be loaded (logged); code() is the
    // status to answer with.
    bool load(const LuaCode& code);
    // As load(), with the function and its arguments taken from the top of `from`.
    void load_function(lua_State* from, int values);
    // As load_function(), on a thread that holds them already.
    void load_thread(Thread thread);

    // Runs Lua until it waits or ends; false while there is something to wait for.
    bool progress();
    // co_await run.wakeup() until something that the run waits for is ready.
    struct Wakeup {
        Run& run;
        bool await_ready() const { return run.first_ready_ != nullptr; }
        void await_suspend(std::coroutine_handle<> handle) const { run.bridge_ = handle; }
        void await_resume() const { run.bridge_ = nullptr; }
    };
    Wakeup wakeup() { return {*this}; }

    End end() const { return end_; }
    int code() const { return exit_code_; }
    Context& context() const { return context_; }
    Phase phase() const { return phase_; }
    Coroutine* entry() const { return entry_; }
    // The entry's stack with its return values, after Done.
    lua_State* results() const { return entry_->L; }
    // --- for the C functions (current() is the coroutine that executes)
    Coroutine* current() const { return current_; }
    void request_exit(int code) {
        exited_ = true;
        exit_code_ = code;
    }
    void withdraw_exit() { exited_ = false; }
    bool exited() const { return exited_; }
    void request_exec() { exec_ = true; }
    void request_jump() { jump_ = true; }
    Coroutine& make_coroutine(lua_State* L);
    void adopt(Coroutine& coroutine) { coroutine.run = this; }
    // The Lua state (Vm::epoch()) that this run began on.
    std::uint32_t epoch() const { return epoch_; }
    // That state is gone: ends the run with an error and resumes the phase.
    void abandon();
    int resume(lua_State* from, Coroutine& target);
    int yield(lua_State* from);
    int spawn(lua_State* from, int values);
    int wait_children(lua_State* from);
    int kill(lua_State* from);
    // ngx.on_abort: the function on top of `from` becomes the callback. False: there is one.
    bool set_abort_callback(lua_State* from);
    // The client left. False: there is no callback, so that the phase ends.
    bool client_left();
    void make_ready(Coroutine& coroutine, int arguments);
    std::coroutine_handle<> take_bridge() { return std::exchange(bridge_, nullptr); }

private:
    enum class Event : std::uint8_t { None, Resume, Yield, Spawn };

    bool run_from(Coroutine* coroutine);
    Coroutine* handle_yield(Coroutine& coroutine, int& arguments);
    Coroutine* handle_return(Coroutine& coroutine, int& arguments);
    Coroutine* handle_error(Coroutine& coroutine, int result, int& arguments);
    Coroutine* finish_light(Coroutine& coroutine, bool success, int& arguments);
    Coroutine* hand_to_parent(Coroutine& coroutine, bool success, int& arguments);
    bool finish(End end);
    void finish_if_over();
    void end_children(Coroutine& coroutine);
    void drop_light(Coroutine& coroutine);
    bool is_abandoned() const { return epoch_ != context_.vm.epoch(); }
    void left_by_jump();
    void release();
    std::string traceback(Coroutine& coroutine) const;
    std::string failure_name() const;
    std::string take_error() { return failure_name() + std::exchange(error_, {}); }
    static bool alive(const Coroutine* coroutine) {
        return coroutine != nullptr && coroutine->status != CoStatus::Dead &&
               coroutine->status != CoStatus::Zombie;
    }

    Context& context_;
    Phase phase_;
    Coroutine* entry_ = nullptr;
    Coroutine* current_ = nullptr;
    Coroutine* first_ready_ = nullptr;
    Coroutine* last_ready_ = nullptr;
    Coroutine* event_target_ = nullptr;
    Coroutine* on_abort_ = nullptr;  // not started
    std::coroutine_handle<> bridge_;
    std::string error_;  // of a coroutine.wrap that is passed up
    int light_count_ = 0;
    int exit_code_ = 0;
    std::uint32_t epoch_ = 0;
    Event event_ = Event::None;
    End end_ = End::Waiting;
    bool exited_ = false;
    bool exec_ = false;
    bool jump_ = false;
    bool clean_end_ = false;
    const LuaCode* code_ = nullptr;  // of a directive, for messages
    bool abort_seen_ = false;        // the callback of ngx.on_abort was started
    bool out_of_memory_ = false;

    friend struct Wakeup;
};

// Starts `op` for the current coroutine of L and yields unless it finishes at once. The return
// value is the C function's.
int wait(lua_State* L, Op op);
// Whether wait() may be called here; else pushes nothing. Message for luaL_error otherwise.
const char* why_not_wait(lua_State* L);
// For functions that resty.core calls through the FFI: starts `op`; true when it has finished (its
// results are on the stack). Otherwise Lua yields by itself.
bool start_wait(Context& context, Op op, int& results);

// The context, or a Lua error as ngx_lua's.
Context& check_context(lua_State* L);
// As check_context, and there must be a request.
Context& check_request(lua_State* L);

}  // namespace moongate::lua
