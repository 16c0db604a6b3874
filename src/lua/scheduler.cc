// Run: the scheduler of one phase's Lua coroutines. The rules are ngx_lua's: coroutine.resume and
// yield are events that the scheduler carries out, light threads run until they wait, the phase
// ends when the entry thread and all light threads have ended, and ngx.exit ends all of them.
#include "base/result.h"
#include "engine/request.h"
#include "lua/context.h"

namespace moongate::lua {

std::string_view status_name(CoStatus status) {
    static constexpr std::string_view kNames[] = {"running", "suspended", "normal", "dead",
                                                  "zombie"};
    return kNames[static_cast<std::size_t>(status)];
}

Coroutine& Run::make_coroutine(lua_State* L) {
    Coroutine& made = context_.vm.make_coroutine(L);
    made.context = &context_;
    made.run = this;
    made.next_of_context = context_.coroutines;
    if (context_.coroutines != nullptr) {
        context_.coroutines->previous_of_context = &made;
    }
    context_.coroutines = &made;
    lua_setexdata(L, &context_);
    return made;
}

static void free_coroutine(Coroutine& coroutine) {
    Context& context = *coroutine.context;
    (coroutine.previous_of_context != nullptr ? coroutine.previous_of_context->next_of_context
                                              : context.coroutines) = coroutine.next_of_context;
    if (coroutine.next_of_context != nullptr) {
        coroutine.next_of_context->previous_of_context = coroutine.previous_of_context;
    }
    context.vm.free_coroutine(coroutine);
}

bool Run::load(const LuaCode& code) {
    LoadError error;
    code_ = &code;
    if (!context_.vm.usable()) [[unlikely]] {
        exit_code_ = 500;
        end_ = End::Error;
        return false;
    }
    const Thread thread = context_.vm.take_thread();
    if (!context_.vm.push_code(thread.L, code, context_.request, error)) [[unlikely]] {
        context_.vm.give_thread(thread, true);
        const bool own_words = phase_ == Phase::InitWorker || phase_ == Phase::ExitWorker;
        context_.log_line(LogLevel::Error,
                          own_words ? failure_name() + error.reason : error.text());
        exit_code_ = error.status;
        end_ = End::Error;
        return false;
    }
    epoch_ = thread.epoch;
    entry_ = &make_coroutine(thread.L);
    entry_->thread = thread;
    entry_->status = CoStatus::Running;
    make_ready(*entry_, 0);
    return true;
}

void Run::load_function(lua_State* from, int values) {
    const Thread thread = context_.vm.take_thread();
    lua_checkstack(thread.L, values);
    lua_xmove(from, thread.L, values);
    load_thread(thread);
}

void Run::load_thread(Thread thread) {
    epoch_ = thread.epoch;
    entry_ = &make_coroutine(thread.L);
    entry_->thread = thread;
    entry_->status = CoStatus::Running;
    make_ready(*entry_, lua_gettop(thread.L) - 1);
}

void Run::make_ready(Coroutine& coroutine, int arguments) {
    coroutine.arguments = arguments;
    if (coroutine.queued) {
        return;
    }
    coroutine.queued = true;
    coroutine.next = nullptr;
    (last_ready_ != nullptr ? last_ready_->next : first_ready_) = &coroutine;
    last_ready_ = &coroutine;
}

bool Run::progress() {
    if (end_ != End::Waiting) [[unlikely]] {
        return true;  // abandon() was here
    }
    const GuardedRun guarded(context_.vm.guard(), context_.settings().max_run_time.count(), phase_);
    Run* const outer = std::exchange(context_.run, this);
    while (end_ == End::Waiting && first_ready_ != nullptr) {
        if (is_abandoned()) [[unlikely]] {
            finish(End::Error);
            break;
        }
        Coroutine& coroutine = *first_ready_;
        first_ready_ = coroutine.next;
        if (first_ready_ == nullptr) {
            last_ready_ = nullptr;
        }
        coroutine.queued = false;
        if (coroutine.status != CoStatus::Running) {
            continue;
        }
        coroutine.op.reset();
        if (exited_ && phase_ != Phase::HeaderFilter && phase_ != Phase::Balancer) [[unlikely]] {
            finish(End::Exit);  // what it waited for ended the request
            break;
        }
        run_from(&coroutine);
    }
    current_ = nullptr;
    context_.run = outer;
    return end_ != End::Waiting;
}

// Resumes `coroutine`, and then whatever coroutine.resume and yield lead to, until nothing of that
// chain can go on.
bool Run::run_from(Coroutine* coroutine) {
    int arguments = coroutine->arguments;
    while (coroutine != nullptr) {
        current_ = coroutine;
        if (coroutine->propagates_error) [[unlikely]] {
            coroutine->propagates_error = false;
            coroutine = handle_error(*coroutine, LUA_ERRRUN, arguments);
            continue;
        }
        event_ = Event::None;
        const int result =
            guarded_resume(context_.vm.guard(), context_.vm, coroutine->L, arguments);
        if (result == kAbandoned || is_abandoned()) [[unlikely]] {
            left_by_jump();
            return true;
        }
        if (result == 0) [[likely]] {
            coroutine = handle_return(*coroutine, arguments);
        } else if (result == LUA_YIELD) {
            coroutine = handle_yield(*coroutine, arguments);
        } else {
            coroutine = handle_error(*coroutine, result, arguments);
        }
    }
    return true;
}

// The state cannot be used any more, so no traceback can be made of it.
void Run::left_by_jump() {
    std::string from;
    if (code_ != nullptr && !code_->chunk_name.empty()) {
        from = fmt::format(" of {}", std::string_view(code_->chunk_name).substr(1));
    }
    context_.log_line(LogLevel::Error,
                      failure_name() + fmt::format("lua_max_run_time of {} ms exceeded in "
                                                   "compiled or C code{}",
                                                   context_.settings().max_run_time.count(), from));
    if (!is_abandoned()) {
        context_.vm.abandon_state(phase_ == Phase::InitWorker);
    }
    finish(End::Error);
}

void Run::abandon() {
    context_.log_line(LogLevel::Error, failure_name() +
                                           "the Lua VM was replaced because of another script "
                                           "that exceeded lua_max_run_time");
    for (Coroutine* at = context_.coroutines; at != nullptr; at = at->next_of_context) {
        if (at->run == this) {
            at->op.reset();
        }
    }
    finish(End::Error);
    if (const std::coroutine_handle<> bridge = take_bridge()) {
        bridge.resume();
    }
}

Coroutine* Run::handle_yield(Coroutine& coroutine, int& arguments) {
    if (jump_) {
        finish(End::Jump);
        return nullptr;
    }
    if (exited_) {
        finish(End::Exit);
        return nullptr;
    }
    if (exec_) {
        finish(End::Exec);
        return nullptr;
    }
    switch (std::exchange(event_, Event::None)) {
        case Event::None:
            if (!coroutine.op && !coroutine.waits_for_children) [[unlikely]] {
                // Nothing would ever wake it: a bare coroutine._yield() outside of any API.
                if (!coroutine.queued) {
                    lua_settop(coroutine.L, 0);
                    make_ready(coroutine, 0);
                }
            } else if (coroutine.op.done()) {
                make_ready(coroutine, coroutine.op.results());
            }
            return nullptr;
        case Event::Spawn: {
            Coroutine* child = event_target_;
            make_ready(coroutine, 1);
            arguments = lua_gettop(child->L) - 1;
            return child;
        }
        case Event::Resume: {
            Coroutine* target = event_target_;
            arguments = lua_gettop(coroutine.L);
            if (arguments > 0) {
                lua_checkstack(target->L, arguments);
                lua_xmove(coroutine.L, target->L, arguments);
            }
            return target;
        }
        case Event::Yield:
            break;
    }
    if (&coroutine == entry_ || coroutine.is_light) {
        // Outside of a user's coroutine, yield lets the other threads of the request run.
        lua_settop(coroutine.L, 0);
        coroutine.status = CoStatus::Running;
        make_ready(coroutine, 0);
        return nullptr;
    }
    Coroutine* parent = coroutine.parent;
    arguments = lua_gettop(coroutine.L);
    if (arguments > 0) {
        lua_checkstack(parent->L, arguments + 1);
        lua_xmove(coroutine.L, parent->L, arguments);
    }
    if (!coroutine.is_wrap) {
        lua_pushboolean(parent->L, 1);
        lua_insert(parent->L, -1 - arguments);
        ++arguments;
    }
    return parent;
}

Coroutine* Run::handle_return(Coroutine& coroutine, int& arguments) {
    if (&coroutine == entry_) [[likely]] {
        coroutine.status = CoStatus::Dead;
        clean_end_ = true;
        end_children(coroutine);
        finish_if_over();
        return nullptr;
    }
    if (coroutine.is_light) {
        end_children(coroutine);
        return finish_light(coroutine, true, arguments);
    }
    return hand_to_parent(coroutine, true, arguments);
}

// A light thread has ended; its results (or its error) are on its stack.
Coroutine* Run::finish_light(Coroutine& coroutine, bool success, int& arguments) {
    if (alive(coroutine.parent)) {
        if (coroutine.waited_by_parent && coroutine.parent->waits_for_children) {
            coroutine.waited_by_parent = false;
            coroutine.parent->waits_for_children = false;
            return hand_to_parent(coroutine, success, arguments);
        }
        lua_pushboolean(coroutine.L, success ? 1 : 0);
        lua_insert(coroutine.L, 1);
        coroutine.status = CoStatus::Zombie;
        return nullptr;
    }
    coroutine.status = CoStatus::Dead;
    drop_light(coroutine);
    finish_if_over();
    return nullptr;
}

// Moves the results of a coroutine that ended to the one that resumed or waits for it.
Coroutine* Run::hand_to_parent(Coroutine& coroutine, bool success, int& arguments) {
    Coroutine* parent = coroutine.parent;
    if (parent == nullptr) [[unlikely]] {
        context_.log_line(LogLevel::Error, "lua handler aborted: user coroutine has no parent");
        finish(End::Error);
        return nullptr;
    }
    arguments = success || coroutine.is_light ? lua_gettop(coroutine.L) : 1;
    if (arguments > 0) {
        lua_checkstack(parent->L, arguments + 1);
        lua_xmove(coroutine.L, parent->L, arguments);
    }
    if (!coroutine.is_wrap) {
        lua_pushboolean(parent->L, success ? 1 : 0);
        lua_insert(parent->L, -1 - arguments);
        ++arguments;
    }
    coroutine.status = CoStatus::Dead;
    parent->status = CoStatus::Running;
    if (coroutine.is_light) {
        // What else the parent waited for is not waited for any more.
        for (Coroutine* other = context_.coroutines; other != nullptr;
             other = other->next_of_context) {
            if (other->parent == parent) {
                other->waited_by_parent = false;
            }
        }
        drop_light(coroutine);
    } else {
        end_children(coroutine);
        free_coroutine(coroutine);
    }
    return parent;
}

std::string Run::traceback(Coroutine& coroutine) const {
    std::string text = "stack traceback:";
    int number = 0;
    for (const Coroutine* at = &coroutine; at != nullptr; at = at->parent) {
        text += fmt::format("\ncoroutine {}:", number++);
        lua_State* main = context_.vm.state();
        luaL_traceback(main, at->L, nullptr, 0);
        std::size_t size = 0;
        const char* lines = lua_tolstring(main, -1, &size);
        const std::string_view all(lines, size);
        const std::size_t first = all.find('\n');
        if (first != std::string_view::npos) {
            text += all.substr(first);
        }
        lua_pop(main, 1);
    }
    return text;
}

namespace {

// Phases that run their code in one call in ngx_lua: their errors are reported as that call's.
std::string_view single_call_name(Phase phase) {
    switch (phase) {
        case Phase::Set:
            return "set_by_lua*";
        case Phase::HeaderFilter:
            return "header_filter_by_lua*";
        case Phase::BodyFilter:
            return "body_filter_by_lua*";
        case Phase::Log:
            return "log_by_lua*";
        case Phase::Balancer:
            return "balancer_by_lua*";
        case Phase::InitWorker:
            return "init_worker_by_lua";
        case Phase::ExitWorker:
            return "exit_worker_by_lua";
        default:
            return {};
    }
}

// "content_by_lua(nginx.conf:12):3: " of what runs in L.
std::string place_in(lua_State* L) {
    lua_Debug caller{};
    if (lua_getstack(L, 1, &caller) == 0 || lua_getinfo(L, "Sl", &caller) == 0 ||
        caller.currentline <= 0) {
        return {};
    }
    return fmt::format("{}:{}: ", caller.short_src, caller.currentline);
}

// What a light thread that failed leaves on its stack for the one that waits: the arguments of the
// C function that raised the error, such as error(), and then the message with its place, as
// ngx_lua; of an error that Lua code itself raised, the message.
void keep_error(lua_State* L) {
    lua_Debug raised{};
    if (lua_getstack(L, 0, &raised) != 0 && lua_getinfo(L, "S", &raised) != 0 &&
        *raised.what == 'C') {
        return;
    }
    lua_insert(L, 1);
    lua_settop(L, 1);
}

}  // namespace

// How the log speaks of an error that ends the run.
std::string Run::failure_name() const {
    const std::string_view name = single_call_name(phase_);
    if (phase_ == Phase::InitWorker || phase_ == Phase::ExitWorker) {
        return fmt::format("{}{} error: ", name, code_ != nullptr && code_->is_file ? "_file" : "");
    }
    return name.empty() ? "lua entry thread aborted: " : fmt::format("failed to run {}: ", name);
}

Coroutine* Run::handle_error(Coroutine& coroutine, int result, int& arguments) {
    if (result == LUA_ERRMEM) [[unlikely]] {
        out_of_memory_ = true;
    }
    coroutine.op.reset();
    if (error_.empty() && (&coroutine == entry_ || coroutine.is_light || coroutine.is_wrap)) {
        const bool single = !single_call_name(phase_).empty() && !coroutine.is_light;
        const std::string_view kind = single                 ? ""
                                      : result == LUA_ERRRUN ? "runtime error"
                                      : result == LUA_ERRERR ? "error handler error"
                                      : result == LUA_ERRMEM ? "memory allocation error"
                                                             : "unknown error";
        std::size_t size = 0;
        const char* message =
            lua_isstring(coroutine.L, -1) != 0 ? lua_tolstring(coroutine.L, -1, &size) : nullptr;
        error_ = fmt::format("{}{}{}\n{}", kind, single ? "" : ": ",
                             message != nullptr ? std::string_view(message, size)
                                                : std::string_view("unknown reason"),
                             traceback(coroutine));
    }
    coroutine.status = CoStatus::Dead;
    if (&coroutine == entry_) {
        context_.log_line(LogLevel::Error, take_error());
        finish(End::Error);
        return nullptr;
    }
    if (coroutine.is_light) {
        context_.log_line(LogLevel::Error, "lua user thread aborted: " + error_);
        error_.clear();
        if (lua_gettop(coroutine.L) == 0) {
            lua_pushnil(coroutine.L);
        }
        coroutine.status = CoStatus::Running;
        keep_error(coroutine.L);
        end_children(coroutine);
        return finish_light(coroutine, false, arguments);
    }
    if (coroutine.is_wrap && coroutine.parent != nullptr) {
        // coroutine.wrap passes the error on to the one that called it.
        Coroutine* parent = coroutine.parent;
        if (!single_call_name(phase_).empty()) {
            error_.insert(0, place_in(parent->L));  // as Lua's own wrap does
        }
        parent->status = CoStatus::Running;
        parent->propagates_error = true;
        free_coroutine(coroutine);
        return parent;
    }
    return hand_to_parent(coroutine, false, arguments);
}

// Light threads that ended and that nobody can wait for any more.
void Run::end_children(Coroutine& coroutine) {
    if (light_count_ == 0) {
        return;
    }
    for (Coroutine* at = context_.coroutines; at != nullptr;) {
        Coroutine* next = at->next_of_context;
        if (at->is_light && at->parent == &coroutine) {
            if (at->status == CoStatus::Zombie) {
                drop_light(*at);
            } else {
                at->parent = nullptr;
            }
        }
        at = next;
    }
}

void Run::drop_light(Coroutine& coroutine) {
    --light_count_;
    const Thread thread = coroutine.thread;
    free_coroutine(coroutine);
    context_.vm.drop_thread(thread);
}

void Run::finish_if_over() {
    if (light_count_ == 0 && entry_->status == CoStatus::Dead) {
        finish(End::Done);
    }
}

bool Run::finish(End end) {
    end_ = end;
    if (end == End::Error) {
        exit_code_ = 500;
    }
    return true;
}

void Run::release() {
    bridge_ = nullptr;
    if (context_.abortable == this) {
        context_.abortable = nullptr;
    }
    if (may_answer(phase_)) {
        // These phases end only when their output is sent, unless they are cancelled or fail.
        context_.output.cancel();
    }
    for (Coroutine* at = context_.coroutines; at != nullptr;) {
        Coroutine* next = at->next_of_context;
        if (at->run == this) {
            at->op.reset();
            if (at == entry_) {
                context_.vm.give_thread(at->thread, clean_end_);
                free_coroutine(*at);
            } else if (at->is_light) {
                drop_light(*at);
            } else if (at->status == CoStatus::Suspended) {
                at->run = nullptr;  // a later phase may resume it
                at->parent = nullptr;
            } else {
                free_coroutine(*at);
            }
        }
        at = next;
    }
    entry_ = nullptr;
    if (out_of_memory_) [[unlikely]] {
        context_.vm.collect_garbage();
    }
}

int Run::resume(lua_State* from, Coroutine& target) {
    if (target.status != CoStatus::Suspended) {
        lua_pushboolean(from, 0);
        lua_pushfstring(from, "cannot resume %s coroutine", status_name(target.status).data());
        return 2;
    }
    current_->status = CoStatus::Normal;
    target.parent = current_;
    target.run = this;
    target.status = CoStatus::Running;
    event_ = Event::Resume;
    event_target_ = &target;
    return lua_yield(from, lua_gettop(from) - 1);
}

int Run::yield(lua_State* from) {
    current_->status = CoStatus::Suspended;
    if (!current_->is_light && current_->parent != nullptr) {
        current_->parent->status = CoStatus::Running;
    }
    event_ = Event::Yield;
    return lua_yield(from, lua_gettop(from));
}

// ngx.thread.spawn(function, ...): the arguments are on the stack of `from`.
int Run::spawn(lua_State* from, int values) {
    const Thread thread = context_.vm.new_thread();
    Coroutine& child = make_coroutine(thread.L);
    child.thread = thread;
    child.is_light = true;
    child.status = CoStatus::Running;
    child.parent = current_;
    ++light_count_;
    lua_checkstack(thread.L, values);
    lua_xmove(from, thread.L, values);
    // The thread object is what spawn returns; it reaches the parent when it goes on.
    lua_rawgeti(from, LUA_REGISTRYINDEX, thread.ref);
    event_ = Event::Spawn;
    event_target_ = &child;
    return lua_yield(from, 1);
}

int Run::wait_children(lua_State* from) {
    const int count = lua_gettop(from);
    if (count == 0) {
        return luaL_error(from, "at least one coroutine should be specified");
    }
    for (int i = 1; i <= count; ++i) {
        lua_State* thread = lua_tothread(from, i);
        luaL_argcheck(from, thread != nullptr, i, "lua thread expected");
        Coroutine* child = context_.vm.find_coroutine(thread);
        if (child == nullptr) {
            if (i < count) {
                continue;
            }
            lua_pushnil(from);
            lua_pushliteral(from, "already waited or killed");
            return 2;
        }
        if (!child->is_light) {
            return luaL_error(from, "attempt to wait on a coroutine that is not a user thread");
        }
        if (child->parent != current_) {
            return luaL_error(from, "only the parent coroutine can wait on the thread");
        }
        if (child->status == CoStatus::Zombie) {
            const int results = lua_gettop(child->L);
            luaL_checkstack(from, results, "too many results");
            lua_xmove(child->L, from, results);
            drop_light(*child);
            return results;
        }
        child->waited_by_parent = true;
    }
    current_->waits_for_children = true;
    return lua_yield(from, 0);
}

int Run::kill(lua_State* from) {
    lua_State* thread = lua_tothread(from, 1);
    luaL_argcheck(from, thread != nullptr, 1, "lua thread expected");
    Coroutine* child = context_.vm.find_coroutine(thread);
    const char* problem = nullptr;
    if (child == nullptr) {
        problem = "already waited or killed";
    } else if (!child->is_light) {
        problem = "not user thread";
    } else if (child->parent != current_) {
        problem = "killer not parent";
    } else if (child->status == CoStatus::Zombie) {
        drop_light(*child);
        problem = "already terminated";
    }
    if (problem != nullptr) {
        lua_pushnil(from);
        lua_pushstring(from, problem);
        return 2;
    }
    // It may stand in the ready queue; a freed record must not.
    for (Coroutine** at = &first_ready_; *at != nullptr; at = &(*at)->next) {
        if (*at == child) {
            *at = child->next;
            break;
        }
    }
    last_ready_ = first_ready_;
    while (last_ready_ != nullptr && last_ready_->next != nullptr) {
        last_ready_ = last_ready_->next;
    }
    end_children(*child);
    drop_light(*child);
    lua_pushinteger(from, 1);
    return 1;
}

}  // namespace moongate::lua
