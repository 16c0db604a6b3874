// Vm: its life, threads and compiled code; what is in it: vm_setup.cc.
#include "lua/vm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/core_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/log_ring.h"
#include "lua/machine_code.h"
#include "lua/thread_pools.h"
#include "lua/timers.h"
#include "lua/worker_lua.h"

namespace moongate::lua {
namespace {

thread_local Vm* current_vm = nullptr;

int panic(lua_State* L) {
    const char* message = lua_tostring(L, -1);
    if (current_vm != nullptr) {
        current_vm->log().print(LogLevel::Crit, 0, "lua atpanic: Lua VM crashed, reason: {}",
                                message != nullptr ? message : "unknown");
    }
    std::abort();
}

}  // namespace

Vm* Vm::current() {
    return current_vm;
}

Vm::Vm(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot)
    : worker_(&worker),
      snapshot_(std::move(snapshot)),
      settings_(&snapshot_->http().get<LuaMainSettings>()),
      guard_(this_guard()) {}

VmOwned::VmOwned() {
    // Made by the innermost Lua code; current() is the one that is being set up.
    const GuardFrame* frame = this_guard().top;
    Vm* vm = frame != nullptr ? frame->vm : current_vm;
    if (vm != nullptr) {
        next_ = vm->owned_;
        before_ = &vm->owned_;
        vm->owned_ = this;
        if (next_ != nullptr) {
            next_->before_ = &next_;
        }
    }
}

VmOwned::~VmOwned() {
    if (before_ != nullptr) {
        *before_ = next_;
        if (next_ != nullptr) {
            next_->before_ = before_;
        }
    }
}

Vm* Vm::create(engine::WorkerState& worker, std::shared_ptr<const engine::Snapshot> snapshot,
               std::int64_t limit_ms, std::string& error) {
    Vm* vm = new Vm(worker, std::move(snapshot));
    Vm* const before = std::exchange(current_vm, vm);
    vm->timers_ = std::make_unique<TimerSet>(*vm);
    if (vm->settings().capture_error_log != 0) {
        start_capture();
    }
    if (!vm->build(limit_ms, error)) {
        current_vm = before;
        vm->release();
        return nullptr;
    }
    return vm;
}

std::int64_t Vm::run_limit_ms() const {
    return set_up_limit_ms(*snapshot_);
}

std::int64_t Vm::set_up_limit_ms(const engine::Snapshot& snapshot) {
    constexpr std::int64_t kLeast = 1000;
    const std::int64_t limit = snapshot.http().get<LuaSettings>().max_run_time.count();
    return limit == 0 ? 0 : std::max(limit, kLeast);
}

bool Vm::build(std::int64_t limit_ms, std::string& error) {
    struct Work {
        Vm& vm;
        std::string& error;
        bool done = false;
    } work{*this, error};
    heap_ = std::make_unique<LuaHeap>(guard_);
    initialised_ = false;
    bool returned = false;
    {
        const GuardedRun run(guard_, limit_ms, Phase::Init, GuardedRun::OwnTime());
        returned = guarded_call(
            guard_, *this,
            [](void* argument) {
                auto& in = *static_cast<Work*>(argument);
                in.done = in.vm.set_up(in.error);
            },
            &work);
    }
    if (returned && work.done) {
        initialised_ = true;
        return true;
    }
    if (!returned) {
        error = fmt::format("init_by_lua error: lua_max_run_time of {} ms exceeded", limit_ms);
        release_machine_code(heap_->number());
        main_ = nullptr;
    }
    close_state();
    return false;
}

// Lua's finalizers run here; one that never ends costs only the memory's orderly return.
void Vm::close_state() {
    if (main_ != nullptr) {
        const GuardedRun run(guard_, run_limit_ms(), kFinalizers, GuardedRun::OwnTime());
        const std::uint64_t number = heap_->number();
        lua_State* const closing = std::exchange(main_, nullptr);
        if (!guarded_call(
                guard_, *this, [](void* state) { lua_close(static_cast<lua_State*>(state)); },
                closing)) {
            log().write(LogLevel::Error, 0,
                        "lua_max_run_time exceeded by finalizers of a Lua VM that ends");
            release_machine_code(number);
        }
    }
    // What the finalizers did not reach.
    while (owned_ != nullptr) {
        owned_->end_owned();
    }
    heap_.reset();
}

void Vm::abandon_state(bool by_init_worker) {
    init_worker_fails_ = init_worker_fails_ || by_init_worker;
    lua_gc(main_, LUA_GCSTOP, 0);
    Remains& left = remains_.emplace_back();
    left.heap = std::move(heap_);
    left.owned = std::exchange(owned_, nullptr);
    if (left.owned != nullptr) {
        left.owned->before_ = &left.owned;
    }
    main_ = nullptr;
    ++epoch_;
    idle_.clear();
    code_refs_.clear();
    file_refs_.clear();
    log().print(LogLevel::Error, 0,
                "[lua] a script was left in compiled or C code: the Lua VM of worker {} is "
                "replaced",
                worker_->worker.id());
    revive();
    worker_->get<WorkerLua>(lua_worker_slot)
        ->tasks()
        .spawn("abandoned Lua state", end_old_runs_later(*this));
}

void Vm::revive() {
    const std::uint64_t now = worker_->reactor().now_ms();
    if (now < retry_at_ms_) {
        return;
    }
    std::string error;
    Vm* const before = std::exchange(current_vm, this);
    const bool built = build(run_limit_ms(), error);
    current_vm = before;
    if (!built) {
        retry_at_ms_ = now + 1000;
        log().print(LogLevel::Alert, 0, "[lua] the Lua VM could not be built again: {}", error);
    } else {
        WorkerLua* lua = worker_->get<WorkerLua>(lua_worker_slot);
        if (lua->current() == this && !init_worker_fails_) {
            lua->start_init_worker(*this);
        }
    }
}

async::Task<void> Vm::end_old_runs_later(Vm& vm) {
    const VmShare share(vm);
    // From the loop itself: nothing of an old state is on the machine's stack then.
    co_await async::yield(vm.worker().reactor());
    vm.end_old_runs();
}

void Vm::end_old_runs() {
    timers_->drop_old();
    while (Run* run = old_run()) {
        run->abandon();
    }
    while (!remains_.empty()) {
        Remains& left = remains_.front();
        while (left.owned != nullptr) {
            left.owned->end_owned();
        }
        release_machine_code(left.heap->number());
        remains_.pop_front();
    }
}

Run* Vm::old_run() const {
    for (const std::unique_ptr<Coroutine>& each : coroutines_) {
        Run* run = each->run;
        if (run != nullptr && run->epoch() != epoch_ && run->end() == Run::End::Waiting) {
            return run;
        }
    }
    return nullptr;
}

void Vm::collect_garbage() {
    if (main_ == nullptr) {
        return;
    }
    const GuardedRun run(guard_, run_limit_ms(), kFinalizers, GuardedRun::OwnTime());
    if (!guarded_call(
            guard_, *this,
            [](void* state) { lua_gc(static_cast<lua_State*>(state), LUA_GCCOLLECT, 0); }, main_)) {
        abandon_state();
    }
}

void Vm::trim_heap() {
    if (heap_ != nullptr) {
        heap_->trim();
    }
}

Vm::~Vm() {
    thread_pools_.reset();
    end_old_runs();
    close_state();
    timers_.reset();
    if (current_vm == this) {
        const WorkerLua* lua = worker_->get<WorkerLua>(lua_worker_slot);
        current_vm = lua != nullptr ? lua->current() : nullptr;
    }
}

void Vm::release() {
    if (--users_ == 0) {
        delete this;
    }
}

ThreadPools& Vm::thread_pools() {
    if (thread_pools_ == nullptr) {
        thread_pools_ = std::make_unique<ThreadPools>(*this);
    }
    return *thread_pools_;
}

const Log& Vm::log() const {
    return *snapshot_->http().get<engine::CoreLocationSettings>().error_log;
}

bool Vm::set_up(std::string& error) {
    main_ = lua_newstate(&LuaHeap::allocate, heap_.get());
    if (main_ == nullptr) {
        error = "failed to create Lua VM";
        return false;
    }
    lua_atpanic(main_, panic);
    if (!set_up_libraries(*this, error)) {
        return false;
    }
    lua_getfield(main_, LUA_REGISTRYINDEX, "ngx_lua_ctx_tables");
    ctx_tables_ref_ = luaL_ref(main_, LUA_REGISTRYINDEX);
    heap_->set_limit(main_, settings_->max_memory);
    if (settings_->init != nullptr && !run_chunk(*settings_->init, "init_by_lua", error)) {
        return false;
    }
    guard_globals(main_);
    return true;
}

bool Vm::run_chunk(const LuaCode& code, std::string_view what, std::string& error) {
    const std::string name = fmt::format("{}{} error: ", what, code.is_file ? "_file" : "");
    LoadError failed;
    if (!push_code(main_, code, nullptr, failed)) {
        error = name + failed.reason;
        return false;
    }
    lua_pushcfunction(main_, [](lua_State* L) {
        if (lua_isstring(L, 1) != 0) {
            luaL_traceback(L, L, lua_tostring(L, 1), 1);
        }
        return 1;
    });
    lua_insert(main_, -2);
    if (lua_pcall(main_, 0, 0, -2) != 0) {
        const char* message = lua_tostring(main_, -1);
        error = name + (message != nullptr ? message : "unknown error");
        lua_settop(main_, 0);
        return false;
    }
    lua_settop(main_, 0);
    return true;
}

Thread Vm::take_thread() {
    if (!idle_.empty()) [[likely]] {
        const Thread thread = idle_.back();
        idle_.pop_back();
        return thread;
    }
    return new_thread();
}

void Vm::give_thread(Thread thread, bool clean) {
    if (thread.epoch != epoch_) [[unlikely]] {
        return;
    }
    if (idle_.size() >= static_cast<std::size_t>(settings_->thread_cache_max_entries)) {
        drop_thread(thread);
        return;
    }
    if (clean) [[likely]] {
        lua_settop(thread.L, 0);
    } else {
        lua_resetthread(main_, thread.L);
    }
    idle_.push_back(thread);
}

Thread Vm::new_thread() {
    Thread thread;
    thread.epoch = epoch_;
    thread.L = lua_newthread(main_);
    thread.ref = luaL_ref(main_, LUA_REGISTRYINDEX);
    return thread;
}

void Vm::drop_thread(Thread thread) {
    if (thread.ref != LUA_NOREF && thread.epoch == epoch_) {
        luaL_unref(main_, LUA_REGISTRYINDEX, thread.ref);
    }
}

Coroutine& Vm::make_coroutine(lua_State* L) {
    std::uint32_t index = 0;
    if (!free_coroutines_.empty()) [[likely]] {
        index = free_coroutines_.back();
        free_coroutines_.pop_back();
    } else {
        index = static_cast<std::uint32_t>(coroutines_.size());
        coroutines_.push_back(std::make_unique<Coroutine>());
        coroutines_.back()->index = index;
    }
    Coroutine& made = *coroutines_[index];
    made.L = L;
    lua_setexdata2(L, reinterpret_cast<void*>((std::uint64_t{made.generation} << 32) | index));
    return made;
}

void Vm::free_coroutine(Coroutine& coroutine) {
    const std::uint32_t index = coroutine.index;
    const std::uint32_t generation = coroutine.generation;
    coroutine = Coroutine{};
    coroutine.index = index;
    coroutine.generation = generation == 0xffffffff ? 1 : generation + 1;
    free_coroutines_.push_back(index);
}

Coroutine* Vm::find_coroutine(lua_State* L) const {
    const auto handle = reinterpret_cast<std::uint64_t>(lua_getexdata2(L));
    const auto index = static_cast<std::uint32_t>(handle);
    if (handle == 0 || index >= coroutines_.size()) {
        return nullptr;
    }
    Coroutine* found = coroutines_[index].get();
    return found->generation == handle >> 32 && found->L == L ? found : nullptr;
}

bool Vm::push_code(lua_State* to, const LuaCode& code, engine::Request* request, LoadError& error) {
    if (code.path) [[unlikely]] {
        std::string path(code.path.evaluate(*request));
        if (path.empty() || path.front() != '/') {
            path.insert(0, code.prefix);
        }
        auto found = file_refs_.find(path);
        if (found == file_refs_.end()) {
            if (!load_file(path, error)) {
                return false;
            }
            found = file_refs_.emplace(path, luaL_ref(main_, LUA_REGISTRYINDEX)).first;
        }
        lua_rawgeti(to, LUA_REGISTRYINDEX, found->second);
        return true;
    }
    if (code.number >= code_refs_.size()) {
        code_refs_.resize(code.number + 1, LUA_NOREF);
    }
    int& ref = code_refs_[code.number];
    if (ref == LUA_NOREF) [[unlikely]] {
        if (!load_code(code, error)) {
            return false;
        }
        ref = luaL_ref(main_, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(to, LUA_REGISTRYINDEX, ref);
    return true;
}

bool Vm::load_code(const LuaCode& code, LoadError& error) {
    if (code.is_file) {
        return load_file(code.text, error);
    }
    const int result =
        luaL_loadbuffer(main_, code.text.data(), code.text.size(), code.chunk_name.c_str());
    if (result != 0) {
        error.what = "failed to load inlined Lua code: ";
        error.reason = to_view(main_, -1);
        lua_pop(main_, 1);
        return false;
    }
    return true;
}

bool Vm::load_file(const std::string& path, LoadError& error) {
    const int result = luaL_loadfile(main_, path.c_str());
    if (result == 0) {
        return true;
    }
    if (result == LUA_ERRFILE) {
        error.status = ::access(path.c_str(), F_OK) != 0 ? 404 : 503;
    }
    error.what = fmt::format("failed to load external Lua file \"{}\": ", path);
    error.reason = to_view(main_, -1);
    lua_pop(main_, 1);
    return false;
}

// The form of resty.core's free list: slot 0 holds the first free index, each free slot the next.
int Vm::make_ctx(lua_State* from) {
    lua_rawgeti(from, LUA_REGISTRYINDEX, ctx_tables_ref_);
    lua_rawgeti(from, -1, 0);
    int ref = static_cast<int>(lua_tointeger(from, -1));
    lua_pop(from, 1);
    if (ref != 0) {
        lua_rawgeti(from, -1, ref);
        lua_rawseti(from, -2, 0);
    } else {
        ref = static_cast<int>(lua_objlen(from, -1)) + 1;
    }
    lua_insert(from, -2);
    lua_rawseti(from, -2, ref);
    lua_pop(from, 1);
    return ref;
}

void Vm::free_ctx(int ref, std::uint32_t epoch) {
    if (epoch != epoch_ || main_ == nullptr) {
        return;
    }
    lua_rawgeti(main_, LUA_REGISTRYINDEX, ctx_tables_ref_);
    if (lua_istable(main_, -1)) {
        lua_rawgeti(main_, -1, 0);
        lua_rawseti(main_, -2, ref);
        lua_pushinteger(main_, ref);
        lua_rawseti(main_, -2, 0);
    }
    lua_pop(main_, 1);
}

}  // namespace moongate::lua
