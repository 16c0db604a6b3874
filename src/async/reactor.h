// Reactor: one thread's wait for descriptors and time (epoll, edge-triggered). A descriptor is
// registered once for both directions; its readiness is remembered in its Registration, so that
// waiting costs a system call only when nothing is ready anywhere. Not shared between threads.
#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <vector>

#include "async/timer_wheel.h"
#include "base/clock.h"
#include "base/result.h"

namespace moongate::async {

// A coroutine that waits in a list of ready ones. Takes itself out when destroyed.
class Resumption {
public:
    Resumption() = default;
    Resumption(const Resumption&) = delete;
    Resumption& operator=(const Resumption&) = delete;
    ~Resumption() { cancel(); }

    bool scheduled() const { return next_ != nullptr; }
    void cancel();

private:
    friend class Reactor;
    Resumption* previous_ = nullptr;
    Resumption* next_ = nullptr;
    std::coroutine_handle<> handle_;
};

// Readiness of one descriptor. Lives in the reactor until remove(); at most one waiter a direction.
struct Registration {
    int fd = -1;
    bool readable = false;
    bool writable = true;
    bool peer_closed =
        false;  // EPOLLRDHUP, EPOLLHUP or EPOLLERR was seen: the next read tells which
    // Called when the direction becomes ready; null while nobody waits.
    void (*on_readable)(void* context) = nullptr;
    void* readable_context = nullptr;
    void (*on_writable)(void* context) = nullptr;
    void* writable_context = nullptr;
    // Called when peer_closed becomes true, whoever waits for what.
    void (*on_peer_closed)(void* context) = nullptr;
    void* peer_closed_context = nullptr;
};

class Reactor {
public:
    Reactor();
    ~Reactor();
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;

    // `exclusive`: level-triggered and woken one thread at a time, for listening sockets that
    // threads share.
    Result<Registration*> add(int fd, bool exclusive = false);
    // The descriptor may be closed before or after. Safe at any time, also from inside a callback.
    void remove(Registration* registration);

    TimerWheel& timers() { return timers_; }
    std::uint64_t now_ms() const { return clock_.monotonic_ms(); }
    void set_timer(Timer& timer, Milliseconds after) {
        timers_.set(timer, now_ms() + static_cast<std::uint64_t>(after.count()));
    }

    // Resumes `handle` later in this turn of the loop (or in the next, when called from such a
    // resumption), in the order of the calls.
    void schedule(Resumption& resumption, std::coroutine_handle<> handle);

    // One turn: waits up to `max_wait_ms` (-1: until something happens), then calls back.
    void run_once(int max_wait_ms = -1);

    // How many turns have been made: lets a busy loop see that others had their chance.
    std::uint64_t turns() const { return turns_; }

private:
    void dispatch(int count);
    void run_scheduled();

    int epoll_fd_ = -1;
    Clock& clock_;
    TimerWheel timers_;
    Resumption ready_;  // list head
    std::vector<Registration*> removed_;
    std::vector<Registration*> spare_;
    std::vector<std::unique_ptr<Registration[]>> slabs_;
    struct Events;
    std::unique_ptr<Events> events_;
    std::uint64_t turns_ = 0;
};

// co_await yield(reactor): lets everything else that is ready run first.
class Yield {
public:
    explicit Yield(Reactor& reactor) : reactor_(reactor) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) { reactor_.schedule(resumption_, handle); }
    void await_resume() const {}

private:
    Reactor& reactor_;
    Resumption resumption_;
};
inline Yield yield(Reactor& reactor) {
    return Yield(reactor);
}

// co_await sleep(reactor, 10ms).
class Sleep {
public:
    Sleep(Reactor& reactor, Milliseconds time)
        : reactor_(reactor), time_(time), timer_(&Sleep::fire, this) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        handle_ = handle;
        reactor_.set_timer(timer_, time_);
    }
    void await_resume() const {}

private:
    static void fire(void* self) { static_cast<Sleep*>(self)->handle_.resume(); }

    Reactor& reactor_;
    Milliseconds time_;
    std::coroutine_handle<> handle_;
    Timer timer_;
};
inline Sleep sleep(Reactor& reactor, Milliseconds time) {
    return {reactor, time};
}

}  // namespace moongate::async
