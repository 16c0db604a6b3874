#include "lua/timers.h"

#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/worker_lua.h"

namespace moongate::lua {

TimerSet::TimerSet(Vm& vm) : vm_(vm), retirement_(vm.worker().reactor()) {}

bool TimerSet::full() const {
    return pending_ >= static_cast<std::uint64_t>(vm_.settings().max_pending_timers);
}

void TimerSet::drop_old() {}

void TimerSet::retire() {
    retired_ = true;
    retirement_.set();
}

namespace {

WorkerLua& worker_lua(Vm& vm) {
    return *vm.worker().get<WorkerLua>(lua_worker_slot);
}

// A copy of what stands on `from`: its function and arguments are needed again.
Thread copy_thread(Vm& vm, Thread from) {
    const Thread made = vm.new_thread();
    const int values = lua_gettop(from.L);
    lua_checkstack(made.L, values);
    lua_checkstack(from.L, values);
    for (int i = 1; i <= values; ++i) {
        lua_pushvalue(from.L, i);
    }
    lua_xmove(from.L, made.L, values);
    return made;
}

}  // namespace

void TimerSet::add(Thread thread, Milliseconds delay, bool repeat) {
    ++pending_;
    worker_lua(vm_).tasks().spawn("ngx.timer", run_one(thread, delay, repeat));
}

async::Task<void> TimerSet::run_one(Thread thread, Milliseconds delay, bool repeat) {
    const VmShare share(vm_);
    // Not inside the call of ngx.timer.at, whatever the delay.
    if (delay == Milliseconds::zero() && !retired_) {
        co_await async::yield(vm_.worker().reactor());
    }
    for (;;) {
        bool premature = retired_;
        if (!retired_ && delay > Milliseconds::zero()) {
            premature = co_await retirement_.wait(delay);
        }
        premature = premature || vm_.worker().exiting;
        --pending_;
        if (thread.epoch != vm_.epoch()) [[unlikely]] {
            co_return;
        }
        if (running_ >= static_cast<std::uint64_t>(vm_.settings().max_running_timers)) {
            vm_.log().print(LogLevel::Alert, 0, "{} lua_max_running_timers are not enough",
                            vm_.settings().max_running_timers);
            if (!repeat || premature) {
                break;
            }
        } else {
            ++running_;
            const bool again = repeat && !premature;
            co_await call(again ? copy_thread(vm_, thread) : thread, premature);
            --running_;
            if (!again) {
                thread = {};
                break;
            }
        }
        ++pending_;
    }
    if (thread.L != nullptr) {
        vm_.drop_thread(thread);
    }
}

async::Task<void> TimerSet::call(Thread thread, bool premature) {
    lua_pushboolean(thread.L, premature ? 1 : 0);
    lua_replace(thread.L, 2);
    Arena arena;
    Context context(vm_, vm_.worker(), nullptr, arena);
    Run run(context, Phase::Timer);
    run.load_thread(thread);
    while (!run.progress()) {
        co_await run.wakeup();
    }
}

namespace {

int add_timer(lua_State* L, bool repeat) {
    const char* name = repeat ? "every" : "at";
    if (lua_gettop(L) < 2) {
        return luaL_error(L, "expecting at least 2 arguments but got %d", lua_gettop(L));
    }
    const auto delay = static_cast<std::int64_t>(luaL_checknumber(L, 1) * 1000);
    if (repeat && delay <= 0) {
        return luaL_error(L, "delay cannot be zero");
    }
    static_cast<void>(name);
    luaL_argcheck(L, lua_isfunction(L, 2) != 0 && lua_iscfunction(L, 2) == 0, 2,
                  "Lua function expected");
    Context* context = Context::of(L);
    Vm* vm = context != nullptr ? &context->vm : Vm::current();
    if (context == nullptr || vm == nullptr) {
        return luaL_error(L, "no request");
    }
    if (delay > 0 && (vm->worker().exiting || vm->timers().retired())) {
        lua_pushnil(L);
        lua_pushliteral(L, "process exiting");
        return 2;
    }
    if (vm->timers().full()) {
        lua_pushnil(L);
        lua_pushliteral(L, "too many pending timers");
        return 2;
    }
    const int arguments = lua_gettop(L) - 2;
    const Thread thread = vm->new_thread();
    lua_checkstack(thread.L, arguments + 2);
    lua_pushboolean(L, 0);
    lua_insert(L, 3);
    lua_xmove(L, thread.L, arguments + 2);
    vm->timers().add(thread, Milliseconds(std::max<std::int64_t>(delay, 0)), repeat);
    lua_pushinteger(L, 1);
    return 1;
}

int timer_at(lua_State* L) {
    return add_timer(L, false);
}

int timer_every(lua_State* L) {
    return add_timer(L, true);
}

int pending_count(lua_State* L) {
    lua_pushinteger(L, static_cast<lua_Integer>(check_context(L).vm.timers().pending()));
    return 1;
}

int running_count(lua_State* L) {
    lua_pushinteger(L, static_cast<lua_Integer>(check_context(L).vm.timers().running()));
    return 1;
}

}  // namespace

void install_timers(lua_State* L) {
    lua_createtable(L, 0, 4);
    set_function(L, "at", timer_at);
    set_function(L, "every", timer_every);
    set_function(L, "pending_count", pending_count);
    set_function(L, "running_count", running_count);
    lua_setfield(L, -2, "timer");
}

}  // namespace moongate::lua
