// TimerSet: the timers (ngx.timer.at and every) of one VM. When the VM is retired (a new
// configuration, or the worker's end) those that wait run at once with `premature` set, as in
// ngx_lua. One thread.
#pragma once

#include <cstdint>

#include "async/event.h"
#include "async/task.h"
#include "lua/vm.h"

namespace moongate::lua {

class TimerSet {
public:
    explicit TimerSet(Vm& vm);

    // `thread` holds the function, a place for `premature`, and the arguments.
    void add(Thread thread, Milliseconds delay, bool repeat);
    bool full() const;
    void retire();
    // Timers whose functions went with a state of the VM that was abandoned.
    void drop_old();
    bool retired() const { return retired_; }
    std::uint64_t pending() const { return pending_; }
    std::uint64_t running() const { return running_; }

private:
    async::Task<void> run_one(Thread thread, Milliseconds delay, bool repeat);
    async::Task<void> call(Thread thread, bool premature);

    Vm& vm_;
    async::Event retirement_;
    bool retired_ = false;
    std::uint64_t pending_ = 0;
    std::uint64_t running_ = 0;
};

}  // namespace moongate::lua
