// ThreadVm: a Lua state of ngx.run_worker_thread: its libraries are set up by the first thread that
// runs it, so that the worker never waits for that. Used by one thread at a time, with the
// hand-over ordered by the pool's and the mailbox's locks.
#pragma once

#include <lua.hpp>

#include <memory>
#include <string>

#include "base/log.h"

namespace moongate::engine {
class Snapshot;
}

namespace moongate::lua {

class Vm;

struct ThreadVm {
    // `from`: whose package.path and cpath it takes over. Null where there is no memory.
    static std::unique_ptr<ThreadVm> create(const Vm& vm, lua_State* from);
    ~ThreadVm();
    ThreadVm(const ThreadVm&) = delete;
    ThreadVm& operator=(const ThreadVm&) = delete;

    lua_State* state() const { return L_; }
    bool usable() const { return !broken_; }
    void clear() const { lua_settop(L_, 0); }
    // Calls module.function with what is on the stack, in the calling thread. True: the results are
    // on the stack. Otherwise a message is.
    bool run(const std::string& module, const std::string& function);

    // The log for code that runs in a thread without a worker; null in workers.
    static const Log* log_of_thread();

private:
    ThreadVm() = default;
    bool prepare();

    lua_State* L_ = nullptr;
    std::shared_ptr<const engine::Snapshot> snapshot_;  // holds the shared dictionaries and the log
    std::string path_;
    std::string cpath_;
    bool ready_ = false;
    bool broken_ = false;  // its libraries could not be loaded
};

}  // namespace moongate::lua
