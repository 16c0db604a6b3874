// Event: coroutines of one thread wait until it is set. Waiting has an optional deadline. Setting
// resumes the waiters through the reactor's ready list, so that set() may be called from anywhere
// without recursion.
#pragma once

#include <coroutine>

#include "async/io.h"
#include "async/reactor.h"

namespace moongate::async {

class Event {
public:
    class Wait;

    explicit Event(Reactor& reactor) : reactor_(reactor) {}
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event();

    bool is_set() const { return set_; }
    // Resumes all who wait, and lets later waits pass until reset().
    void set();
    void reset() { set_ = false; }
    // Resumes the longest waiter without setting the event. False where nobody waits.
    bool wake_one();

    // co_await event.wait(timeout): false when the time ran out.
    Wait wait(Milliseconds timeout = kNoDeadline);

private:
    Reactor& reactor_;
    bool set_ = false;
    Wait* first_ = nullptr;
    Wait* last_ = nullptr;
};

class Event::Wait {
public:
    Wait(Event& event, Milliseconds timeout)
        : event_(&event), timeout_(timeout), timer_(&Wait::expire, this) {}
    Wait(const Wait&) = delete;
    ~Wait() { leave(); }

    bool await_ready() const { return event_->set_; }
    void await_suspend(std::coroutine_handle<> handle);
    bool await_resume() const { return !expired_; }

private:
    friend class Event;
    static void expire(void* self);
    void leave();
    void resume_soon();

    Event* event_;
    Milliseconds timeout_;
    bool queued_ = false;
    bool expired_ = false;
    Wait* previous_ = nullptr;
    Wait* next_ = nullptr;
    std::coroutine_handle<> handle_;
    Timer timer_;
    Resumption resumption_;
};

inline Event::Wait Event::wait(Milliseconds timeout) {
    return Wait(*this, timeout);
}

}  // namespace moongate::async
