// TaskGroup: the owner of detached work. A spawned task runs at once until it first waits; it is
// counted until its end. Destroying the group (or cancel_all) cancels what still runs. One thread.
#pragma once

#include <coroutine>
#include <cstddef>
#include <string_view>

#include "async/event.h"
#include "async/task.h"

namespace moongate::async {

class TaskGroup {
public:
    explicit TaskGroup(Reactor& reactor) : drained_(reactor) { drained_.set(); }
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    ~TaskGroup() { cancel_all(); }

    // `name` is a literal, for diagnostics.
    void spawn(std::string_view name, Task<void> task);
    std::size_t size() const { return count_; }
    // Must not be called from inside one of the group's tasks.
    void cancel_all();
    // co_await group.drained(timeout): false when the time ran out with tasks still running.
    Event::Wait drained(Milliseconds timeout = kNoDeadline) { return drained_.wait(timeout); }

private:
    struct Root;
    struct Link {
        Link* previous = nullptr;
        Link* next = nullptr;
        std::coroutine_handle<> handle;
    };

    Link* first_ = nullptr;
    std::size_t count_ = 0;
    Event drained_;
};

}  // namespace moongate::async
