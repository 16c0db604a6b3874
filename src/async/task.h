// Task<T>: a coroutine that starts when awaited, has one owner and stays on one thread. Destroying
// a Task that has not finished cancels it: its frame, and through it every Task it awaits, is
// unwound by destructors. Exceptions do not cross it (fallible work returns Result<T>); one that
// escapes ends the process.
#pragma once

#include <coroutine>
#include <cstdlib>
#include <exception>
#include <optional>
#include <utility>

#include "async/frame_pool.h"

namespace moongate::async {

template <class T = void>
class Task;

namespace detail {

struct PromiseBase {
    std::coroutine_handle<> continuation = std::noop_coroutine();

    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* frame, std::size_t bytes) { free_frame(frame, bytes); }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
            return done.promise().continuation;
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalAwaiter final_suspend() const noexcept { return {}; }
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;

    Task<T> get_return_object();
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object();
    void return_void() const {}
    void take() const {}
};

}  // namespace detail

// A Task is either a coroutine, or a value that was known at once (ready()): a function that
// usually has nothing to wait for returns the value and saves the coroutine's frame.
template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept
        : handle_(std::exchange(other.handle_, {})), value_(std::move(other.value_)) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            reset();
            handle_ = std::exchange(other.handle_, {});
            value_ = std::move(other.value_);
        }
        return *this;
    }
    ~Task() { reset(); }

    template <class U>
    static Task ready(U&& value) {
        Task task;
        task.value_.emplace(std::forward<U>(value));
        return task;
    }
    // Whether the value is there without waiting; then take_result() gives it.
    bool is_ready() const { return value_.has_value(); }

    explicit operator bool() const { return handle_ || value_.has_value(); }
    bool done() const { return value_.has_value() || (handle_ && handle_.done()); }

    // Destroys the coroutine. Must not be called from inside it.
    void reset() {
        if (handle_) {
            std::exchange(handle_, {}).destroy();
        }
    }

    // For awaiters that keep the task and may destroy it while it waits: what to resume in order to
    // start it, with `continuation` resumed at its end. take_result() may be called once done()
    // holds.
    std::coroutine_handle<> arm(std::coroutine_handle<> continuation) {
        if (!handle_) {
            return continuation;
        }
        handle_.promise().continuation = continuation;
        return handle_;
    }
    T take_result() { return handle_ ? handle_.promise().take() : std::move(*value_); }

    auto operator co_await() && noexcept {
        struct Awaiter {
            Task& task;
            bool await_ready() const noexcept { return task.value_.has_value(); }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
                task.handle_.promise().continuation = awaiting;
                return task.handle_;
            }
            T await_resume() const { return task.take_result(); }
        };
        return Awaiter{*this};
    }

private:
    Handle handle_;
    std::optional<T> value_;
};

// An empty one has nothing to wait for either.
template <>
class [[nodiscard]] Task<void> {
public:
    using promise_type = detail::Promise<void>;
    using Handle = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    static Task ready() { return {}; }
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            reset();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Task() { reset(); }

    explicit operator bool() const { return static_cast<bool>(handle_); }
    bool done() const { return handle_ && handle_.done(); }
    void reset() {
        if (handle_) {
            std::exchange(handle_, {}).destroy();
        }
    }
    std::coroutine_handle<> arm(std::coroutine_handle<> continuation) {
        if (!handle_) {
            return continuation;
        }
        handle_.promise().continuation = continuation;
        return handle_;
    }
    void take_result() const {}

    auto operator co_await() && noexcept {
        struct Awaiter {
            Handle handle;
            bool await_ready() const noexcept { return !handle; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
                handle.promise().continuation = awaiting;
                return handle;
            }
            void await_resume() const {}
        };
        return Awaiter{handle_};
    }

private:
    Handle handle_;
};

template <class T>
Task<T> detail::Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}

inline Task<void> detail::Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

}  // namespace moongate::async
