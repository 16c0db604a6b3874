// The worker's side of the guard: landings, the signal handler and the hook (guard.h). The handler
// runs on the worker's thread and touches only its guard and, through lua_sethook(), the state.
#include "lua/guard.h"

#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <ucontext.h>

#include <cerrno>
#include <lua.hpp>

#include "lua/machine_code.h"
#include "lua/vm.h"
#include "lua/watchdog.h"

namespace moongate::lua {
namespace {

thread_local constinit WorkerGuard guard_of_thread;

struct TextRange {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    bool contains(std::uintptr_t at) const { return at >= begin && at < end; }
};
TextRange luajit_text;

// The executable segment of the library that has lua_resume().
int find_text(dl_phdr_info* object, std::size_t, void* found) {
    const auto wanted = reinterpret_cast<std::uintptr_t>(&lua_checkstack);
    for (int i = 0; i < object->dlpi_phnum; ++i) {
        const ElfW(Phdr)& segment = object->dlpi_phdr[i];
        const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0 && wanted >= begin &&
            wanted < begin + segment.p_memsz) {
            *static_cast<TextRange*>(found) = {begin, begin + segment.p_memsz};
            return 1;
        }
    }
    return 0;
}

// Ends the run that the watchdog has chosen. Stays set until that run is over, so that a script
// that catches the error meets it again.
void end_run(lua_State* L, lua_Debug*) {
    WorkerGuard& guard = guard_of_thread;
    const std::uint64_t serial = guard.serial.load(std::memory_order_relaxed);
    if (serial != guard.target.load(std::memory_order_relaxed)) {
        lua_sethook(L, nullptr, 0, 0);
        return;
    }
    luaL_where(L, 0);
    lua_pushfstring(L, "lua_max_run_time of %d ms exceeded",
                    static_cast<int>(guard.limit_ms.load(std::memory_order_relaxed)));
    lua_concat(L, 2);
    lua_error(L);
}

void on_signal(int, siginfo_t*, void* machine) {
    WorkerGuard& guard = guard_of_thread;
    GuardFrame* const frame = guard.top;
    const std::uint64_t serial = guard.serial.load(std::memory_order_relaxed);
    if (frame == nullptr || serial != guard.target.load(std::memory_order_relaxed)) {
        return;
    }
    lua_State* const L = frame->vm->state();
    if (guard.hooked.load(std::memory_order_relaxed) != serial) {
        if (L != nullptr) {  // it is null while the state is closed: finalizers know no hooks
            lua_sethook(L, end_run, LUA_MASKCOUNT | LUA_MASKCALL | LUA_MASKLINE, 1);
        }
        guard.hooked.store(serial, std::memory_order_relaxed);
        return;
    }
    if (!guard.jump.load(std::memory_order_relaxed) || frame->in_cpp) {
        return;
    }
    const auto& registers = static_cast<const ucontext_t*>(machine)->uc_mcontext.gregs;
    const auto at = static_cast<std::uintptr_t>(registers[REG_RIP]);
    if (luajit_text.contains(at) || is_machine_code(at)) {
        siglongjmp(frame->landing, 1);
    }
}

void land(WorkerGuard& guard, const GuardFrame& frame) {
    guard.top = frame.outer;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kGuardSignal);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace

WorkerGuard& this_guard() {
    return guard_of_thread;
}

void install_guard_signal(bool restart) {
    dl_iterate_phdr(find_text, &luajit_text);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | (restart ? SA_RESTART : 0);
    sigemptyset(&action.sa_mask);
    ::sigaction(kGuardSignal, &action, nullptr);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kGuardSignal);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

bool is_luajit_text(std::uintptr_t address) {
    return luajit_text.contains(address);
}

// The two functions with a landing keep nothing in registers that a jump could spoil.
[[clang::noinline]] bool guarded_call(WorkerGuard& guard, Vm& vm, void (*call)(void*),
                                      void* argument) {
    GuardFrame frame;
    frame.outer = guard.top;
    frame.vm = &vm;
    if (sigsetjmp(frame.landing, 0) != 0) [[unlikely]] {
        land(guard, frame);
        return false;
    }
    guard.top = &frame;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    call(argument);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    guard.top = frame.outer;
    return true;
}

[[clang::noinline]] int guarded_resume(WorkerGuard& guard, Vm& vm, void* lua_thread,
                                       int arguments) {
    GuardFrame frame;
    frame.outer = guard.top;
    frame.vm = &vm;
    if (sigsetjmp(frame.landing, 0) != 0) [[unlikely]] {
        land(guard, frame);
        return kAbandoned;
    }
    guard.top = &frame;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const int result = lua_resume(static_cast<lua_State*>(lua_thread), arguments);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    guard.top = frame.outer;
    return result;
}

void leave_abandoned_state(WorkerGuard& guard) {
    siglongjmp(guard.top->landing, 1);
}

}  // namespace moongate::lua
