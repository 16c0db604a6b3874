#include "async/event.h"

namespace moongate::async {

Event::~Event() {
    while (first_ != nullptr) {
        first_->leave();
    }
}

void Event::set() {
    set_ = true;
    while (wake_one()) {
    }
}

bool Event::wake_one() {
    if (first_ == nullptr) {
        return false;
    }
    first_->resume_soon();
    return true;
}

void Event::Wait::await_suspend(std::coroutine_handle<> handle) {
    handle_ = handle;
    queued_ = true;
    previous_ = event_->last_;
    next_ = nullptr;
    (previous_ != nullptr ? previous_->next_ : event_->first_) = this;
    event_->last_ = this;
    if (timeout_ >= Milliseconds::zero()) {
        event_->reactor_.set_timer(timer_, timeout_);
    }
}

void Event::Wait::leave() {
    if (!queued_) {
        return;
    }
    queued_ = false;
    (previous_ != nullptr ? previous_->next_ : event_->first_) = next_;
    (next_ != nullptr ? next_->previous_ : event_->last_) = previous_;
}

void Event::Wait::resume_soon() {
    leave();
    timer_.clear();
    event_->reactor_.schedule(resumption_, handle_);
}

void Event::Wait::expire(void* self) {
    auto& wait = *static_cast<Wait*>(self);
    wait.leave();
    wait.expired_ = true;
    wait.handle_.resume();
}

}  // namespace moongate::async
