// ThreadPools: ngx.run_worker_thread: Lua functions that run in threads of their own
// (`thread_pool`), each in a Lua VM of its own, with values copied in and out. A VM of a worker has
// its own pools, so that the limits are a worker's, as nginx's. Threads start when they are needed.
// What still runs when its VM goes ends by itself: it holds what it uses. Source:
// lua-nginx-module's documentation.
#pragma once

#include <lua.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace moongate::async {
class Event;
}

namespace moongate::lua {

class Vm;
class ThreadPool;
struct ThreadHome;

// A Lua state for jobs: used by one thread at a time.
struct ThreadVm;

struct ThreadJob {
    ThreadJob();
    ~ThreadJob();
    ThreadJob(const ThreadJob&) = delete;
    ThreadJob& operator=(const ThreadJob&) = delete;

    std::unique_ptr<ThreadVm> vm;
    std::string module;
    std::string function;
    bool failed = false;  // the VM's stack holds the message at 1; otherwise the results
    std::shared_ptr<ThreadHome> home;
    // Worker's thread only: who waits, null where nobody does any more; set once it is over.
    async::Event* waiter = nullptr;
    bool over = false;
};

class ThreadPools {
public:
    explicit ThreadPools(Vm& vm);
    ~ThreadPools();
    ThreadPools(const ThreadPools&) = delete;
    ThreadPools& operator=(const ThreadPools&) = delete;

    // Null: there is no pool of that name.
    ThreadPool* find(std::string_view name);
    // A job with a VM whose stack is empty; null where all are in use. `from` tells
    // package.path and cpath.
    std::shared_ptr<ThreadJob> make_job(lua_State* from);
    // False: the pool's queue is full.
    bool post(ThreadPool& pool, const std::shared_ptr<ThreadJob>& job);
    // The job's VM is free for another.
    void recycle(ThreadJob& job);

private:
    Vm& vm_;
    std::shared_ptr<ThreadHome> home_;
    std::map<std::string, std::shared_ptr<ThreadPool>, std::less<>> pools_;
    std::vector<std::unique_ptr<ThreadVm>> idle_;
    std::size_t made_ = 0;
};

// Copies the value at `index` of `from` to the top of `to`. Null, or what cannot be copied
// ("unsupported Lua type: LUA_TFUNCTION"); then nothing was pushed.
const char* copy_value(lua_State* from, lua_State* to, int index);

}  // namespace moongate::lua
