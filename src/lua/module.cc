// lua_module: what the engine calls (engine/module.h).
#include "lua/module.h"

#include "engine/builder.h"
#include "engine/location.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "engine/worker_state.h"
#include "lua/context.h"
#include "lua/directives.h"
#include "lua/phases.h"
#include "lua/shared_dict.h"
#include "lua/socket_pool.h"
#include "lua/timers.h"
#include "lua/worker_lua.h"

namespace moongate::lua {
namespace {

using engine::Location;

void install(Location& location) {
    const LuaSettings& settings = location.settings->get<LuaSettings>();
    add_phase_handlers(location, settings, location.settings->get<LuaMainSettings>());
    if (settings.header_filter != nullptr) {
        location.filters.push_back(&header_filter_by_lua);
    }
    if (settings.body_filter != nullptr) {
        location.filters.push_back(&body_filter_by_lua);
    }
}

// lua_ctx_keep: the table of ngx.ctx goes on to the context of the redirected request.
void* carry_context(engine::Request& request, void* context) {
    Context& before = *static_cast<Context*>(context);
    if (before.ctx_ref < 0 || !request.get<LuaSettings>().ctx_keep) {
        return nullptr;
    }
    auto* after =
        request.arena().make<Context>(before.vm, request.worker, &request, request.arena());
    after->ctx_ref = std::exchange(before.ctx_ref, -1);
    after->ctx_epoch = before.ctx_epoch;
    return after;
}

conf::Applied finish_snapshot(conf::Compiler&, engine::Snapshot& snapshot) {
    auto zones = open_shared_dicts(snapshot.http().get<LuaMainSettings>().shared_dicts);
    snapshot.put<SharedDicts>(std::move(zones));
    return {};
}

Status start_worker(engine::WorkerState& worker) {
    WorkerLua& lua = worker.put(lua_worker_slot, std::make_unique<WorkerLua>(worker));
    return lua.serve(worker.current());
}

// A VM with init_by_lua, which ends again.
conf::Applied try_configuration(engine::WorkerState& worker) {
    WorkerLua& lua = worker.put(lua_worker_slot, std::make_unique<WorkerLua>(worker));
    std::string error;
    if (!lua.try_init(worker.current(), error)) {
        return std::unexpected(conf::ConfError::unplaced(std::move(error)));
    }
    return {};
}

void serve(engine::WorkerState& worker, const engine::Snapshot&) {
    if (WorkerLua* lua = worker.get<WorkerLua>(lua_worker_slot)) {
        // A failure is logged; the old Lua code stays in use.
        static_cast<void>(lua->serve(worker.current()));
    }
}

async::Task<void> stop_worker(engine::WorkerState& worker) {
    WorkerLua* lua = worker.get<WorkerLua>(lua_worker_slot);
    if (lua == nullptr || lua->current() == nullptr) {
        co_return;
    }
    Vm& vm = *lua->current();
    vm.timers().retire();
    lua->socket_pools().clear();
    co_await lua->tasks().drained();
    co_await run_exit_worker(vm, worker);
}

}  // namespace

const engine::Module lua_module{
    .directives = {.module = "lua", .rows = lua_directives(), .finish = finish_lua_settings},
    .variables = {},
    .context_slot = &lua_context_slot,
    .worker_slot = &lua_worker_slot,
    .install = install,
    .finish_snapshot = finish_snapshot,
    .carry_context = carry_context,
    .try_configuration = try_configuration,
    .start_worker = start_worker,
    .serve = serve,
    .stop_worker = stop_worker,
};

}  // namespace moongate::lua
