// WorkerLua: a worker's Lua: the VM of the current snapshot, older ones that still run something,
// and what Lua code shares beside a VM (timers' task group, the log ring). One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "async/task_group.h"
#include "lua/vm.h"

namespace moongate::lua {

extern int lua_context_slot;
extern int lua_worker_slot;

class SocketPools;

// exit_worker_by_lua, where there is one.
async::Task<void> run_exit_worker(Vm& vm, engine::WorkerState& worker);

class WorkerLua {
public:
    explicit WorkerLua(engine::WorkerState& worker);
    ~WorkerLua();
    WorkerLua(const WorkerLua&) = delete;
    WorkerLua& operator=(const WorkerLua&) = delete;

    // Builds the VM of `snapshot` and makes it the current one; a failure leaves the old one.
    Status serve(std::shared_ptr<const engine::Snapshot> snapshot);
    // Runs init_by_lua in a VM that ends again (`-t`). False: `error` says why.
    bool try_init(std::shared_ptr<const engine::Snapshot> snapshot, std::string& error);
    // The VM for a request's first Lua code; a new one of its own with lua_code_cache off.
    Vm* vm_for(engine::Request& request);
    Vm* current() const { return current_; }
    engine::WorkerState& worker() const { return worker_; }
    async::TaskGroup& tasks() { return tasks_; }
    SocketPools& socket_pools() { return *socket_pools_; }
    // lua_malloc_trim: a request has ended.
    void count_request();
    // Runs init_worker_by_lua on a VM that has just got its state.
    void start_init_worker(Vm& vm);

private:
    engine::WorkerState& worker_;
    WatchedWorker watched_;
    Vm* current_ = nullptr;
    std::unique_ptr<SocketPools> socket_pools_;
    async::TaskGroup tasks_;
    std::int64_t requests_ = 0;  // since memory was returned
};

}  // namespace moongate::lua
