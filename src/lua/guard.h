// The guard against runaway scripts (lua_max_run_time). A worker says in one word when Lua holds
// it; a watchdog thread of the process reads that word and, when a run lasts too long, sends the
// worker a signal. The first sets a hook, which ends interpreted code with an ordinary Lua error.
// Compiled loops, pattern matching and the like never look at hooks: later signals that find the
// program counter inside LuaJIT or its machine code leave by siglongjmp to the innermost
// lua_resume, and the caller abandons that Lua state (vm.h). A worker that stays stuck elsewhere,
// in C code of a library, ends the process. In the normal way a run costs three stores, a resume
// one sigsetjmp without a system call. See docs/decisions/0005-runaway-scripts.md.
#pragma once

#include <pthread.h>
#include <setjmp.h>

#include <atomic>
#include <cstdint>

#include "base/log.h"

namespace moongate::lua {

class Vm;
enum class Phase : std::uint32_t;

// One entry into Lua: where a jump lands.
struct GuardFrame {
    sigjmp_buf landing;
    GuardFrame* outer = nullptr;
    Vm* vm = nullptr;
    // C++ code that must not be jumped over, and that must not meet a Lua error, runs inside.
    bool in_cpp = false;
};

struct alignas(64) WorkerGuard {
    // Odd while Lua code holds the worker, another number for each time. Written by the worker.
    std::atomic<std::uint64_t> serial = 0;
    std::atomic<std::uint32_t> limit_ms = 0;  // of this run; 0: none
    std::atomic<Phase> phase{};               // of this run
    GuardFrame* top = nullptr;
    // What the watchdog wants: to end the run of that serial; by a jump, not only by the hook.
    alignas(64) std::atomic<std::uint64_t> target = 0;
    std::atomic<bool> jump = false;
    std::atomic<std::uint64_t> hooked = 0;  // the serial whose run has the hook
};

// The calling thread's.
WorkerGuard& this_guard();

// What is no phase of a request: finalizers that run when a VM ends or collects.
inline constexpr Phase kFinalizers{0xffff'ffff};

// The time during which Lua holds the worker; of nested ones the outermost counts, unless the inner
// one has time of its own.
class GuardedRun {
public:
    GuardedRun(WorkerGuard& guard, std::int64_t limit_ms, Phase phase)
        : guard_(guard), outermost_((serial() & 1) == 0) {
        if (outermost_) {
            guard_.phase.store(phase, std::memory_order_relaxed);
            guard_.limit_ms.store(static_cast<std::uint32_t>(limit_ms), std::memory_order_relaxed);
            guard_.serial.store(serial() + 1, std::memory_order_relaxed);
        }
    }
    struct OwnTime {};
    GuardedRun(WorkerGuard& guard, std::int64_t limit_ms, Phase phase, OwnTime)
        : guard_(guard), outermost_((serial() & 1) == 0), own_time_(true) {
        outer_limit_ms_ = guard_.limit_ms.load(std::memory_order_relaxed);
        outer_phase_ = guard_.phase.load(std::memory_order_relaxed);
        guard_.phase.store(phase, std::memory_order_relaxed);
        guard_.limit_ms.store(static_cast<std::uint32_t>(limit_ms), std::memory_order_relaxed);
        guard_.serial.store(serial() + (outermost_ ? 1 : 2), std::memory_order_relaxed);
    }
    ~GuardedRun() {
        if (outermost_) {
            guard_.serial.store(serial() + 1, std::memory_order_relaxed);
        } else if (own_time_) {
            guard_.phase.store(outer_phase_, std::memory_order_relaxed);
            guard_.limit_ms.store(outer_limit_ms_, std::memory_order_relaxed);
            guard_.serial.store(serial() + 2, std::memory_order_relaxed);
        }
    }
    GuardedRun(const GuardedRun&) = delete;
    GuardedRun& operator=(const GuardedRun&) = delete;

private:
    std::uint64_t serial() const { return guard_.serial.load(std::memory_order_relaxed); }
    WorkerGuard& guard_;
    const bool outermost_;
    const bool own_time_ = false;
    std::uint32_t outer_limit_ms_ = 0;
    Phase outer_phase_{};
};

// Runs `call(argument)` with a landing of its own. False: a jump has left it; what `vm` had is
// abandoned then and nothing of it may be used.
bool guarded_call(WorkerGuard& guard, Vm& vm, void (*call)(void*), void* argument);
// As lua_resume(); kAbandoned after a jump.
inline constexpr int kAbandoned = -100;
int guarded_resume(WorkerGuard& guard, Vm& vm, void* lua_thread, int arguments);

// Back to the innermost landing: from C++ code called by Lua whose state is gone.
[[noreturn]] void leave_abandoned_state(WorkerGuard& guard);

// While it lives, the innermost entry into Lua runs C++ code that no jump and no ceiling may end.
class CppSection {
public:
    explicit CppSection(WorkerGuard& guard) : frame_(guard.top) {
        if (frame_ != nullptr) {
            before_ = frame_->in_cpp;
            frame_->in_cpp = true;
        }
    }
    ~CppSection() {
        if (frame_ != nullptr) {
            frame_->in_cpp = before_;
        }
    }
    CppSection(const CppSection&) = delete;
    CppSection& operator=(const CppSection&) = delete;

private:
    GuardFrame* frame_;
    bool before_ = false;
};

// Puts the calling thread under the watchdog's eyes while it lives; the first starts the watchdog,
// the last ends it.
class WatchedWorker {
public:
    explicit WatchedWorker(int number);
    ~WatchedWorker();
    // Where it is said that this worker is stuck.
    void set_log(const Log& log);
    WatchedWorker(const WatchedWorker&) = delete;
    WatchedWorker& operator=(const WatchedWorker&) = delete;
};

// lua_sa_restart: whether system calls of Lua code go on after the guard's signal.
void set_guard_restarts_calls(bool restart);

}  // namespace moongate::lua
