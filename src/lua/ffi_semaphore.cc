// ngx.semaphore: a count, and coroutines of any request of this VM that wait for it. Freed when
// Lua's collector takes the object; coroutines that wait keep it alive through their stacks. One
// thread.
#include "async/event.h"
#include "engine/worker_state.h"
#include "lua/context.h"
#include "lua/ffi.h"

namespace moongate::lua {
void keep_ffi_semaphore() {}

struct Semaphore final : VmOwned {
    explicit Semaphore(async::Reactor& reactor) : event(reactor) {}
    async::Event event;
    int resources = 0;
    int waiting = 0;
    int granted = 0;  // woken, but not yet resumed
};

namespace {

void post(Semaphore& semaphore, int count) {
    semaphore.resources += count;
    while (semaphore.resources > 0 && semaphore.event.wake_one()) {
        --semaphore.resources;
        ++semaphore.granted;
    }
}

Op wait_op(Coroutine& waiting, Semaphore& semaphore, Milliseconds time) {
    // A waiter that was woken and is cancelled before it ran passes its grant on.
    struct Count {
        Semaphore& semaphore;
        explicit Count(Semaphore& counted) : semaphore(counted) { ++semaphore.waiting; }
        ~Count() {
            --semaphore.waiting;
            if (semaphore.granted > semaphore.waiting) {
                --semaphore.granted;
                post(semaphore, 1);
            }
        }
    };
    bool got = false;
    {
        const Count count(semaphore);
        got = co_await semaphore.event.wait(time);
        if (got) {
            --semaphore.granted;
        }
    }
    if (got) {
        lua_pushboolean(waiting.L, 1);
        co_return 1;
    }
    lua_pushboolean(waiting.L, 0);
    lua_pushliteral(waiting.L, "timeout");
    co_return 2;
}

}  // namespace
}  // namespace moongate::lua

using namespace moongate::lua;

MOONGATE_FFI int ngx_http_lua_ffi_sema_new(Semaphore** made, int count, const char** error) {
    if (Vm::current() == nullptr) {
        *error = "no event loop in this thread";
        return kFfiError;
    }
    *made = new Semaphore(Vm::current()->worker().reactor());
    (*made)->resources = count;
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_sema_post(Semaphore* semaphore, int count) {
    post(*semaphore, count);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_sema_wait(Context* context, Semaphore* semaphore, int wait_ms,
                                            unsigned char* error, std::size_t* error_size) {
    if (semaphore->resources > 0 && semaphore->waiting - semaphore->granted <= 0) {
        --semaphore->resources;
        return kFfiOk;
    }
    if (wait_ms == 0) {
        return kFfiDeclined;
    }
    if (context->run == nullptr || context->run->current() == nullptr) {
        constexpr std::string_view kText = "API disabled in the current context";
        *error_size = std::min(*error_size, kText.size());
        std::memcpy(error, kText.data(), *error_size);
        return kFfiError;
    }
    int results = 0;
    static_cast<void>(start_wait(
        *context, wait_op(*context->run->current(), *semaphore, moongate::Milliseconds(wait_ms)),
        results));
    return kFfiAgain;
}

MOONGATE_FFI int ngx_http_lua_ffi_sema_count(Semaphore* semaphore) {
    return semaphore->resources - (semaphore->waiting - semaphore->granted);
}

MOONGATE_FFI void ngx_http_lua_ffi_sema_gc(Semaphore* semaphore) {
    delete semaphore;
}
