// WorkerLua: which VM serves what (worker_lua.h).
#include "lua/worker_lua.h"

#include <mimalloc.h>

#include <mutex>

#include "engine/main_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "engine/worker_pid.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/socket_pool.h"
#include "lua/timers.h"

namespace moongate::lua {

int lua_context_slot = -1;
int lua_worker_slot = -1;

namespace {

thread_local engine::WorkerState* worker_of_thread = nullptr;

std::mutex pids_mutex;
std::vector<int> pids;

// init_worker_by_lua: may wait, while the worker already serves.
async::Task<void> run_init_worker(Vm& vm, engine::WorkerState& worker) {
    Arena arena;
    {
        Context context(vm, worker, nullptr, arena);
        Run run(context, Phase::InitWorker);
        if (run.load(*vm.settings().init_worker)) {
            while (!run.progress()) {
                co_await run.wakeup();
            }
        }
    }
}

}  // namespace

async::Task<void> run_exit_worker(Vm& vm, engine::WorkerState& worker) {
    if (vm.settings().exit_worker == nullptr) {
        co_return;
    }
    Arena arena;
    Context context(vm, worker, nullptr, arena);
    Run run(context, Phase::ExitWorker);
    if (run.load(*vm.settings().exit_worker)) {
        while (!run.progress()) {
            co_await run.wakeup();
        }
    }
}

engine::WorkerState* this_worker() {
    return worker_of_thread;
}

int worker_pids(int* to, int room) {
    const std::lock_guard lock(pids_mutex);
    int count = 0;
    for (const int pid : pids) {
        if (count < room) {
            to[count++] = pid;
        }
    }
    return count;
}

WorkerLua::WorkerLua(engine::WorkerState& worker)
    : worker_(worker),
      watched_(worker.worker.id()),
      socket_pools_(std::make_unique<SocketPools>(worker.reactor())),
      tasks_(worker.reactor()) {
    worker_of_thread = &worker;
    const std::lock_guard lock(pids_mutex);
    pids.push_back(engine::worker_pid(worker_.worker));
}

WorkerLua::~WorkerLua() {
    tasks_.cancel_all();
    if (Vm* last = std::exchange(current_, nullptr)) {
        last->release();
    }
    worker_of_thread = nullptr;
    const std::lock_guard lock(pids_mutex);
    std::erase(pids, engine::worker_pid(worker_.worker));
}

Status WorkerLua::serve(std::shared_ptr<const engine::Snapshot> snapshot) {
    if (current_ != nullptr && &current_->snapshot() == snapshot.get()) {
        return {};
    }
    std::string error;
    set_guard_restarts_calls(snapshot->http().get<LuaMainSettings>().sa_restart);
    watched_.set_log(*snapshot->main().get<engine::MainSettings>().error_log);
    // At the start nothing is served that init_by_lua could hold up.
    const std::int64_t limit = current_ == nullptr ? 0 : Vm::set_up_limit_ms(*snapshot);
    Vm* made = Vm::create(worker_, snapshot, limit, error);
    if (made == nullptr) {
        snapshot->main().get<engine::MainSettings>().error_log->write(LogLevel::Error, 0, error);
        return Error{ErrorKind::Invalid, ErrorSide::Configuration, false, 0, "init_by_lua failed"};
    }
    Vm* const before = std::exchange(current_, made);
    if (before != nullptr) {
        // Its timers fire early, as in a worker that shuts down; what runs on it runs to its end.
        before->timers().retire();
        before->release();
    }
    start_init_worker(*made);
    return {};
}

bool WorkerLua::try_init(std::shared_ptr<const engine::Snapshot> snapshot, std::string& error) {
    // At the start nothing is served that init_by_lua could hold up.
    const std::int64_t limit = current_ == nullptr ? 0 : Vm::set_up_limit_ms(*snapshot);
    Vm* made = Vm::create(worker_, std::move(snapshot), limit, error);
    if (made == nullptr) {
        return false;
    }
    made->release();
    return true;
}

void WorkerLua::count_request() {
    if (++requests_ < current_->settings().malloc_trim) {
        return;
    }
    requests_ = 0;
    current_->trim_heap();
    mi_collect(true);
}

void WorkerLua::start_init_worker(Vm& vm) {
    if (vm.settings().init_worker != nullptr) {
        tasks_.spawn("init_worker_by_lua", run_init_worker(vm, worker_));
    }
}

Vm* WorkerLua::vm_for(engine::Request& request) {
    if (current_ != nullptr && !request.get<LuaSettings>().code_cache) {
        std::string error;
        Vm* own =
            Vm::create(worker_, worker_.current(), Vm::set_up_limit_ms(*worker_.current()), error);
        if (own == nullptr) {
            request.write_log(LogLevel::Error, error);
        }
        return own;
    }
    return current_;
}

}  // namespace moongate::lua
