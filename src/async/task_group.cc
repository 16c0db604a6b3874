#include "async/task_group.h"

#include <exception>

namespace moongate::async {

// The outermost frame of a spawned task: linked into its group, and gone by itself when the task
// ends.
struct TaskGroup::Root {
    struct promise_type {
        TaskGroup& group;
        std::string_view name;
        Link link;

        static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
        static void operator delete(void* frame, std::size_t bytes) { free_frame(frame, bytes); }

        promise_type(TaskGroup& owner, std::string_view task_name, Task<void>&)
            : group(owner), name(task_name) {
            link.handle = std::coroutine_handle<promise_type>::from_promise(*this);
            link.next = group.first_;
            if (link.next != nullptr) {
                link.next->previous = &link;
            }
            group.first_ = &link;
            if (++group.count_ == 1) {
                group.drained_.reset();
            }
        }
        ~promise_type() {
            (link.previous != nullptr ? link.previous->next : group.first_) = link.next;
            if (link.next != nullptr) {
                link.next->previous = link.previous;
            }
            if (--group.count_ == 0) {
                group.drained_.set();
            }
        }

        Root get_return_object() const { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const {}
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };

    static Root run(TaskGroup&, std::string_view, Task<void> task) { co_await std::move(task); }
};

void TaskGroup::spawn(std::string_view name, Task<void> task) {
    Root::run(*this, name, std::move(task));
}

void TaskGroup::cancel_all() {
    while (first_ != nullptr) {
        first_->handle.destroy();
    }
}

}  // namespace moongate::async
