// Background<T>: one task that runs beside its owner's coroutine, and any_done(), which waits until
// one of several has ended. The owner keeps the task: destroying the Background cancels it, so that
// structured code never leaves work behind. Costs two frames; not for paths that need no
// concurrency. One thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <utility>

#include "async/reactor.h"
#include "async/task.h"

namespace moongate::async {

class AnyDone;

namespace detail {

class BackgroundBase {
public:
    explicit BackgroundBase(Reactor& reactor) : reactor_(&reactor) {}
    BackgroundBase(const BackgroundBase&) = delete;
    BackgroundBase& operator=(const BackgroundBase&) = delete;

    // True between start() and the task's end.
    bool running() const { return running_; }
    // True once the task ended, until its result is taken.
    bool done() const { return done_; }

protected:
    ~BackgroundBase() = default;
    void finished();

    friend class moongate::async::AnyDone;
    Reactor* reactor_;
    AnyDone* waiter_ = nullptr;
    bool running_ = false;
    bool done_ = false;
};

}  // namespace detail

template <class T>
class Background : public detail::BackgroundBase {
public:
    using BackgroundBase::BackgroundBase;
    ~Background() { cancel(); }

    // Runs `task` until it first waits. Nothing else may be running in this object. Returns true
    // where the task ended at once.
    bool start(Task<T> task) {
        cancel();
        running_ = true;
        driver_ = drive(*this, std::move(task));
        driver_.arm(std::noop_coroutine()).resume();
        return done_;
    }
    // The result, once; done() must hold.
    T take() {
        done_ = false;
        T result = std::move(*result_);
        result_.reset();
        driver_.reset();
        return result;
    }
    // Destroys the task wherever it waits. Must not be called from inside it.
    void cancel() {
        driver_.reset();
        running_ = done_ = false;
        result_.reset();
    }

private:
    static Task<void> drive(Background& self, Task<T> task) {
        self.result_.emplace(co_await std::move(task));
        self.finished();
    }

    std::optional<T> result_;
    Task<void> driver_;
};

// co_await any_done(a, b): returns when at least one is done (at once where one is already). All
// must outlive the wait. Those that run nothing are passed over; at least one must be running or
// done.
class AnyDone {
public:
    static constexpr std::size_t kMost = 3;

    AnyDone(std::initializer_list<detail::BackgroundBase*> list) {
        for (detail::BackgroundBase* one : list) {
            list_[count_++] = one;
        }
    }
    AnyDone(const AnyDone&) = delete;
    AnyDone& operator=(const AnyDone&) = delete;
    ~AnyDone() { detach(); }

    bool await_ready() const {
        for (std::size_t i = 0; i < count_; ++i) {
            if (list_[i]->done_) {
                return true;
            }
        }
        return false;
    }
    void await_suspend(std::coroutine_handle<> handle) {
        handle_ = handle;
        for (std::size_t i = 0; i < count_; ++i) {
            list_[i]->waiter_ = this;
        }
    }
    void await_resume() { detach(); }

private:
    friend class detail::BackgroundBase;
    void detach() {
        for (std::size_t i = 0; i < count_; ++i) {
            if (list_[i]->waiter_ == this) {
                list_[i]->waiter_ = nullptr;
            }
        }
    }

    detail::BackgroundBase* list_[kMost] = {};
    std::size_t count_ = 0;
    std::coroutine_handle<> handle_;
    Resumption resumption_;
};

inline void detail::BackgroundBase::finished() {
    running_ = false;
    done_ = true;
    if (waiter_ != nullptr && !waiter_->resumption_.scheduled()) {
        reactor_->schedule(waiter_->resumption_, waiter_->handle_);
    }
}

template <class... Backgrounds>
AnyDone any_done(Backgrounds&... backgrounds) {
    static_assert(sizeof...(Backgrounds) <= AnyDone::kMost);
    return AnyDone({&backgrounds...});
}

}  // namespace moongate::async
