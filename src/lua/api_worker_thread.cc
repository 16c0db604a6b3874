// ngx.run_worker_thread(pool, module, function, …): a Lua function in a thread of its own; the
// coroutine waits for its results, in any phase. Values are copied; what cannot be (functions,
// threads, userdata, tables in circles) is an error. Source: lua-nginx-module's documentation.
#include "async/event.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/thread_pools.h"
#include "lua/thread_vm.h"

namespace moongate::lua {
namespace {

constexpr int kDeepestTable = 100;

const char* copy(lua_State* from, lua_State* to, int index, bool allow_nil, int depth);

const char* copy_table(lua_State* from, lua_State* to, int index, int depth) {
    if (depth >= kDeepestTable) {
        return "suspicious circular references, table depth exceed max depth: 100";
    }
    if (lua_checkstack(from, 4) == 0 || lua_checkstack(to, 4) == 0) {
        return "too deep Lua table";
    }
    const int from_top = lua_gettop(from);
    const int to_top = lua_gettop(to);
    const int table = index < 0 ? from_top + index + 1 : index;
    lua_newtable(to);
    lua_pushnil(from);
    while (lua_next(from, table) != 0) {
        const char* problem = copy(from, to, -2, false, depth + 1);
        if (problem == nullptr) {
            problem = copy(from, to, -1, false, depth + 1);
        }
        if (problem != nullptr) {
            lua_settop(from, from_top);
            lua_settop(to, to_top);
            return problem;
        }
        lua_rawset(to, -3);
        lua_pop(from, 1);
    }
    return nullptr;
}

const char* copy(lua_State* from, lua_State* to, int index, bool allow_nil, int depth) {
    switch (lua_type(from, index)) {
        case LUA_TNIL:
            if (!allow_nil) {
                return "unsupported Lua type: LUA_TNIL";
            }
            lua_pushnil(to);
            return nullptr;
        case LUA_TBOOLEAN:
            lua_pushboolean(to, lua_toboolean(from, index));
            return nullptr;
        case LUA_TLIGHTUSERDATA:
            lua_pushlightuserdata(to, lua_touserdata(from, index));
            return nullptr;
        case LUA_TNUMBER:
            lua_pushnumber(to, lua_tonumber(from, index));
            return nullptr;
        case LUA_TSTRING:
            push(to, to_view(from, index));
            return nullptr;
        case LUA_TTABLE:
            return copy_table(from, to, index, depth);
        case LUA_TFUNCTION:
            return "unsupported Lua type: LUA_TFUNCTION";
        case LUA_TUSERDATA:
            return "unsupported Lua type: LUA_TUSERDATA";
        case LUA_TTHREAD:
            return "unsupported Lua type: LUA_TTHREAD";
        default:
            return "unsupported Lua type";
    }
}

int refuse(lua_State* L, const char* message) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, message);
    return 2;
}

// Pushes what the caller gets.
int push_results(lua_State* L, const ThreadJob& job) {
    lua_State* from = job.vm->state();
    const int count = lua_gettop(from);
    if (job.failed) {
        lua_pushboolean(L, 0);
        push(L, to_view(from, 1));
        return 2;
    }
    const int top = lua_gettop(L);
    if (lua_checkstack(L, count + 4) == 0) {
        return refuse(L, "too many return values");
    }
    lua_pushboolean(L, 1);
    for (int i = 1; i <= count; ++i) {
        if (const char* problem = copy_value(from, L, i)) {
            lua_settop(L, top);
            lua_pushboolean(L, 0);
            lua_pushfstring(L, "%s in the return value", problem);
            return 2;
        }
    }
    return count + 1;
}

Op run_op(Coroutine& waiting, ThreadPools& pools, std::shared_ptr<ThreadJob> job) {
    async::Event done(waiting.context->worker.reactor());
    // Cancelled: the function runs on to its end, and its VM goes back to the pool then.
    struct Wait {
        ThreadPools& pools;
        ThreadJob& job;
        Wait(ThreadPools& of, ThreadJob& waited, async::Event& event) : pools(of), job(waited) {
            job.waiter = &event;
        }
        ~Wait() {
            job.waiter = nullptr;
            if (job.over) {
                pools.recycle(job);
            }
        }
    };
    const Wait wait(pools, *job, done);
    co_await done.wait();
    co_return push_results(waiting.L, *job);
}

int run_worker_thread(lua_State* L) {
    Context& context = check_context(L);
    if (const char* problem = why_not_wait(L)) {
        return luaL_error(L, "%s", problem);
    }
    const int count = lua_gettop(L);
    if (count < 3) {
        return refuse(L, "expecting at least 3 arguments");
    }
    if (lua_isstring(L, 1) == 0) {
        return refuse(L, "threadpool should be a string");
    }
    ThreadPools& pools = context.vm.thread_pools();
    ThreadPool* pool = pools.find(to_view(L, 1));
    if (pool == nullptr) {
        lua_pushboolean(L, 0);
        lua_pushfstring(L, "thread pool %s not found", lua_tostring(L, 1));
        return 2;
    }
    if (lua_isstring(L, 2) == 0) {
        return refuse(L, "module name should be a string");
    }
    if (lua_isstring(L, 3) == 0) {
        return refuse(L, "function name should be a string");
    }
    Op op;
    const char* problem = nullptr;
    {
        // Nothing below raises a Lua error while it holds the job.
        std::shared_ptr<ThreadJob> job = pools.make_job(L);
        if (job == nullptr) {
            return refuse(L, "no available Lua vm");
        }
        job->module = to_view(L, 2);
        job->function = to_view(L, 3);
        lua_State* to = job->vm->state();
        if (lua_checkstack(to, count + 4) == 0) {
            problem = "too many arguments";
        }
        for (int i = 4; problem == nullptr && i <= count; ++i) {
            problem = copy_value(L, to, i);
        }
        if (problem != nullptr) {
            pools.recycle(*job);
        } else if (!pools.post(*pool, job)) {
            pools.recycle(*job);
            return refuse(L, "ngx_thread_task_post failed");
        } else {
            op = run_op(*context.run->current(), pools, std::move(job));
        }
    }
    if (problem != nullptr) {
        lua_pushboolean(L, 0);
        lua_pushfstring(L, "%s in the argument", problem);
        return 2;
    }
    return wait(L, std::move(op));
}

}  // namespace

const char* copy_value(lua_State* from, lua_State* to, int index) {
    return copy(from, to, index, true, 1);
}

void install_worker_threads(lua_State* L) {
    set_function(L, "run_worker_thread", run_worker_thread);
}

}  // namespace moongate::lua
