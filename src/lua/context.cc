// Context: what outlives a phase (context.h), and the way from C functions to the waiting of C++.
#include "lua/context.h"

#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "engine/worker_state.h"
#include "lua/pipe_process.h"
#include "lua/worker_lua.h"

namespace moongate::lua {

Context::Context(Vm& vm_, engine::WorkerState& worker_, engine::Request* request_, Arena& arena_)
    : vm(vm_), worker(worker_), request(request_), arena(arena_) {
    vm.acquire();
}

Context::~Context() {
    output.cancel();
    while (processes != nullptr) {
        processes->abandon();
    }
    while (sockets != nullptr) {
        ContextSocket& socket = *sockets;
        socket.close();
        socket.leave();
        socket.orphaned_ = true;
    }
    while (coroutines != nullptr) {
        Coroutine& last = *coroutines;
        coroutines = last.next_of_context;
        vm.free_coroutine(last);
    }
    if (ctx_ref >= 0) {
        vm.free_ctx(ctx_ref, ctx_epoch);
    }
    vm.release();
}

Phase Context::phase() const {
    return run != nullptr ? run->phase() : Phase::Init;
}

const char* directive_of(Phase phase) {
    switch (phase) {
        case Phase::Init:
            return "init_by_lua*";
        case Phase::Set:
            return "set_by_lua*";
        case Phase::Rewrite:
            return "rewrite_by_lua*";
        case Phase::Access:
            return "access_by_lua*";
        case Phase::Content:
            return "content_by_lua*";
        case Phase::Log:
            return "log_by_lua*";
        case Phase::HeaderFilter:
            return "header_filter_by_lua*";
        case Phase::BodyFilter:
            return "body_filter_by_lua*";
        case Phase::Timer:
            return "ngx.timer";
        case Phase::InitWorker:
            return "init_worker_by_lua*";
        case Phase::Balancer:
            return "balancer_by_lua*";
        case Phase::ExitWorker:
            return "exit_worker_by_lua*";
        case Phase::ServerRewrite:
            return "server_rewrite_by_lua*";
        case Phase::Precontent:
            return "precontent_by_lua*";
        case Phase::PostRead:
            return "post_read_by_lua*";
        case Phase::FindConfig:
            return "find_config_by_lua*";
        case Phase::PostRewrite:
            return "post_rewrite_by_lua*";
        case Phase::Preaccess:
            return "preaccess_by_lua*";
        case Phase::PostAccess:
            return "post_access_by_lua*";
    }
    return "(unknown)";
}

const Log& Context::log() const {
    return request != nullptr ? request->log() : vm.log();
}

void Context::log_line(LogLevel level, std::string_view message) const {
    if (request != nullptr) {
        if (request->log().enabled(level)) {
            request->write_log(level, message);
        }
        return;
    }
    if (vm.log().enabled(level)) {
        vm.log().write(level, 0, fmt::format("{}, context: {}", message, directive_of(phase())));
    }
}

const LuaSettings& Context::settings() const {
    return request != nullptr ? request->get<LuaSettings>()
                              : vm.snapshot().http().get<LuaSettings>();
}

const engine::CoreLocationSettings& Context::core_settings() const {
    return request != nullptr ? request->get<engine::CoreLocationSettings>()
                              : vm.snapshot().http().get<engine::CoreLocationSettings>();
}

void ContextSocket::join(Context& context) {
    leave();
    orphaned_ = false;
    context_ = &context;
    next_ = context.sockets;
    if (next_ != nullptr) {
        next_->previous_ = this;
    }
    context.sockets = this;
}

void ContextSocket::leave() {
    if (context_ == nullptr) {
        return;
    }
    (previous_ != nullptr ? previous_->next_ : context_->sockets) = next_;
    if (next_ != nullptr) {
        next_->previous_ = previous_;
    }
    previous_ = next_ = nullptr;
    context_ = nullptr;
}

Context* existing_context(engine::Request& request) {
    return request.context<Context>(lua_context_slot);
}

Context& make_context(engine::Request& request, Vm& vm) {
    Context*& slot = request.context<Context>(lua_context_slot);
    slot = request.arena().make<Context>(vm, request.worker, &request, request.arena());
    return *slot;
}

Context* context_of(engine::Request& request) {
    Context*& slot = request.context<Context>(lua_context_slot);
    if (slot == nullptr) [[unlikely]] {
        WorkerLua* lua = request.worker.get<WorkerLua>(lua_worker_slot);
        Vm* vm = lua == nullptr ? nullptr : lua->vm_for(request);
        if (vm == nullptr) {
            return nullptr;
        }
        make_context(request, *vm);
        if (!request.get<LuaSettings>().code_cache) {
            vm->release();  // the context holds the only share of a VM of its own
        }
    }
    return slot;
}

std::coroutine_handle<> op_finished(Coroutine& coroutine, int results) noexcept {
    if (coroutine.starting || coroutine.run == nullptr) {
        return std::noop_coroutine();
    }
    coroutine.run->make_ready(coroutine, results);
    const std::coroutine_handle<> bridge = coroutine.run->take_bridge();
    return bridge ? bridge : std::noop_coroutine();
}

const char* why_not_wait(lua_State* L) {
    const Context* context = Context::of(L);
    if (context == nullptr || context->run == nullptr || context->run->current() == nullptr) {
        return "no co ctx found";
    }
    if (context->run->current()->L != L || lua_isyieldable(L) == 0) {
        return "attempt to yield across C-call boundary";
    }
    return nullptr;
}

bool start_wait(Context& context, Op op, int& results) {
    Coroutine& waiting = *context.run->current();
    waiting.op = std::move(op);
    waiting.starting = true;
    {
        const CppSection section(context.vm.guard());
        waiting.op.resume();
    }
    waiting.starting = false;
    if (context.run->epoch() != context.vm.epoch()) [[unlikely]] {
        // Lua code that ran inside (a filter) took the state with it: there is nothing to return
        // to.
        leave_abandoned_state(context.vm.guard());
    }
    if (!waiting.op.done()) {
        return false;
    }
    results = waiting.op.results();
    waiting.op.reset();
    return true;
}

int wait(lua_State* L, Op op) {
    int results = 0;
    if (start_wait(*Context::of(L), std::move(op), results)) {
        return results;
    }
    return lua_yield(L, 0);
}

Context& check_context(lua_State* L) {
    Context* context = Context::of(L);
    if (context == nullptr || context->run == nullptr) [[unlikely]] {
        luaL_error(L, "no request found");
    }
    return *context;
}

Context& check_request(lua_State* L) {
    Context& context = check_context(L);
    if (context.request == nullptr) [[unlikely]] {
        luaL_error(L, "API disabled in the context of %s", directive_of(context.phase()));
    }
    return context;
}

}  // namespace moongate::lua
