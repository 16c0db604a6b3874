// Op: what a Lua coroutine waits for. A C function creates one (an ordinary C++ coroutine whose
// first parameter is the waiting lua::Coroutine), starts it through wait() and yields when it does
// not finish at once. At its end the op has pushed its results to the coroutine's Lua stack and
// co_returns their number; the scheduler then resumes the Lua side. Destroying an op cancels it.
#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "async/frame_pool.h"

namespace moongate::lua {

struct Coroutine;

// Called at an op's end; returns the bridge's handle where it waits.
std::coroutine_handle<> op_finished(Coroutine& coroutine, int results) noexcept;

class [[nodiscard]] Op {
public:
    struct promise_type {
        Coroutine* coroutine;
        int results = 0;

        template <class... Args>
        explicit promise_type(Coroutine& waiting, Args&&...) : coroutine(&waiting) {}

        static void* operator new(std::size_t bytes) { return async::allocate_frame(bytes); }
        static void operator delete(void* frame, std::size_t bytes) {
            async::free_frame(frame, bytes);
        }

        struct Final {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(
                std::coroutine_handle<promise_type> done) const noexcept {
                return op_finished(*done.promise().coroutine, done.promise().results);
            }
            void await_resume() const noexcept {}
        };

        Op get_return_object() {
            return Op(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        Final final_suspend() const noexcept { return {}; }
        void return_value(int count) { results = count; }
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };

    Op() = default;
    explicit Op(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Op(Op&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Op& operator=(Op&& other) noexcept {
        if (this != &other) {
            reset();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Op() { reset(); }

    explicit operator bool() const { return static_cast<bool>(handle_); }
    bool done() const { return handle_ && handle_.done(); }
    void resume() const { handle_.resume(); }
    int results() const { return handle_.promise().results; }
    void reset() {
        if (handle_) {
            std::exchange(handle_, {}).destroy();
        }
    }

private:
    std::coroutine_handle<promise_type> handle_;
};

}  // namespace moongate::lua
